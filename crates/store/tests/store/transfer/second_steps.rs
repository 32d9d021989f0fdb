//! Second steps that name no source, in every kind of store: none may get lost.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tollhouse_core::secret::Digest;
use tollhouse_store::AccountStore;
use tollhouse_store::shared::{
    DatabaseError, DatabaseResult, FeedEntry, Follower, NewRecord, Reading, Record, RecordKey,
    RecordKind, RecordVersion, Swap,
};

use super::*;

const SECRET: u8 = 5;

/// A store with a second step for whoever has the id 7, whose step 100 was used.
async fn with_a_sourceless_step(make: MakePlace) -> (Place, OpenedStore) {
    let place = make();
    let birth = ExportRow::Birth { made: START.whole_secs(), secret: [9; 32], seen: START };
    let step = ExportRow::SecondStep {
        source: String::new(),
        id: seven(),
        secret: vec![SECRET; 20],
        made: START,
        used: 100,
    };
    place.import(vec![birth, step]).await.unwrap();
    let store = place.open().await;
    (place, store)
}

fn seven() -> UserId {
    UserId::new("7")
}

async fn is_asked(store: &dyn Store, source: &str) -> bool {
    store.find_totp(source, &seven()).await.unwrap().is_some()
}

#[tokio::test]
async fn it_applies_to_every_source_until_one_presents_a_code() {
    for make in KINDS {
        let (_place, opened) = with_a_sourceless_step(make).await;
        let store = opened.as_store();
        assert!(is_asked(&*store, "staff").await && is_asked(&*store, "shop").await);
        let found = store.find_totp("staff", &seven()).await.unwrap().unwrap();
        assert_eq!(found, TotpSecret { secret: Secret::new(vec![SECRET; 20]), made: START });
        assert!(!store.use_totp_step("staff", &seven(), 100).await.unwrap(), "it was used");
        assert!(is_asked(&*store, "shop").await, "a replay proves nothing");

        assert!(store.use_totp_step("staff", &seven(), 101).await.unwrap());

        assert!(is_asked(&*store, "staff").await && !is_asked(&*store, "shop").await);
        assert!(!store.use_totp_step("shop", &seven(), 102).await.unwrap());
        assert!(!store.use_totp_step("staff", &seven(), 101).await.unwrap(), "twice");
        assert!(store.use_totp_step("staff", &seven(), 102).await.unwrap());
        store.close().await;
    }
}

#[tokio::test]
async fn of_many_codes_at_once_one_counts() {
    for make in KINDS {
        let (_place, opened) = with_a_sourceless_step(make).await;
        let store = opened.as_store();

        let id = seven();
        let sources = ["staff", "shop"];
        let uses = (0..20).map(|nth| store.use_totp_step(sources[nth % 2], &id, 101));
        let uses = futures_util::future::join_all(uses).await;

        assert_eq!(uses.into_iter().filter(|used| *used.as_ref().unwrap()).count(), 1);
        let asked = [is_asked(&*store, "staff").await, is_asked(&*store, "shop").await];
        assert_eq!(asked.into_iter().filter(|asked| *asked).count(), 1);
        store.close().await;
    }
}

#[tokio::test]
async fn a_new_one_leaves_it_to_the_others_and_it_can_be_taken_away() {
    for make in KINDS {
        let (_place, opened) = with_a_sourceless_step(make).await;
        let store = opened.as_store();
        let new = TotpSecret { secret: Secret::new(vec![6; 20]), made: after(1) };
        store.put_totp("staff", &seven(), Some(new.clone())).await.unwrap();
        assert_eq!(store.find_totp("staff", &seven()).await.unwrap(), Some(new));
        assert!(is_asked(&*store, "shop").await);

        store.put_totp("shop", &seven(), None).await.unwrap();

        assert!(!is_asked(&*store, "shop").await && is_asked(&*store, "staff").await);
        store.close().await;
    }
}

#[tokio::test]
async fn it_moves_on_as_it_is() {
    for make_source in KINDS {
        for make_target in KINDS {
            let (source, opened) = with_a_sourceless_step(make_source).await;
            opened.as_store().close().await;
            let target = make_target();

            moved(&source, &target).await;

            let store = target.open().await.as_store();
            assert!(is_asked(&*store, "staff").await && is_asked(&*store, "shop").await);
            assert!(!store.use_totp_step("staff", &seven(), 100).await.unwrap());
            assert!(store.use_totp_step("staff", &seven(), 101).await.unwrap());
            store.close().await;
        }
    }
}

/// A database that carries out some more writes and then none.
#[derive(Debug)]
struct LastWrites {
    database: Arc<dyn SharedDatabase>,
    left: AtomicUsize,
}

#[async_trait]
impl SharedDatabase for LastWrites {
    async fn swap(
        &self,
        key: &RecordKey,
        expected: Option<RecordVersion>,
        new: NewRecord,
    ) -> DatabaseResult<Swap> {
        let left =
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => self.database.swap(key, expected, new).await,
            Err(_) => Err(DatabaseError("it is gone".to_owned())),
        }
    }

    async fn read(&self, key: &RecordKey) -> DatabaseResult<Reading> {
        self.database.read(key).await
    }

    async fn walk(
        &self,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> DatabaseResult<Vec<(Vec<u8>, Record)>> {
        self.database.walk(kind, after, limit).await
    }

    async fn join(
        &self,
        group: Digest,
        member: &[u8],
        keep: Option<Duration>,
    ) -> DatabaseResult<()> {
        self.database.join(group, member, keep).await
    }

    async fn leave(&self, group: Digest, member: &[u8]) -> DatabaseResult<()> {
        self.database.leave(group, member).await
    }

    async fn members(&self, group: Digest) -> DatabaseResult<Vec<Vec<u8>>> {
        self.database.members(group).await
    }

    async fn publish(&self, entries: &[FeedEntry]) -> DatabaseResult<()> {
        self.database.publish(entries).await
    }

    fn follow(&self) -> Box<dyn Follower> {
        self.database.follow()
    }

    async fn sweep(&self) -> DatabaseResult<bool> {
        self.database.sweep().await
    }

    async fn close(&self) {}
}

#[tokio::test]
async fn a_node_that_dies_while_it_moves_one_loses_nothing() {
    for left in 0..3 {
        let (place, opened) = with_a_sourceless_step(KINDS[1]).await;
        let (Place::Shared(database), node) = (&place, opened.as_store()) else { panic!() };
        let dying = LastWrites { database: database.clone(), left: AtomicUsize::new(left) };
        let dying = open_shared(Arc::new(dying)).await;

        let used = dying.use_totp_step("staff", &seven(), 101).await;

        assert!(used.is_err(), "{left} writes were too few");
        assert!(is_asked(&*node, "staff").await, "after {left} writes");
        assert_eq!(is_asked(&*node, "shop").await, left == 0, "after {left} writes");
        let rows = export(&opened).await.unwrap();
        let steps = rows.iter().filter(|row| matches!(row, ExportRow::SecondStep { .. }));
        assert_eq!(steps.count(), 1, "after {left} writes");
        // Whether the code counts as used was decided by the second write.
        assert_eq!(node.use_totp_step("staff", &seven(), 101).await.unwrap(), left < 2);
        assert!(node.use_totp_step("staff", &seven(), 102).await.unwrap());
        assert!(is_asked(&*node, "staff").await && !is_asked(&*node, "shop").await);
        node.close().await;
        dying.close().await;
    }
}
