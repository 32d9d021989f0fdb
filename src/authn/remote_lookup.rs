//! Lookups that must be done before a credential can be judged: fetching keys, asking an issuer,
//! looking for keys that another gateway has made, or for the session of an opaque token.
//!
//! Workers never wait for an issuer. `Verifier::verify_from` returns a `RemoteLookup`, and
//! `Verifier::verify_from_with_lookup` runs it on the background runtime. The result is stored with
//! the issuer's state, and the credential is then verified again from memory. A lookup itself
//! decides nothing.

use std::sync::Arc;

use super::jwks_cache::{KeyError, KeyRefresh};
use super::opaque::{LookupClient, TokenLookup};
use super::session_tokens::SessionLookup;
use super::verified::TokenError;
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::identity::SELF_ISSUER;
use crate::token::KeyLook;

/// A lookup at an issuer, or for our own keys.
#[derive(Clone, Debug)]
pub enum RemoteLookup {
    /// Fetches the issuer's current keys.
    Keys(KeyRefresh),
    /// Asks the issuers that may know the token.
    Token(TokenLookup),
    /// Asks the shared store whether another gateway has made the key of a token of ours. If it has
    /// not, the token is refused for the reason given.
    OwnKeys(KeyLook, TokenError),
    /// Asks the session store whether the gateway has issued an opaque token.
    Session(SessionLookup),
}

/// The reasons for which a credential is not verified.
#[derive(Clone, Debug)]
pub enum VerifyError {
    Rejected(TokenError),
    /// A lookup is needed first: `Verifier::verify_from_with_lookup` does it on the background
    /// runtime.
    NeedsLookup(RemoteLookup),
}

impl From<TokenError> for VerifyError {
    fn from(refusal: TokenError) -> Self {
        Self::Rejected(refusal)
    }
}

impl From<KeyError> for VerifyError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Rejected(refusal) => Self::Rejected(refusal),
            KeyError::NeedsRefresh(keys) => Self::NeedsLookup(RemoteLookup::Keys(keys)),
        }
    }
}

impl VerifyError {
    /// True if the credential itself is at fault, false if its validity is not known. `Unavailable`
    /// is not the credential's fault: the keys or the issuer could not be reached.
    pub(super) fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected(refusal) if refusal.reason != Reason::Unavailable)
    }

    /// The refusal for a caller that does no (further) lookup. A lookup that is still needed
    /// becomes 503.
    pub fn without_lookup(self) -> TokenError {
        match self {
            Self::Rejected(refusal) => refusal,
            Self::NeedsLookup(RemoteLookup::OwnKeys(_, refusal)) => refusal,
            Self::NeedsLookup(_) => UNANSWERED,
        }
    }
}

impl RemoteLookup {
    /// The names of the issuers that would be asked, for an operator.
    pub fn issuers(&self) -> Vec<Arc<str>> {
        match self {
            Self::Keys(keys) => vec![keys.issuer().clone()],
            Self::Token(token) => token.issuers(),
            Self::OwnKeys(..) | Self::Session(_) => vec![SELF_ISSUER.into()],
        }
    }

    /// Does the lookup and waits for it. After that the credential can be verified again.
    ///
    /// # Errors
    /// `Unavailable` (503) if the answer could not be had. It says nothing about the credential.
    pub(super) async fn run(self, asker: LookupClient, now: Timestamp) -> Result<(), TokenError> {
        match self {
            Self::Keys(keys) => {
                keys.run(now).await;
                Ok(())
            }
            Self::Token(token) => token.run(asker, now).await,
            Self::OwnKeys(look, _) => {
                look.run().await;
                Ok(())
            }
            Self::Session(lookup) => lookup.run(asker.origin, now).await.map(drop),
        }
    }
}

/// The refusal if a lookup succeeded but the credential still cannot be judged.
const UNANSWERED: TokenError = TokenError {
    reason: Reason::Unavailable,
    cause: "the lookup is done, but the credential still cannot be judged",
};
