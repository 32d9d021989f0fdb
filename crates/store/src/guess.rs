//! Guesses at one-time codes: which of them are right, wrong, or not to be counted.
//!
//! With a ticket: the client that passed the password step got a ticket, and a guess without that
//! ticket is refused. Without one (the dialect has no field for it): the address that passed the
//! password step has its own number of guesses, and all other addresses share another. A stranger
//! who knows a login name can therefore neither guess for long nor use up the owner's guesses.

use serde::{Deserialize, Serialize};

use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret;

use crate::{CodeGuess, OneTimeCode};

/// Wrong guesses by the client that passed the password step; the last one removes the code.
const OWN_GUESSES: u32 = 5;
/// Wrong guesses from all other addresses together. After them these addresses are refused; the
/// code stays for its owner. With only one common count, a stranger could lock the owner out by
/// guessing.
const OTHERS_GUESSES: u32 = 15;

/// A code and the number of wrong guesses at it: by the client that passed the password step, and
/// by all others together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredCode {
    pub(crate) code: OneTimeCode,
    own: u32,
    others: u32,
}

/// The effect of a guess on the code.
#[derive(Debug)]
pub(crate) enum GuessStep {
    /// The guess is right: the code is used up.
    Right(OneTimeCode),
    /// The guess is wrong: the code stays with this guess counted, or goes.
    Wrong(Option<StoredCode>),
    /// There is no code for this client. Nothing is counted.
    Gone,
}

impl StoredCode {
    pub(crate) fn new(code: OneTimeCode) -> Self {
        Self { code, own: 0, others: 0 }
    }

    /// Compares a guess with this code. A guess at a code that has expired is not counted anywhere.
    pub(crate) fn compare(mut self, guess: &CodeGuess, now: Timestamp) -> GuessStep {
        if self.code.expires <= now {
            return GuessStep::Gone;
        }
        // Without the ticket the answer is the same as for a code that does not exist. The guess is
        // not counted: else a stranger could use up the owner's guesses.
        if self.code.ticket.is_some() && guess.ticket != self.code.ticket {
            return GuessStep::Gone;
        }
        // An address that is not counted (`None`) never makes a guess the owner's own. Behind an
        // address that many clients share, each of them would be the owner. Such an address is
        // therefore passed here as `None`.
        let is_there = guess.address.is_some() && guess.address == self.code.address;
        let own = self.code.ticket.is_some() || is_there;
        if !own && self.others >= OTHERS_GUESSES {
            return GuessStep::Gone;
        }
        // Compared in constant time, so that the time of the answer does not tell how many digits
        // are right.
        if secret::equal(&guess.code.0, &self.code.code.0) {
            return GuessStep::Right(self.code);
        }
        let guesses = if own { &mut self.own } else { &mut self.others };
        *guesses = guesses.saturating_add(1);
        GuessStep::Wrong((self.own < OWN_GUESSES).then_some(self))
    }
}
