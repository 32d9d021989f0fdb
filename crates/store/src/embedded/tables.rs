//! The schema of the store file, and the view that one transaction has of it.
//!
//! `Tables` holds all tables of one write transaction. Operations read through `rows` and write
//! through `change`, which notes that there is something to commit: a transaction that changed
//! nothing costs no fsync.
//!
//! Changes that memory must learn of are collected in `CommitEffects` and applied after the commit,
//! never before: if the commit fails, memory must not show a state that the disk does not have.

use std::sync::Arc;
use std::time::Duration;

use redb::{
    CommitError, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageError,
    Table, TableDefinition, TableError, TransactionError, WriteTransaction,
};

use super::effects::CommitEffects;
use crate::window::WindowRow;
use crate::{Revocations, Session};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::SessionId;

/// Sixteen bytes: a session id, an address, or the first half of a digest.
pub(super) type ShortId = [u8; 16];
/// A complete SHA-256 digest.
pub(super) type DigestBytes = [u8; 32];

/// The schema version that this program writes. A file with a higher version is refused.
pub(super) const SCHEMA: u64 = 5;

/// The name in `meta` under which the schema version is stored.
pub(super) const META_SCHEMA: &str = "schema";

macro_rules! schema {
    ($($(#[$doc:meta])* $field:ident: $key:ty => $value:ty;)*) => {
        /// All tables, open for writing.
        pub(super) struct OpenTables<'txn> {
            $($(#[$doc])* pub(super) $field: Table<'txn, $key, $value>,)*
        }

        impl<'txn> OpenTables<'txn> {
            fn open(txn: &'txn WriteTransaction) -> Result<Self, TableError> {
                Ok(Self {
                    $($field: txn.open_table(
                        TableDefinition::<$key, $value>::new(stringify!($field)),
                    )?,)*
                })
            }
        }

        /// Copies every table into another database. Used for backups.
        pub(super) fn copy(
            from: &ReadTransaction,
            to: &WriteTransaction,
        ) -> Result<(), redb::Error> {
            $({
                let table = TableDefinition::<$key, $value>::new(stringify!($field));
                let source = from.open_table(table)?;
                let mut target = to.open_table(table)?;
                for row in source.iter()? {
                    let (key, value) = row?;
                    target.insert(key.value(), value.value())?;
                }
            })*
            Ok(())
        }
    };
}

schema! {
    /// Facts about the store itself.
    meta: &'static str => &'static [u8];
    /// Sessions as JSON, by id. The order is oldest first, because ids are UUIDs of version 7 (RFC
    /// 9562), which begin with the time. A walk in this order needs no sorting.
    sessions: &'static ShortId => &'static [u8];
    /// The sessions of a subject in a realm, oldest first: subject, realm, time of creation, id.
    by_user: (&'static str, &'static str, u64, &'static ShortId) => ();
    /// The sessions that a foreign token was exchanged for.
    by_token: (&'static DigestBytes, &'static ShortId) => ();
    /// The sessions of opaque access tokens, by the digest of the token (see `opaque_tokens`).
    opaque_tokens: &'static DigestBytes => &'static ShortId;
    /// Retired refresh tokens of sessions from before schema 4, whose tokens have no generation
    /// number. The first half of a digest (128 bits) is enough to recognise a token.
    retired: (&'static ShortId, &'static ShortId) => ();
    /// User versions that were replaced by re-hashing, by source, user id and old version; the
    /// value is until when that is remembered, and the new version. Sessions stored later under the
    /// old version get the new one.
    rewritten: (&'static str, &'static str, &'static DigestBytes) => (u64, &'static DigestBytes);
    /// Revoked sessions, and until when the revocation is kept.
    revoked: &'static ShortId => u64;
    /// Single refused tokens, and until when the refusal is kept.
    outlawed: &'static DigestBytes => u64;
    /// Cut-offs for foreign tokens, by kind of name and name: tokens issued until this time are
    /// refused. The rows are kept for good, and there are few of them.
    cutoffs: (&'static str, &'static str) => u64;
    /// One-time codes that were sent and not entered yet, as JSON.
    codes: &'static DigestBytes => &'static [u8];
    /// The number of codes sent in this hour, by the key of the code.
    mails: &'static DigestBytes => WindowRow;
    /// Failed attempts at an account: by all strangers together (empty suffix), and by each
    /// address. The suffix of one zero byte means an address that is not counted.
    accounts: (&'static DigestBytes, &'static [u8]) => WindowRow;
    /// Failed attempts from an address, at whatever account.
    addresses: &'static ShortId => WindowRow;
    /// Addresses from which an account has logged in, and until when they count as known.
    known: (&'static DigestBytes, &'static ShortId) => u64;
    /// Users of remote sources as JSON, by source and user id.
    users: (&'static str, &'static str) => &'static [u8];
    /// The ids of these users, by source and canonical name.
    user_names: (&'static str, &'static str) => &'static str;
    /// Secrets of second steps, by source and user id: the secret, when it was made, and the last
    /// time step whose code was used (RFC 6238, section 4.2).
    second_steps: (&'static str, &'static str) => (&'static [u8], u64, u64);
    /// The same by user id alone, from before schema 3. Two sources may share an id; the row is
    /// moved to one source when a valid code is presented (see `second_steps`).
    totp: &'static str => (&'static [u8], u64, u64);
    /// When the sweep should look at a row: kind, instant, key. Invariant: an entry may be earlier
    /// than the row's end, which moves with each use, but never later; else the row would never be
    /// removed.
    expiry: (u8, u64, &'static [u8]) => ();
}

/// The kind of row that an entry of `expiry` belongs to. The numbers are stored in the file, so
/// they must never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum ExpiryKind {
    Session = 1,
    Retired = 2,
    Rewritten = 3,
    Revoked = 4,
    Outlawed = 5,
    Code = 6,
    Mails = 7,
    Account = 8,
    Address = 9,
    Known = 10,
}

impl ExpiryKind {
    pub(super) const ALL: [Self; 10] = [
        Self::Session,
        Self::Retired,
        Self::Rewritten,
        Self::Revoked,
        Self::Outlawed,
        Self::Code,
        Self::Mails,
        Self::Account,
        Self::Address,
        Self::Known,
    ];
}

/// The reasons why an operation could not be carried out. The writer repeats the transaction
/// without a single bad operation, and opens the file again after any other failure. Either way the
/// caller learns only that the store is unavailable.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreFault {
    /// The database failed. It accepts nothing until it is opened again.
    #[error(transparent)]
    Store(#[from] redb::Error),
    /// One row cannot be read or written in its expected form. Other operations are not affected.
    #[error("a row of the store is not what it should be: {0}")]
    Row(#[from] serde_json::Error),
}

macro_rules! fault_from {
    ($($error:ty),*) => {
        $(impl From<$error> for StoreFault {
            fn from(error: $error) -> Self {
                Self::Store(error.into())
            }
        })*
    };
}

fault_from!(StorageError, TableError, TransactionError, CommitError, DatabaseError);

/// All tables in one write transaction, with the changes collected so far.
pub(super) struct Tables<'txn> {
    rows: OpenTables<'txn>,
    dirty: bool,
    pub(super) effects: CommitEffects,
    revocations: Arc<Revocations>,
    leeway: Duration,
}

/// Additional time for which a revocation is kept after the session's tokens expired, for clocks
/// and caches of other servers. A revocation that is dropped too early would revive a token; one
/// that is kept too long costs a row.
const REVOCATION_MARGIN: Duration = Duration::from_secs(300);

impl<'txn> Tables<'txn> {
    pub(super) fn open(
        txn: &'txn WriteTransaction,
        revocations: &Arc<Revocations>,
        leeway: Duration,
    ) -> Result<Self, StoreFault> {
        Ok(Self {
            rows: OpenTables::open(txn)?,
            dirty: false,
            effects: CommitEffects::default(),
            revocations: revocations.clone(),
            leeway,
        })
    }

    /// The tables, for reading.
    pub(super) fn rows(&self) -> &OpenTables<'txn> {
        &self.rows
    }

    /// The tables, for writing. The transaction has something to commit from now on.
    pub(super) fn change(&mut self) -> &mut OpenTables<'txn> {
        self.dirty = true;
        &mut self.rows
    }

    /// True if the transaction has changed something.
    pub(super) fn dirty(&self) -> bool {
        self.dirty
    }

    /// Makes the sweep look at a row at the instant `at`.
    pub(super) fn expire(
        &mut self,
        kind: ExpiryKind,
        at: Timestamp,
        key: &[u8],
    ) -> Result<(), StoreFault> {
        self.change().expiry.insert((kind as u8, at.millis(), key), ())?;
        Ok(())
    }

    /// True if the session is revoked, on disk or so far only in memory. A session that this very
    /// transaction revoked is not in memory yet, but its row is gone, so it is not found either.
    /// Operations need to ask for neither case separately.
    pub(super) fn revoked(&self, id: &SessionId) -> bool {
        self.revocations.session_revoked(id)
    }

    /// Until when a revocation of this session must be kept: as long as one of its access tokens
    /// could be accepted. Refresh tokens need no revocation, because a session without a row is
    /// gone.
    pub(super) fn revoked_until(&self, session: &Session) -> Timestamp {
        session.access_until.plus(self.leeway).plus(REVOCATION_MARGIN)
    }

    /// From when on the session row is of no use. It is kept beyond the session's end while an
    /// access token of the session may still have to be revoked. Until then `end` must find the
    /// row, or the token could not be refused.
    pub(super) fn outlived(&self, session: &Session) -> Timestamp {
        session.ends().max(session.access_until).plus(self.leeway)
    }
}

/// A fact about the store from `meta`, read outside a write transaction.
pub(super) fn fact(db: &impl ReadableDatabase, name: &str) -> Result<Option<Vec<u8>>, redb::Error> {
    let txn = db.begin_read()?;
    let table = match txn.open_table(TableDefinition::<&str, &[u8]>::new("meta")) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(table.get(name)?.map(|value| value.value().to_vec()))
}
