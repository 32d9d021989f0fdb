//! The notes that the nodes of a shared store keep about themselves, and for how long.

use std::sync::Arc;
use std::time::Duration;

use tollhouse_core::clock::{Clock, TestClock, Timestamp};
use tollhouse_store::Store;
use tollhouse_store::shared::{
    MemoryDatabase, NODE_SEEN_FOR, NodeNote, SharedDatabase, SharedOptions, SharedStore, TimeSource,
};

use crate::samples::START;
use crate::shared_samples::shared_options;

fn note(name: &str, configuration: &str) -> NodeNote {
    NodeNote {
        name: name.to_owned(),
        version: "1.2.3".to_owned(),
        configuration: configuration.to_owned(),
        started: START,
        // A node does not know the store's time; what it says itself does not count.
        seen: Timestamp::from_secs(1),
    }
}

/// A node whose own clock is wrong by an hour: the time of the notes is the database's.
async fn node(database: &Arc<dyn SharedDatabase>) -> Arc<SharedStore> {
    let wrong = TestClock::new(START.plus(Duration::from_secs(3600)));
    let clock = Clock::test(wrong);
    let options = SharedOptions { clock, time: TimeSource::Database, ..shared_options() };
    let runtime = tokio::runtime::Handle::current();
    SharedStore::open(database.clone(), options, &runtime).await.unwrap()
}

async fn names(store: &SharedStore) -> Vec<(String, String)> {
    let notes = store.nodes().await.unwrap();
    notes.into_iter().map(|note| (note.name, note.configuration)).collect()
}

#[tokio::test]
async fn a_node_is_listed_for_a_minute_after_its_last_note() {
    let time = TestClock::new(START);
    let database: Arc<dyn SharedDatabase> =
        Arc::new(MemoryDatabase::new(Clock::test(time.clone())));
    let (one, two) = (node(&database).await, node(&database).await);
    let pair = |name: &str, configuration: &str| (name.to_owned(), configuration.to_owned());

    two.note_node(&note("b", "first")).await.unwrap();
    one.note_node(&note("a", "first")).await.unwrap();
    let both = [pair("a", "first"), pair("b", "first")];
    assert_eq!((names(&one).await, names(&two).await), (both.to_vec(), both.to_vec()));
    let seen = one.nodes().await.unwrap()[0].seen;
    assert_eq!(seen, START, "by the clock of the database");

    time.advance(NODE_SEEN_FOR - Duration::from_millis(1));
    assert_eq!(names(&one).await, both, "seen within the last minute");
    one.note_node(&note("a", "second")).await.unwrap();
    time.advance(Duration::from_millis(1));
    assert_eq!(names(&one).await, [pair("a", "second")], "the other one is gone");

    // It comes back, as a node that was cut off does.
    two.note_node(&note("b", "second")).await.unwrap();
    assert_eq!(names(&one).await, [pair("a", "second"), pair("b", "second")]);
    time.advance(NODE_SEEN_FOR);
    assert_eq!(names(&one).await, []);
    one.close().await;
    two.close().await;
}
