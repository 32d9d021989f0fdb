//! Imports that do not come to their end, and stores that are no place for one.

use std::fs;

use tollhouse_store::StoreError;
use tollhouse_store::shared::{NodeNote, SharedStore};

use super::*;

/// The rows of a store with something of everything.
async fn some_rows() -> Vec<ExportRow> {
    let place = KINDS[1]();
    let store = place.open().await;
    filled(&*store.as_store()).await;
    store.as_store().close().await;
    birth_first(place.export().await)
}

/// Begins an import of these rows and cuts it off before its end.
async fn cut_off(place: &Place, rows: Vec<ExportRow>) -> TransferError {
    let (pages, receiver) = tokio::sync::mpsc::channel(1);
    let sending = async {
        let _ = pages.send(RowPage::Rows(rows)).await;
        drop(pages);
    };
    let importing = async {
        match place {
            Place::Embedded(dir) => EmbeddedStore::import(options(dir.path()), receiver).await,
            Place::Shared(database) => {
                SharedStore::import(database.clone(), shared_options(), "the file", receiver).await
            }
        }
    };
    futures_util::future::join(sending, importing).await.1.unwrap_err()
}

#[tokio::test]
async fn an_import_that_is_cut_off_is_begun_again() {
    for make in KINDS {
        let (place, rows) = (make(), some_rows().await);
        assert!(matches!(cut_off(&place, rows.clone()).await, TransferError::Stopped));

        match &place {
            // Nothing is left of it.
            Place::Embedded(dir) => assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0),
            // What is left is recognised, and no gateway uses it.
            Place::Shared(database) => {
                let runtime = tokio::runtime::Handle::current();
                let opened = SharedStore::open(database.clone(), shared_options(), &runtime).await;
                let Err(StoreError::Unavailable(why)) = opened else { panic!("it was opened") };
                assert!(why.contains("tollhouse store import"), "{why}");
                let other = place.import_from("another file", rows.clone()).await;
                assert!(matches!(other, Err(TransferError::OtherImport)), "{other:?}");
            }
        }
        place.import(rows.clone()).await.unwrap();

        assert_eq!(texts(&place.export().await), texts(&sorted(rows)));
    }
}

#[tokio::test]
async fn an_export_without_its_end_or_its_beginning_is_refused() {
    for make in KINDS {
        let rows = some_rows().await;
        let place = make();
        let headless = place.import(rows[1..].to_vec()).await;
        assert!(matches!(headless, Err(TransferError::BadRows(_))), "{headless:?}");

        let (pages, receiver) = tokio::sync::mpsc::channel(2);
        pages.send(RowPage::Rows(rows[..3].to_vec())).await.unwrap();
        let counts = RowCounts { sessions: 1000, ..RowCounts::default() };
        pages.send(RowPage::End(counts)).await.unwrap();
        let short = match &place {
            Place::Embedded(dir) => EmbeddedStore::import(options(dir.path()), receiver).await,
            Place::Shared(database) => {
                SharedStore::import(database.clone(), shared_options(), "the file", receiver).await
            }
        };
        assert!(matches!(short, Err(TransferError::BadRows(_))), "{short:?}");
        if let Place::Embedded(dir) = &place {
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
}

#[tokio::test]
async fn a_store_that_is_not_empty_is_left_alone() {
    let rows = some_rows().await;
    for make in KINDS {
        let place = make();
        let store = place.open().await;
        let kept = session("ann", START);
        store.as_store().put(kept.clone(), MANY, START).await.unwrap();
        let secret = store.as_store().secret();
        store.as_store().close().await;

        let refused = place.import(rows.clone()).await.unwrap_err();

        assert!(matches!(refused, TransferError::NotEmpty { .. }), "{refused}");
        assert!(refused.to_string().contains("(1 session)"), "{refused}");
        let store = place.open().await.as_store();
        assert_eq!(store.find(kept.id, START).await.unwrap(), Some(kept));
        assert_eq!(store.secret(), secret);
        store.close().await;
    }
}

#[tokio::test]
async fn an_import_is_not_done_twice() {
    for make in KINDS {
        let (place, rows) = (make(), some_rows().await);
        place.import(rows.clone()).await.unwrap();

        let again = place.import(rows.clone()).await.unwrap_err();

        assert!(matches!(again, TransferError::NotEmpty { .. }), "{again}");
        assert_eq!(texts(&place.export().await), texts(&sorted(rows)));
    }
}

#[tokio::test]
async fn an_empty_store_that_was_made_by_a_start_is_filled() {
    for make in KINDS {
        let (place, rows) = (make(), some_rows().await);
        place.open().await.as_store().close().await;

        place.import(rows.clone()).await.unwrap();

        assert_eq!(texts(&place.export().await), texts(&sorted(rows)));
    }
}

#[tokio::test]
async fn a_store_in_use_is_left_alone() {
    let rows = some_rows().await;
    let place = KINDS[0]();
    let running = place.open().await.as_store();
    let refused = place.import(rows.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused}");
    running.close().await;

    let Place::Shared(database) = KINDS[1]() else { panic!("it is not shared") };
    let running = open_shared(database.clone()).await;
    let note = NodeNote {
        name: "node-a".to_owned(),
        version: "1".to_owned(),
        configuration: String::new(),
        started: START,
        seen: START,
    };
    running.note_node(&note).await.unwrap();
    let refused = Place::Shared(database).import(rows).await.unwrap_err();
    assert!(refused.to_string().contains("`node-a`"), "{refused}");
    running.close().await;
}

#[tokio::test]
async fn what_a_killed_import_left_behind_is_removed() {
    let (place, rows) = (KINDS[0](), some_rows().await);
    let Place::Embedded(dir) = &place else { panic!("it is not a file") };
    fs::write(dir.path().join("store.redb.0a1b2c3d.import"), "half").unwrap();
    fs::write(dir.path().join("other.redb.0a1b2c3d.import"), "theirs").unwrap();

    place.import(rows).await.unwrap();

    let mut names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["other.redb.0a1b2c3d.import", "store.redb"]);
}

/// A store that comes back to the folder where it was before is newer than its last trace there.
#[tokio::test]
async fn a_store_that_comes_back_is_not_taken_for_a_restored_backup() {
    let place = KINDS[0]();
    let Place::Embedded(dir) = &place else { panic!("it is not a file") };
    let store = place.open().await;
    filled(&*store.as_store()).await;
    store.as_store().close().await;
    let elsewhere = KINDS[1]();
    moved(&place, &elsewhere).await;
    fs::rename(dir.path().join("store.redb"), dir.path().join("before.redb")).unwrap();

    moved(&elsewhere, &place).await;

    let store = place.open().await.as_store();
    assert_eq!(store.notes(), [""; 0]);
    store.close().await;
}

/// Else every token would be older than the store, and everybody logged out.
#[tokio::test]
async fn a_store_that_was_made_by_a_wrong_clock_refuses_no_token_after_a_move() {
    let place = KINDS[1]();
    let made = after(100_000);
    place.import(vec![ExportRow::Birth { made, secret: [9; 32], seen: made }]).await.unwrap();

    let store = place.open().await.as_store();

    let tolerant = after(30);
    assert!(!store.revocations().is_older_than_store(START, tolerant));
    store.close().await;
}
