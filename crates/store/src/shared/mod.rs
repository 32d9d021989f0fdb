//! The store that several gateways share: the same operations as the embedded one, on a database
//! that all nodes reach.

mod database;
mod inspection;
mod memory;

pub use self::database::{
    DatabaseError, DatabaseResult, FeedEntry, Follower, NewRecord, News, Reading, Record,
    RecordKey, RecordKind, RecordVersion, SharedDatabase, Swap,
};
pub use self::inspection::{Finding, SharedOpenError, Verdict};
pub use self::memory::MemoryDatabase;
