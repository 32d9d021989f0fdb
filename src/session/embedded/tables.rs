//! The schema: what is in the store file, and how one transaction sees it.
//!
//! `Tables` is all tables of one write transaction. Operations read through `rows` and write
//! through `change`, which notes that there is something to commit: a transaction that changed
//! nothing costs no fsync. What memory has to learn from a transaction is collected in `Effects`
//! and applied after the commit, never before.

use std::sync::Arc;
use std::time::Duration;

use redb::{
    CommitError, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageError,
    Table, TableDefinition, TableError, TransactionError, WriteTransaction,
};

use super::memory::Live;
use super::seen::RestoredStore;
use crate::clock::Timestamp;
use crate::identity::SessionId;
use crate::secret::Digest;
use crate::session::{Revocations, Session, TokenOwner};

/// Sixteen bytes: a session's id, an address, the first half of a digest.
pub(super) type Id = [u8; 16];
/// A whole SHA-256 digest.
pub(super) type Hash = [u8; 32];
/// A counter: start and end of its time in milliseconds, and its count.
pub(super) type WindowRow = (u64, u64, u32);

/// What this version writes; a file with a higher number is refused.
pub(super) const SCHEMA: u64 = 4;

/// Where `meta` says which version wrote the file.
pub(super) const META_SCHEMA: &str = "schema";

