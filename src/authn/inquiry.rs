//! Questions to others that have to be answered before a credential can be judged.
//!
//! A worker never asks: it is handed the question and has the back room put it. What comes of it
//! is remembered by whoever was asked about, so that the credential is then verified again.

use super::asked::{Asker, TokenInquiry};
use super::remote::KeyInquiry;
use super::verified::Refusal;
use crate::clock::Timestamp;
use crate::dialect::Reason;

/// A question to somebody else.
#[derive(Clone, Debug)]
pub enum Inquiry {
    /// To an issuer: which are your keys now?
    Keys(KeyInquiry),
    /// To those who may know: whose is this token?
    Token(TokenInquiry),
}

/// Why a credential is not proved.
#[derive(Clone, Debug)]
pub enum Unproved {
    Refused(Refusal),
    /// Only somebody else knows: `Verifier::prove` asks, in the back room.
    Ask(Inquiry),
}

impl From<Refusal> for Unproved {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Unproved {
    /// Whether the credential itself is at fault.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.reason != Reason::Unavailable)
    }

    /// The refusal, where nobody is asked: what is not known is not known then.
    pub fn unasked(self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            Self::Ask(_) => UNANSWERED,
        }
    }
}

impl Inquiry {
    /// Asks and waits for the answer; after that the credential may be judged.
    ///
    /// # Errors
    /// When it could not be found out: 503, never a statement about the credential.
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

/// The refusal where an answer did not help: what was asked for is still not known.
const UNANSWERED: Refusal =
    Refusal { reason: Reason::Unavailable, cause: "what was asked for is still not known" };
