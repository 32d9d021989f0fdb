//! Reads own tokens on behalf of somebody else: the introspection endpoint (`login::introspect`).
//!
//! It accepts tokens of every login, access and refresh tokens, pairs without their key. The
//! resource server that asks has the token from a client and does not have the key. A result
//! therefore never authenticates the caller; no route may use it.

use super::jws::{CompactJws, MAX_TOKEN};
use super::local_issuer::TokenType;
use super::verified::VerifiedCredential;
use super::verifier::Verifier;
use crate::clock::Timestamp;

/// A token that the gateway issued.
#[derive(Clone, Debug)]
pub struct InspectedToken {
    pub verified: VerifiedCredential,
    /// True for a refresh token. It renews a session and opens no route.
    pub is_refresh: bool,
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
