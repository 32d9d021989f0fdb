//! `SharedDatabase`: what the shared store needs of PostgreSQL or Redis.
//!
//! A shared store is made of small records. A record is read, decided about in this process, and
//! replaced on the condition that nobody replaced it meanwhile (compare and swap). All decisions
//! are therefore made in one place, `shared`, whatever the database is, and a database needs no
//! procedures, no locks and no transactions that span a decision.
//!
//! Besides records there are groups (which sessions does this user have?) and the feed of
//! revocations, which every node follows. A group may name records that are gone; it must never
//! miss one that exists. Whoever adds a record joins the group first.
//!
//! Values are sealed before they come here, and ids are digests or random: a database sees neither
//! names nor addresses nor secrets.

use std::time::Duration;

use async_trait::async_trait;

use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::Digest;

/// The kinds of records. Each has a table, or a prefix of keys, of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// Sessions by id; also, for a while, sessions that have ended.
    Session,
    /// One-time codes that wait for their guess.
    Code,
    /// Counts of failed attempts at one account, or from one address, and of mails sent.
    Attempt,
    /// Users of remote sources, and the secrets of second steps.
    Account,
    /// User versions that were replaced when a password was re-hashed.
    Version,
    /// Named documents: the birth mark, the signing keys, the nodes.
    Document,
}

impl RecordKind {
    pub const ALL: [Self; 6] =
        [Self::Session, Self::Code, Self::Attempt, Self::Account, Self::Version, Self::Document];

    /// The plural noun that names the table or the prefix. It is part of what is stored, so it must
    /// never change.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "sessions",
            Self::Code => "codes",
            Self::Attempt => "attempts",
            Self::Account => "accounts",
            Self::Version => "versions",
            Self::Document => "documents",
        }
    }
}

/// The address of one record: 16 or 32 bytes within its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordKey {
    pub kind: RecordKind,
    pub id: Vec<u8>,
}

/// A random number that each write of a record gets from its writer. A writer that lost the answer
/// recognises its own write by it, and a record that was removed and made again has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordVersion(pub i64);

/// A record as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub version: RecordVersion,
    pub value: Vec<u8>,
}

/// A record that is to be written.
#[derive(Clone, Debug)]
pub struct NewRecord {
    pub version: RecordVersion,
    pub value: Vec<u8>,
    /// For how long from now the database must keep the record. It may keep it longer; `None`: for
    /// good.
    pub keep: Option<Duration>,
}

/// The answer to a read, or to a write that came too late.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The record; `None` if there is none.
    pub record: Option<Record>,
    /// The database's own time. All nodes decide by it, so that their clocks may differ.
    pub now: Timestamp,
}

/// The result of a conditional write.
#[derive(Clone, Debug)]
pub enum Swap {
    Written,
    /// Somebody else has written the record since: this is what it is now.
    Conflict(Reading),
}

/// A revocation on its way to all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// Two entries with the same id are about the same thing; the later one replaces the earlier.
    pub id: Digest,
    pub value: Vec<u8>,
    /// For how long from now a node that starts must still learn of it; `None`: for good.
    pub keep: Option<Duration>,
}

/// A database that could not carry out a step, or whose answer did not come. The text is for an
/// operator and names neither credentials nor values.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct DatabaseError(pub String);

pub type DatabaseResult<T> = Result<T, DatabaseError>;

/// A database that several gateways share.
///
/// Contract:
/// - `swap` is atomic, and what it wrote is durable, as far as the database is set up for it, when
///   it answers `Written`.
/// - After `Written`, every later `read` by any node shows this record or a later one.
/// - A step fails within its time limit. A step that failed may have been carried out all the
///   same: the caller repeats it with the same `RecordVersion`.
/// - Dropping the future of a step must not harm later steps.
#[async_trait]
pub trait SharedDatabase: std::fmt::Debug + Send + Sync + 'static {
    /// Makes what the store needs, where it is missing: a server may come back empty while nodes
    /// run. Does nothing where everything is there.
    async fn prepare(&self) -> DatabaseResult<()> {
        Ok(())
    }

    async fn read(&self, key: &RecordKey) -> DatabaseResult<Reading>;

    /// Writes the record if its version is still `expected`; `None` means that there must be no
    /// record. A record that was already written with `new.version` counts as `Written`.
    async fn swap(
        &self,
        key: &RecordKey,
        expected: Option<RecordVersion>,
        new: NewRecord,
    ) -> DatabaseResult<Swap>;

    /// Up to `limit` ids and records of a kind after `after`, in the order of their ids. Only
    /// sessions and accounts are walked over.
    async fn walk(
        &self,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> DatabaseResult<Vec<(Vec<u8>, Record)>>;

    /// Adds a member to a group, and keeps both for at least `keep` from now (`None`: for good).
    async fn join(
        &self,
        group: Digest,
        member: &[u8],
        keep: Option<Duration>,
    ) -> DatabaseResult<()>;

    /// Takes a member out of a group.
    async fn leave(&self, group: Digest, member: &[u8]) -> DatabaseResult<()>;

    /// The members of a group, in the order of their bytes.
    async fn members(&self, group: Digest) -> DatabaseResult<Vec<Vec<u8>>>;

    /// Adds entries to the feed. When it answers, every follower will get them with its next look.
    async fn publish(&self, entries: &[FeedEntry]) -> DatabaseResult<()>;

    /// Begins to follow the feed. The follower has a connection of its own where it needs one.
    fn follow(&self) -> Box<dyn Follower>;

    /// Removes some records, members and entries whose time has passed, a bounded number at a time.
    /// True if there may be more.
    async fn sweep(&self) -> DatabaseResult<bool>;

    /// Ends all connections.
    async fn close(&self);
}

/// One node's place in the feed of revocations.
///
/// Contract: no entry whose `publish` was answered is missed, whatever the order in which the
/// database carries out what is published at the same time. An entry may come more than once.
#[async_trait]
pub trait Follower: Send {
    /// All entries that a node must know when it starts, in pieces of a bounded size. Afterwards
    /// `next` goes on where this ended.
    async fn load(&mut self, piece: &mut (dyn FnMut(Vec<Vec<u8>>) + Send)) -> DatabaseResult<()>;

    /// The entries since the last call. Waits for a quarter of a second at most if there are none:
    /// then the answer is empty, and says that the database is there.
    async fn next(&mut self) -> DatabaseResult<News>;
}

/// The result of a look at the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Entries(Vec<Vec<u8>>),
    /// The follower was away for longer than the feed goes back: `load` must be called again.
    Missed,
}
