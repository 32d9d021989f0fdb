//! Sessions, one-time codes, counts of failed attempts, and revocations: the state that must
//! survive a restart.
//!
//! `Store` is the trait that hides the store, put together of four: sessions, codes, attempts and
//! accounts; `embedded` implements it with a database file in the state folder. `Revocations` is the
//! part that every request reads, so it is in memory.
//! `OpenStreams` ends the tunnels and long responses of a session when the session ends.
//! `TokenCutoffs` refuses tokens that other issuers gave a user before an operator revoked them.
//!
//! This crate decides nothing about passwords or requests: `login`, `authn` and `pipeline` call
//! it.

mod cutoffs;
mod embedded;
mod guess;
mod opened;
mod record;
mod revocations;
pub mod rotation;
mod sealed_credential;
pub mod shared;
mod store;
mod streams;
pub mod transfer;
mod window;

pub use self::cutoffs::{ForeignToken, TokenCutoffs, TokenOwner};
pub use self::embedded::{
    BackupError, EmbeddedOptions, EmbeddedStore, InjectedFaults, StoreOpenError,
};
pub use self::opened::OpenedStore;
pub use self::record::{
    CodeVerdict, KnownAccount, OneTimeCode, OpaqueToken, RefreshGeneration, Session, TotpSecret,
};
pub use self::revocations::{Revocations, SessionMark};
pub use self::sealed_credential::{CredentialPlace, LONGEST_CREDENTIAL, SealedCredential};
pub use self::store::{
    AccountCounts, AccountKey, AccountStore, AttemptAdmission, AttemptKind, AttemptStore,
    CodeGuess, CodeStore, LoginAttempt, LoginProgress, PutCode, RefreshRotation, RevocationTarget,
    RotationOutcome, SessionPage, SessionStore, Store, StoreError, UserRef,
};
pub use self::streams::{OpenStreams, StreamGuard, StreamOrigin};
