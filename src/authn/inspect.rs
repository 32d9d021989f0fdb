//! Reads tokens on behalf of somebody else: own tokens for the introspection endpoint
//! (`login::introspect`), and what any token says of itself for an operator who asks why it was
//! refused.
//!
//! It accepts tokens of every login, access and refresh tokens, pairs without their key. The
//! resource server that asks has the token from a client and does not have the key. A result
//! therefore never authenticates the caller; no route may use it.

use super::jws::{CompactJws, MAX_TOKEN};
use super::local_issuer::TokenType;
use super::verified::VerifiedCredential;
use super::verifier::Verifier;
use crate::clock::Timestamp;
use crate::identity::Claims;

/// A token that the gateway issued.
#[derive(Clone, Debug)]
pub struct InspectedToken {
    pub verified: VerifiedCredential,
    /// True for a refresh token. It renews a session and opens no route.
    pub is_refresh: bool,
}

/// The facts that a token states of itself. Nothing of them is verified.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedFacts {
    pub algorithm: &'static str,
    pub key_id: Option<String>,
    /// The claims that are not secret and that decisions are made by.
    pub claims: Claims,
}

/// The claims of `ClaimedFacts`.
const SHOWN: [&str; 7] = ["iss", "aud", "client_id", "exp", "nbf", "iat", "sid"];

/// The facts that `token` states of itself, if it is a signed token at all.
pub fn claimed_facts(token: &str) -> Option<ClaimedFacts> {
    let token = CompactJws::parse(token).ok()?;
    let mut claims = token.claims().ok()?;
    claims.retain(|name, _| SHOWN.contains(&name.as_str()));
    let key_id = token.key_id().map(str::to_owned);
    Some(ClaimedFacts { algorithm: token.algorithm().as_str(), key_id, claims })
}

impl Verifier {
    /// The token, if its signature and claims are ours. Expired and revoked tokens are included.
    /// `is_active` says whether the token may be used now. Both types are tried, because the caller
    /// of introspection does not say which one it has.
    pub fn own_token(&self, token: &str) -> Option<InspectedToken> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let token = CompactJws::parse(token).ok()?;
        let keys = self.ring.public();
        let verify = |kind| self.local.verify(&token, token.claims()?, &keys, kind);
        let access = verify(TokenType::Access)
            .map(|verified| InspectedToken { verified, is_refresh: false });
        let refresh = || {
            verify(TokenType::Refresh).map(|verified| InspectedToken { verified, is_refresh: true })
        };
        access.or_else(|_| refresh()).ok()
    }

    /// True if a route would accept the access token, or a login the refresh token, as far as is
    /// known here. Which refresh token of a session is the current one is known to the session
    /// store only.
    pub fn is_active(&self, token: &InspectedToken, now: Timestamp) -> bool {
        token.verified.check_usable_now(now, &self.revocations).is_ok()
    }
}
