//! The embedded store's file: made, refused, copied, swept.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tollhouse_store::{
    CodeGuess, CodeStore, EmbeddedOptions, EmbeddedStore, InjectedFaults, RevocationTarget,
    RotationOutcome, Session, SessionStore, Store, StoreOpenError,
};

use crate::samples::{MANY, START, after, open, options, rotation, session, token};

/// A store with a session that is kept and one that has ended.
async fn with_sessions(dir: &Path) -> (Arc<EmbeddedStore>, Session, Session) {
    let store = open(dir);
    let (kept, ended) = (session("ann", START), session("bob", START));
    for session in [&kept, &ended] {
        store.put(session.clone(), MANY, START).await.unwrap();
    }
    store.revoke(RevocationTarget::Session(ended.id), START).await.unwrap();
    (store, kept, ended)
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (store, kept, ended) = with_sessions(dir.path()).await;
    let outlaw = RevocationTarget::Token { digest: token("foreign"), until: after(1000) };
    store.revoke(outlaw, START).await.unwrap();
    let (made, secret) = (store.created_at(), store.secret());
    store.close().await;

    let store = open(dir.path());

    assert_eq!((store.created_at(), store.secret()), (made, secret));
    assert_eq!(store.created_at(), START.whole_secs());
    assert!(store.revocations().session_revoked(&ended.id), "before anything is asked");
    assert!(store.revocations().token_revoked(&token("foreign")));
    assert_eq!(store.find(kept.id, START).await.unwrap(), Some(kept));
}

#[tokio::test]
async fn a_closed_store_takes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.close().await;

    assert!(store.put(session("ann", START), MANY, START).await.is_err());
    store.close().await;
}

#[tokio::test]
async fn a_store_that_is_only_read_knows_the_revocations_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (store, kept, ended) = with_sessions(dir.path()).await;
    let outlaw = RevocationTarget::Token { digest: token("foreign"), until: after(1000) };
    store.revoke(outlaw, START).await.unwrap();
    let in_use = EmbeddedStore::open_to_read(options(dir.path()));
    let (made, secret) = (store.created_at(), store.secret());
    store.close().await;
    drop(store);
    let bytes = fs::read(dir.path().join("store.redb")).unwrap();

    let read = EmbeddedStore::open_to_read(options(dir.path())).unwrap();

    assert!(matches!(in_use, Err(StoreOpenError::InUse { .. })), "{in_use:?}");
    assert_eq!((read.created_at(), read.secret()), (made, secret));
    assert!(read.revocations().session_revoked(&ended.id));
    assert!(!read.revocations().session_revoked(&kept.id));
    assert!(read.revocations().token_revoked(&token("foreign")));
    assert!(read.put(session("eve", START), MANY, START).await.is_err(), "nothing is written");
    assert_eq!(fs::read(dir.path().join("store.redb")).unwrap(), bytes);
    let writer = EmbeddedStore::open(options(dir.path()));
    assert!(writer.is_ok(), "the file was closed again: {writer:?}");
}

