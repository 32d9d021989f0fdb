//! Store files that earlier versions wrote.

use std::path::Path;

use redb::{Database, DatabaseError, TableDefinition, WriteTransaction};
use tollhouse::identity::Subject;
use tollhouse::session::{EmbeddedStore, SessionStore};

use crate::contract::{MANY, START, session};
use crate::store_file::{open, options};

const STEPS: TableDefinition<'_, (&str, &str), (&[u8], u64, u64)> =
    TableDefinition::new("second_steps");
const STEPS_2: TableDefinition<'_, &str, (&[u8], u64, u64)> = TableDefinition::new("totp");

/// Changes a store that nobody has open, and says that a version wrote it.
pub(crate) fn rewrite(path: &Path, version: u64, change: impl FnOnce(&WriteTransaction)) {
    // The handle was dropped: wait until its thread has let go.
    let db = loop {
        match Database::open(path) {
            Err(DatabaseError::DatabaseAlreadyOpen) => std::thread::yield_now(),
            other => break other.unwrap(),
        }
    };
    let txn = db.begin_write().unwrap();
    let meta = TableDefinition::<&str, &[u8]>::new("meta");
    txn.open_table(meta).unwrap().insert("schema", version.to_be_bytes().as_slice()).unwrap();
    change(&txn);
    txn.commit().unwrap();
}

/// The version that a file says.
fn version(path: &Path) -> Vec<u8> {
    use redb::ReadableDatabase;
    let db = Database::open(path).unwrap();
    let meta = TableDefinition::<&str, &[u8]>::new("meta");
    let table = db.begin_read().unwrap().open_table(meta).unwrap();
    table.get("schema").unwrap().unwrap().value().to_vec()
}

async fn with_a_session(dir: &Path) -> tollhouse::session::Session {
    let (store, kept) = (open(dir), session("ann", START));
    store.put(kept.clone(), MANY, START).await.unwrap();
    store.close().await;
    kept
}

#[tokio::test]
async fn the_first_version_is_taken_over_with_its_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let (path, kept) = (dir.path().join("store.redb"), with_a_session(dir.path()).await);
    rewrite(&path, 1, |txn| {
        txn.delete_table(STEPS).unwrap();
        txn.delete_table(STEPS_2).unwrap();
        let users = TableDefinition::<(&str, &str), &[u8]>::new("users");
        let names = TableDefinition::<(&str, &str), &str>::new("user_names");
        txn.delete_table(users).unwrap();
        txn.delete_table(names).unwrap();
    });

    let store = open(dir.path());

    assert_eq!(store.find(kept.id, START).await.unwrap(), Some(kept));
    let ann = crate::contract::account("legacy", "1", "ann");
    store.put_account(ann).await.unwrap();
    assert_eq!(store.account_counts("legacy").await.unwrap().known, 1);
    assert_eq!(store.find_totp("legacy", &Subject::new("1")).await.unwrap(), None);
    store.close().await;
    assert_eq!(version(&path), 3_u64.to_be_bytes());
}

#[tokio::test]
async fn second_steps_of_the_second_version_are_still_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (path, kept) = (dir.path().join("store.redb"), with_a_session(dir.path()).await);
    rewrite(&path, 2, |txn| {
        txn.delete_table(STEPS).unwrap();
        let mut steps = txn.open_table(STEPS_2).unwrap();
        for id in ["7", "8"] {
            steps.insert(id, (&[1_u8; 20][..], START.millis(), 100)).unwrap();
        }
    });
    let store: std::sync::Arc<EmbeddedStore> = open(dir.path());
    let (seven, eight) = (Subject::new("7"), Subject::new("8"));
    let has =
        async |source: &str, id: &Subject| store.find_totp(source, id).await.unwrap().is_some();

    assert_eq!(store.find(kept.id, START).await.unwrap(), Some(kept));
    assert!(has("shop", &seven).await && has("staff", &seven).await, "nobody knows whose it is");
    assert!(!store.use_totp_step("shop", &seven, 100).await.unwrap(), "it was used before");
    assert!(has("staff", &seven).await, "a wrong code makes it nobody's");

    assert!(store.use_totp_step("shop", &seven, 101).await.unwrap());

    assert!(has("shop", &seven).await, "whose code is right, his it is");
    assert!(!has("staff", &seven).await);
    assert!(!store.use_totp_step("shop", &seven, 101).await.unwrap());
    store.put_totp("shop", &eight, None).await.unwrap();
    assert!(!has("shop", &eight).await, "what is taken away is gone");
    store.close().await;
    assert_eq!(version(&path), 3_u64.to_be_bytes());
    assert!(EmbeddedStore::open(options(dir.path())).is_ok());
}
