//! Who may have how much of what is scarce, before any work is done.
//!
//! Whatever is dear (hashing, a directory, a database, a delegated login, a question to an issuer,
//! mail, a body in memory) is bounded, and of each bound one client has an eighth at most: its IPv4
//! address or IPv6 /64, with a quarter for its /56 and a half for its /48 (`AddressGroup`). What is
//! over a bound is refused at once; where something waits, its number is bounded alike.
//!
//! - `Places` bounds how many are at work, and who of them: the back room's work of each kind, the
//!   questions to one source of users.
//! - `Turns` is for what is worth waiting for: calls to one issuer go round by client.
//! - `ByteBudget` bounds bodies in memory.
//! - `Attempts` counts what failed by address, so that guesses are refused before a source is asked.
//! - `Shares` is what places count with; the password queue and listeners count by it, too.
//!
//! An address that many clients share (`shared_addresses`) is `None` here: only the bound on all
//! holds for it.

mod attempts;
mod budget;
mod places;
mod shares;
mod turns;

pub use self::attempts::{AttemptLimit, Attempts, TurnedAway};
pub use self::budget::{ByteBudget, HeldBytes, OverBudget};
pub use self::places::{NoPlace, Place, Places};
pub use self::shares::{GroupCounts, Share, Shares};
pub use self::turns::{Turn, Turns};

/// One client may have this part of what all have together.
const PART: usize = 8;

/// What one subscriber may have of `all`: an eighth, but something.
pub fn share_of(all: usize) -> usize {
    (all / PART).max(1)
}