#[test]
fn a_store_that_is_not_there_is_read_as_an_empty_one_and_not_made() {
    let dir = tempfile::tempdir().unwrap();

    let read = EmbeddedStore::open_to_read(options(dir.path())).unwrap();

    assert!(read.revocations().is_empty() && read.healthy().is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn only_the_owner_can_read_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mode = || {
        let meta = fs::metadata(dir.path().join("store.redb")).unwrap();
        meta.permissions().mode() & 0o777
    };
    drop(open(dir.path()));
    assert_eq!(mode(), 0o600);
    let mut names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["store.redb", "store.seen"], "nothing else is left behind");
    let seen = fs::metadata(dir.path().join("store.seen")).unwrap();
    assert_eq!(seen.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_missing_store_is_refused_where_there_are_keys() {
    let dir = tempfile::tempdir().unwrap();
    let with_keys = EmbeddedOptions { keys_exist: true, ..options(dir.path()) };

    let refused = EmbeddedStore::open(with_keys.clone()).unwrap_err();

    assert!(matches!(refused, StoreOpenError::Missing { .. }), "{refused}");
    assert!(refused.to_string().contains("--new-state"), "{refused}");
    assert!(!with_keys.path.exists());
    let anew = EmbeddedOptions { new_state: true, ..with_keys };
    assert!(EmbeddedStore::open(anew).is_ok());
}

#[tokio::test]
async fn new_state_keeps_a_store_that_exists() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let secret = store.secret();
    store.close().await;

    let anew = EmbeddedOptions { keys_exist: true, new_state: true, ..options(dir.path()) };

    assert_eq!(EmbeddedStore::open(anew).unwrap().secret(), secret);
}

#[tokio::test]
async fn a_second_gateway_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());

    let refused = EmbeddedStore::open(options(dir.path())).unwrap_err();

    assert!(matches!(refused, StoreOpenError::InUse { .. }), "{refused}");
    first.close().await;
    assert!(EmbeddedStore::open(options(dir.path())).is_ok());
}

#[tokio::test]
async fn a_released_file_is_another_processes_until_it_is_reclaimed() {
    let dir = tempfile::tempdir().unwrap();
    let (first, kept, ended) = with_sessions(dir.path()).await;

    first.release().await.unwrap();

    let (cat, dan) = (session("cat", START), session("dan", START));
    assert!(first.put(cat.clone(), MANY, START).await.is_err());
    assert!(first.revocations().session_revoked(&ended.id), "revocations hold on");
    assert!(first.revoke(RevocationTarget::Session(kept.id), START).await.is_err());
    assert!(first.revocations().session_revoked(&kept.id), "and are owed where they are new");
    let second = EmbeddedStore::open(options(dir.path())).unwrap();
    second.put(dan.clone(), MANY, START).await.unwrap();
    second.revoke(RevocationTarget::Session(dan.id), START).await.unwrap();
    first.reclaim().unwrap();
    assert!(first.find(kept.id, START).await.is_err(), "the other process has the file");
    second.close().await;

    let reclaimed = async {
        while first.put(cat.clone(), MANY, START).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reclaimed).await.expect("opened again");
    assert!(first.revocations().session_revoked(&dan.id), "what the other one wrote is known");
    assert_eq!(first.find(kept.id, START).await.unwrap(), None, "what was owed is written");
    assert!(first.healthy().is_ok());
}

/// A gateway whose successor failed accepts again as soon as it has asked for its file.
#[tokio::test]
async fn an_operation_right_behind_a_reclaim_finds_the_file_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for nth in 0..100 {
        store.release().await.unwrap();
        store.reclaim().unwrap();

        let put = store.put(session(&format!("user {nth}"), START), MANY, START).await;

        assert!(put.is_ok(), "{nth}: {put:?}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_what_to_do_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = open(dir.path());
    for nth in 0..200 {
        store.put(session(&format!("user {nth}"), START), MANY, START).await.unwrap();
    }
    store.close().await;
    let whole = fs::read(&path).unwrap();
    let half = whole.len() / 2;
    let mut scribbled = whole.clone();
    for byte in scribbled.iter_mut().skip(4096) {
        *byte ^= 0x5a;
    }
    for (bytes, why) in [
        (Vec::new(), "empty"),
        (b"not a database".to_vec(), "something else, and short"),
        (vec![b'x'; 100_000], "something else"),
        (whole[..half].to_vec(), "cut off"),
        (scribbled, "every page is damaged"),
    ] {
        fs::write(&path, &bytes).unwrap();

        let refused = EmbeddedStore::open(options(dir.path())).unwrap_err();

        assert!(matches!(refused, StoreOpenError::Damaged { .. }), "{why}: {refused:?}");
        assert!(refused.to_string().contains("restore a backup"), "{why}: {refused}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{why}");
    }
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("store.redb");
    crate::samples::rewrite(&path, 6, |_| ());

    let refused = EmbeddedStore::open(options(dir.path())).unwrap_err();

    assert!(matches!(refused, StoreOpenError::Newer { found: 6, .. }), "{refused}");
}

#[tokio::test]
async fn a_backup_is_a_store_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (store, kept, ended) = with_sessions(dir.path()).await;
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("store.redb");

    store.backup(&path).await.unwrap();

    assert!(store.backup(&path).await.is_err(), "nothing is written over");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let restored = open(copy.path());
    assert_eq!(restored.secret(), store.secret());
    assert!(restored.revocations().session_revoked(&ended.id));
    assert_eq!(restored.find(kept.id, START).await.unwrap(), Some(kept));
}