macro_rules! schema {
    ($($(#[$doc:meta])* $field:ident: $key:ty => $value:ty;)*) => {
        /// Every table, open for writing.
        pub(super) struct Rows<'txn> {
            $($(#[$doc])* pub(super) $field: Table<'txn, $key, $value>,)*
        }

        impl<'txn> Rows<'txn> {
            fn open(txn: &'txn WriteTransaction) -> Result<Self, TableError> {
                Ok(Self {
                    $($field: txn.open_table(
                        TableDefinition::<$key, $value>::new(stringify!($field)),
                    )?,)*
                })
            }
        }

        /// Copies every table into another database.
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
    /// Sessions as JSON, by id: oldest first, since ids are UUIDs v7.
    sessions: &'static Id => &'static [u8];
    /// The sessions of a subject in a realm, oldest first.
    by_user: (&'static str, &'static str, u64, &'static Id) => ();
    /// The sessions that a token of another issuer was traded for.
    by_token: (&'static Hash, &'static Id) => ();
    /// Refresh tokens that a session had once, of versions before 4, whose tokens do not say their
    /// number: the first half of each digest is plenty to recognise one.
    retired: (&'static Id, &'static Id) => ();
    /// User versions that became another by re-hashing, by source and user id, and until when that
    /// is remembered.
    rewritten: (&'static str, &'static str, &'static Hash) => (u64, &'static Hash);
    /// Revoked sessions and until when.
    revoked: &'static Id => u64;
    /// Single tokens that are refused and until when.
    outlawed: &'static Hash => u64;
    /// Until when tokens of other issuers were given to users whose tokens are refused: by kind of
    /// name and name.
    cutoffs: (&'static str, &'static str) => u64;
    /// Codes on their way, as JSON.
    codes: &'static Hash => &'static [u8];
    /// Codes sent in this hour, by the code's key.
    mails: &'static Hash => WindowRow;
    /// Failed attempts at an account: from strangers (no suffix), and by address.
    accounts: (&'static Hash, &'static [u8]) => WindowRow;
    /// Failed attempts from an address.
    addresses: &'static Id => WindowRow;
    /// Addresses from which an account has logged in, and until when that counts.
    known: (&'static Hash, &'static Id) => u64;
    /// Users of sources elsewhere as JSON, by source and id.
    users: (&'static str, &'static str) => &'static [u8];
    /// Their ids, by source and canonical name.
    user_names: (&'static str, &'static str) => &'static str;
    /// Second steps by source and user id: secret, when it was made, the last time step that was
    /// used.
    second_steps: (&'static str, &'static str) => (&'static [u8], u64, u64);
    /// The same by id alone, of versions before 3: whose they are shows at their next use.
    totp: &'static str => (&'static [u8], u64, u64);
    /// When the sweep should look at a row: kind, instant, key. An entry may be earlier than
    /// the row's end (which moves with each use), never later.
    expiry: (u8, u64, &'static [u8]) => ();
}

/// What kind of row an entry of `expiry` speaks of; the numbers are in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
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

impl Kind {
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

/// Why an operation could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The database failed; it takes nothing more until it is re-opened.
    #[error(transparent)]
    Store(#[from] redb::Error),
    /// This one row cannot be read or written as what it should be.
    #[error("a row of the store is not what it should be: {0}")]
    Row(#[from] serde_json::Error),
}

macro_rules! fault_from {
    ($($error:ty),*) => {
        $(impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::Store(error.into())
            }
        })*
    };
}

fault_from!(StorageError, TableError, TransactionError, CommitError, DatabaseError);

/// What memory learns once a transaction is durable.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Sessions that came or changed, and those that went (`None`), in order.
    pub(super) live: Vec<(SessionId, Option<Live>)>,
    pub(super) revoked: Vec<(SessionId, Timestamp)>,
    pub(super) outlawed: Vec<(Digest, Timestamp)>,
    pub(super) cutoffs: Vec<(TokenOwner, Timestamp)>,
    /// Sessions whose refresh token was rotated.
    pub(super) rotated: Vec<SessionId>,
    /// Whether the store was put in the place of a newer one, where that has changed.
    pub(super) restored: Option<Option<RestoredStore>>,
}

/// Every table in one write transaction.
pub(super) struct Tables<'txn> {
    rows: Rows<'txn>,
    dirty: bool,
    pub(super) effects: Effects,
    revocations: Arc<Revocations>,
    leeway: Duration,
}

/// A revocation outlives its session's tokens by this much, for clocks and caches elsewhere.
const REVOCATION_MARGIN: Duration = Duration::from_secs(300);

impl<'txn> Tables<'txn> {
    pub(super) fn open(
        txn: &'txn WriteTransaction,
        revocations: &Arc<Revocations>,
        leeway: Duration,
    ) -> Result<Self, Fault> {
        Ok(Self {
            rows: Rows::open(txn)?,
            dirty: false,
            effects: Effects::default(),
            revocations: revocations.clone(),
            leeway,
        })
    }

    /// The tables, to look.
    pub(super) fn rows(&self) -> &Rows<'txn> {
        &self.rows
    }

    /// The tables, to change; there is something to commit from now on.
    pub(super) fn change(&mut self) -> &mut Rows<'txn> {
        self.dirty = true;
        &mut self.rows
    }

    /// True if something was changed.
    pub(super) fn dirty(&self) -> bool {
        self.dirty
    }

    /// Lets the sweep look at a row at `at`.
    pub(super) fn expire(&mut self, kind: Kind, at: Timestamp, key: &[u8]) -> Result<(), Fault> {
        self.change().expiry.insert((kind as u8, at.millis(), key), ())?;
        Ok(())
    }

    /// True if the session is revoked, on disk or so far only in memory. One that this very
    /// transaction revoked has no row any more.
    pub(super) fn revoked(&self, id: &SessionId) -> bool {
        self.revocations.session_revoked(id)
    }

    /// Until when a revocation of this session has to be kept: as long as one of its access tokens
    /// could be taken. Its refresh tokens need none, since a session without a row is gone.
    pub(super) fn revoked_until(&self, session: &Session) -> Timestamp {
        session.access_until.plus(self.leeway).plus(REVOCATION_MARGIN)
    }

    /// From when on nothing of this session can be of use: kept beyond its end while an access
    /// token of its may still have to be revoked.
    pub(super) fn outlived(&self, session: &Session) -> Timestamp {
        session.ends().max(session.access_until).plus(self.leeway)
    }
}

/// A fact about the store itself, from outside a write transaction.
pub(super) fn fact(db: &redb::Database, name: &str) -> Result<Option<Vec<u8>>, redb::Error> {
    let txn = db.begin_read()?;
    let table = match txn.open_table(TableDefinition::<&str, &[u8]>::new("meta")) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(table.get(name)?.map(|value| value.value().to_vec()))
}
