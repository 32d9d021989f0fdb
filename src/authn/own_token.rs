//! Tokens of ours that somebody asks about: of any login, access or refresh, with or without key.
//!
//! Whoever asks was given the token by somebody who used it, and has no key to a pair. What is said
//! of a token here is not that the asker may use it.

use super::jws::{Compact, MAX_TOKEN};
use super::own::Kind;
use super::verified::Verified;
use super::verifier::Verifier;
use crate::clock::Timestamp;

/// A token that we gave out.
#[derive(Clone, Debug)]
pub struct OwnToken {
    pub verified: Verified,
    /// It refreshes, and opens no route.
    pub is_refresh: bool,
}

impl Verifier {
    /// The token, if it is ours by signature and claims, expired and revoked ones too.
    pub fn own_token(&self, token: &str) -> Option<OwnToken> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let token = Compact::parse(token).ok()?;
        let keys = self.ring.public();
        let verify = |kind| self.own.verify(&token, token.claims()?, &keys, kind);
        let access = verify(Kind::Access).map(|verified| OwnToken { verified, is_refresh: false });
        let refresh =
            || verify(Kind::Refresh).map(|verified| OwnToken { verified, is_refresh: true });
        access.or_else(|_| refresh()).ok()
    }

    /// Whether a route would take the token, or a login refresh it, for all that is known here:
    /// which refresh token of a session works, its store knows.
    pub fn is_active(&self, token: &OwnToken, now: Timestamp) -> bool {
        token.verified.admit_now(now, &self.revocations).is_ok()
    }
}