#[tokio::test]
async fn expired_rows_are_swept_in_small_batches() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let renewed = session("ann", START);
    store.put(renewed.clone(), MANY, START).await.unwrap();
    let puts = (0..1200).map(|nth| {
        let mut brief = session(&format!("user {nth}"), START);
        brief.expires = after(100);
        brief.access_until = after(100);
        store.put(brief, MANY, START)
    });
    futures_util::future::join_all(puts).await;

    assert_eq!(store.sweep(after(129)).await.unwrap(), 0, "the leeway is not over");
    let mut passes = Vec::new();
    while let Some(looked) = Some(store.sweep(after(130)).await.unwrap()).filter(|it| *it > 0) {
        passes.push(looked);
    }
    assert!(passes.iter().sum::<usize>() >= 1200, "each session was due: {passes:?}");
    assert!(passes.iter().all(|looked| *looked <= 500), "{passes:?}");

    assert!(store.find(renewed.id, after(130)).await.unwrap().is_some());
    store.revoke(RevocationTarget::Session(renewed.id), after(130)).await.unwrap();
    store.sweep(START.plus(Duration::from_secs(4 * 24 * 3600))).await.unwrap();
    assert!(store.revocations().is_empty(), "a revocation ends with all it was for");
}

#[tokio::test]
async fn an_unreadable_row_costs_only_whoever_needs_it() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().await;
    let db = redb::Database::open(dir.path().join("store.redb")).unwrap();
    let txn = db.begin_write().unwrap();
    let codes = redb::TableDefinition::<&[u8; 32], &[u8]>::new("codes");
    txn.open_table(codes).unwrap().insert(&token("key").0, b"scribble".as_slice()).unwrap();
    txn.commit().unwrap();
    drop(db);
    let store = open(dir.path());
    let session = session("ann", START);
    let guess = CodeGuess { key: token("key"), code: token("1"), address: None, ticket: None };

    let (before, guessed, after) = tokio::join!(
        store.put(session.clone(), MANY, START),
        store.use_code(guess, START),
        store.rotate(session.id, rotation("a", "b", START), START),
    );

    assert_eq!(before.unwrap(), []);
    assert!(guessed.is_err(), "it does not guess");
    assert!(matches!(after.unwrap(), RotationOutcome::Rotated(_)));
    assert!(store.healthy().is_ok());
}

#[tokio::test]
async fn many_waiters_share_an_fsync() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(InjectedFaults::default());
    let store = EmbeddedStore::open(EmbeddedOptions {
        backend_faults: Some(faults.clone()),
        ..options(dir.path())
    })
    .unwrap();
    let before = faults.synced();

    let puts = (0..500).map(|nth| store.put(session(&format!("user {nth}"), START), MANY, START));
    for outcome in futures_util::future::join_all(puts).await {
        outcome.unwrap();
    }

    let syncs = faults.synced() - before;
    assert!(syncs < 50, "{syncs} for 500 logins");
    let before = faults.synced();
    for _ in 0..10 {
        store.list(None, 10, START).await.unwrap();
    }
    assert_eq!(faults.synced(), before, "looking costs none");
}
