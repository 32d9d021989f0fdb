//! Admission control: bounds on everything that is scarce, applied before any work is done.
//!
//! Expensive work (password hashing, directories, databases, delegated logins, lookups at issuers,
//! mail, bodies in memory) is bounded, and one client may use at most an eighth of each bound. A
//! client is an IPv4 address or an IPv6 /64; its /56 may use a quarter and its /48 a half
//! (`AddressGroup`). Requests beyond a bound are refused at once. If requests may wait, then their
//! number is bounded in the same way.
//!
//! - `WorkLimit` bounds concurrent work: the work of each kind on the background runtime, and the
//!   lookups at one user source.
//! - `FairQueue` is for work that is worth waiting for: calls to one issuer, shared out round-robin
//!   by client.
//! - `ByteBudget` bounds bodies in memory.
//! - `FailedAttempts` counts failures by address, so that guesses are refused before a source is
//!   asked.
//! - `InFlightByClient` counts what each address group uses; places, the password queue and
//!   listeners use it.
//!
//! An address that many clients share (`shared_addresses`) is `None` here: only the total bound
//! applies to it, because a share for one client would be far too small for all of them.

mod attempts;
mod byte_budget;
mod fair_queue;
mod limits;
mod shares;

pub use self::attempts::{AttemptLimit, FailedAttempts};
pub use self::byte_budget::{ByteBudget, OverBudget, ReservedBytes};
pub use self::fair_queue::{FairQueue, QueueTurn};
pub use self::limits::{WorkLimit, WorkLimitError, WorkPermit};
pub use self::shares::{ClientShare, GroupCounts, InFlightByClient};

/// One client may use one part in this many of a bound.
const PART: usize = 8;

/// The share of one subscriber in `all`: an eighth, but at least one.
pub fn share_of(all: usize) -> usize {
    (all / PART).max(1)
}
