//! Sessions, codes, attempts and revocations: everything that must survive a restart.
//!
//! `SessionStore` is the seam; `embedded` keeps it in a database in the state folder.
//! `Revocations` is the part that every request looks at, so it is in memory. `Streams` ends
//! what a session still has open when the session ends. `Cutoffs` refuses the tokens that other
//! issuers gave a user before an operator said so.

mod cutoffs;
mod embedded;
mod record;
mod revocations;
mod store;
mod streams;

pub use self::cutoffs::{Cutoffs, ForeignToken, TokenOwner};
pub use self::embedded::{BackupError, EmbeddedOptions, EmbeddedStore, Faults, OpenError};
pub use self::record::{Account, Code, CodeVerdict, Generation, Session, Totp};
pub use self::revocations::{Revocations, SessionMark};
pub use self::store::{
    AccountCounts, AccountKey, Admission, Attempt, AttemptKind, CodeGuess, LoginProgress, PutCode,
    Revoke, Rotated, Rotation, SessionPage, SessionStore, StoreError, UserRef,
};
pub use self::streams::{StreamGuard, StreamOrigin, Streams};
