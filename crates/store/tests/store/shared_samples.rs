//! What tests of the shared store begin with.

use std::sync::Arc;
use std::time::Duration;

use tollhouse_core::clock::{Clock, TestClock};
use tollhouse_core::secret::Secret;
use tollhouse_store::shared::{
    MemoryDatabase, SEAL_LEN, Seal, SharedDatabase, SharedOptions, SharedStore, TimeSource,
};

use crate::samples::START;

/// A database in memory whose time stands at `START`.
pub(crate) fn memory_database() -> Arc<dyn SharedDatabase> {
    Arc::new(MemoryDatabase::new(Clock::test(TestClock::new(START))))
}

/// How a shared store is opened whose time is that of the callers.
pub(crate) fn shared_options() -> SharedOptions {
    SharedOptions {
        clock: Clock::test(TestClock::new(START)),
        leeway: Duration::from_secs(30),
        longest_access: Duration::from_secs(600),
        seal: Seal::new(&Secret::new([7; SEAL_LEN])),
        stale_limit: Duration::from_secs(30),
        time: TimeSource::Caller,
    }
}

/// One node's store on a database.
pub(crate) async fn open_shared(database: Arc<dyn SharedDatabase>) -> Arc<SharedStore> {
    let runtime = tokio::runtime::Handle::current();
    SharedStore::open(database, shared_options(), &runtime).await.unwrap()
}
