//! Lookups that must be done before a credential can be judged: fetching keys, or asking an issuer.
//!
//! Workers never wait for an issuer. `Verifier::verify_among` returns an `Inquiry`, and
//! `Verifier::prove_among` runs it on the background runtime. The result is stored with the
//! issuer's state, and the credential is then verified again from memory. An inquiry itself decides
//! nothing.

use super::asked::{Asker, TokenInquiry};
use super::remote::KeyInquiry;
use super::verified::Refusal;
use crate::clock::Timestamp;
use crate::dialect::Reason;

/// A lookup at an issuer.
#[derive(Clone, Debug)]
pub enum Inquiry {
    /// Fetches the issuer's current keys.
    Keys(KeyInquiry),
    /// Asks the issuers that may know the token.
    Token(TokenInquiry),
}

/// The reasons for which a credential is not verified.
#[derive(Clone, Debug)]
pub enum Unproved {
    Refused(Refusal),
    /// A lookup is needed first: `Verifier::prove_among` does it on the background runtime.
    Ask(Inquiry),
}

impl From<Refusal> for Unproved {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Unproved {
    /// True if the credential itself is at fault, false if its validity is not known. `Unavailable`
    /// is not the credential's fault: the keys or the issuer could not be reached.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.reason != Reason::Unavailable)
    }

    /// The refusal for a caller that does no (further) lookup. A lookup that is still needed
    /// becomes 503.
    pub fn unasked(self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            Self::Ask(_) => UNANSWERED,
        }
    }
}

impl Inquiry {
    /// Does the lookup and waits for it. After that the credential can be verified again.
    ///
    /// # Errors
    /// `Unavailable` (503) if the answer could not be had. It says nothing about the credential.
    pub(super) async fn ask(self, asker: Asker, now: Timestamp) -> Result<(), Refusal> {
        match self {
            Self::Keys(keys) => {
                keys.ask(now).await;
                Ok(())
            }
            Self::Token(token) => token.ask(asker, now).await,
        }
    }
}

/// The refusal if a lookup succeeded but the credential still cannot be judged.
const UNANSWERED: Refusal = Refusal {
    reason: Reason::Unavailable,
    cause: "the lookup is done, but the credential still cannot be judged",
};
