//! Moves between stores: every kind to every kind, with everything that must survive.

mod file;
mod interrupted;
mod property;
mod second_steps;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tollhouse_core::clock::{Clock, TestClock};
use tollhouse_core::identity::{SessionId, Subject, UserId};
use tollhouse_core::secret::Secret;
use tollhouse_store::shared::SharedDatabase;
use tollhouse_store::transfer::{ExportRow, RowCounts, RowPage, TransferError, row_channel};
use tollhouse_store::{
    AccountKey, EmbeddedOptions, EmbeddedStore, ForeignToken, OpaqueToken, OpenedStore,
    RefreshRotation, RevocationTarget, RotationOutcome, Session, SessionStore, Store, TokenOwner,
    TotpSecret,
};

use crate::samples::{MANY, START, account, after, options, rotation, session, token};
use crate::shared_samples::{memory_database, open_shared, shared_options};

/// The place of one store, of whichever kind.
enum Place {
    Embedded(TempDir),
    Shared(Arc<dyn SharedDatabase>),
}

type MakePlace = fn() -> Place;

/// A place without a store, of each kind.
const KINDS: [MakePlace; 2] =
    [|| Place::Embedded(tempfile::tempdir().unwrap()), || Place::Shared(memory_database())];

impl Place {
    async fn open(&self) -> OpenedStore {
        match self {
            Self::Embedded(dir) => OpenedStore::Embedded(open_file(dir.path()).await),
            Self::Shared(database) => OpenedStore::Shared(open_shared(database.clone()).await),
        }
    }

    async fn import(&self, rows: Vec<ExportRow>) -> Result<RowCounts, TransferError> {
        self.import_from("the file", rows).await
    }

    async fn import_from(
        &self,
        file: &str,
        rows: Vec<ExportRow>,
    ) -> Result<RowCounts, TransferError> {
        use tollhouse_store::shared::SharedStore;

        let (mut sender, receiver) = row_channel();
        let sending = async {
            for row in rows {
                if sender.send(row).await.is_err() {
                    return;
                }
            }
            let _ = sender.end().await;
        };
        let importing = async {
            match self {
                Self::Embedded(dir) => EmbeddedStore::import(options(dir.path()), receiver).await,
                Self::Shared(database) => {
                    let database = database.clone();
                    SharedStore::import(database, shared_options(), file, receiver).await
                }
            }
        };
        futures_util::future::join(sending, importing).await.1
    }

    async fn export(&self) -> Vec<ExportRow> {
        let store = self.open().await;
        let rows = export(&store).await.unwrap();
        store.as_store().close().await;
        rows
    }
}

/// A store in `dir`; waits for another handle to let go of the file.
async fn open_file(dir: &Path) -> Arc<EmbeddedStore> {
    loop {
        match EmbeddedStore::open(options(dir)) {
            Err(tollhouse_store::StoreOpenError::InUse { .. }) => tokio::task::yield_now().await,
            other => return other.unwrap(),
        }
    }
}

/// All rows of a store, in an order of their own.
async fn export(store: &OpenedStore) -> Result<Vec<ExportRow>, TransferError> {
    let (sender, mut receiver) = row_channel();
    let exporting = async {
        match store {
            OpenedStore::Embedded(store) => store.export(sender).await,
            OpenedStore::Shared(store) => store.export(sender).await,
        }
    };
    let receiving = async {
        let mut rows = Vec::new();
        let mut end = None;
        while let Some(page) = receiver.recv().await {
            match page {
                RowPage::Rows(more) => rows.extend(more),
                RowPage::End(counts) => end = Some(counts),
            }
        }
        (rows, end)
    };
    let (counts, (rows, end)) = futures_util::future::join(exporting, receiving).await;
    assert_eq!(Some(counts?), end, "an export says that it is complete");
    Ok(sorted(rows))
}

fn sorted(mut rows: Vec<ExportRow>) -> Vec<ExportRow> {
    rows.sort_by_key(text);
    rows
}

fn text(row: &ExportRow) -> String {
    serde_json::to_string(row).unwrap()
}

/// Readable when they differ.
fn texts(rows: &[ExportRow]) -> Vec<String> {
    rows.iter().map(text).collect()
}

/// Moves the content of one place to another one.
async fn moved(from: &Place, to: &Place) {
    to.import(birth_first(from.export().await)).await.unwrap();
}

/// An export begins with the birth; the rest has any order.
fn birth_first(rows: Vec<ExportRow>) -> Vec<ExportRow> {
    let (birth, rest): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| matches!(row, ExportRow::Birth { .. }));
    [birth, rest].concat()
}

/// What was done to a store before it is moved.
struct Content {
    refreshed: Session,
    ended: SessionId,
    traded: Session,
    secret: [u8; 32],
}

async fn filled(store: &dyn Store) -> Content {
    let refreshed = session("ann", START);
    store.put(refreshed.clone(), MANY, START).await.unwrap();
    let issued = OpaqueToken { digest: token("opaque"), issued: after(1), expires: after(600) };
    let rotated = RefreshRotation { issued: Some(issued), ..rotation("a", "b", after(1)) };
    let rotated = store.rotate(refreshed.id, rotated, after(1)).await.unwrap();
    assert!(matches!(rotated, RotationOutcome::Rotated(_)), "{rotated:?}");
    let ended = session("bob", START);
    store.put(ended.clone(), MANY, START).await.unwrap();
    store.revoke(RevocationTarget::Session(ended.id), after(2)).await.unwrap();
    let traded = Session { traded: Some(token("foreign")), ..session("cid", START) };
    store.put(traded.clone(), MANY, START).await.unwrap();
    let refused = RevocationTarget::Token { digest: token("refused"), until: after(1000) };
    store.revoke(refused, START).await.unwrap();
    let of = vec![TokenOwner::named("Dan"), TokenOwner::Subject(Subject::new("eve"))];
    store.revoke(RevocationTarget::Tokens { of }, START).await.unwrap();
    store.put_account(account("ldap", "1", "ann")).await.unwrap();
    // The name goes from one user to another.
    store.put_account(account("ldap", "2", "ann")).await.unwrap();
    let totp = TotpSecret { secret: Secret::new(vec![7; 20]), made: START };
    store.put_totp("staff", &UserId::new("ann"), Some(totp)).await.unwrap();
    assert!(store.use_totp_step("staff", &UserId::new("ann"), 100).await.unwrap());
    Content { refreshed, ended: ended.id, traded, secret: store.secret() }
}

async fn is_as_before(store: &dyn Store, content: &Content) {
    assert_eq!(store.secret(), content.secret, "so that derived values stay");
    assert!(store.created_at() <= START.plus(Duration::from_secs(30)));
    let revocations = store.revocations();
    assert!(revocations.session_revoked(&content.ended));
    assert!(revocations.token_revoked(&token("refused")));
    assert_eq!(store.find(content.ended, after(3)).await.unwrap(), None);
    let of = |name: &str| ForeignToken {
        subject: Subject::new(name),
        username: name.into(),
        issued: Some(START),
        is_takeover: false,
    };
    assert!(revocations.cutoffs.refuse(&of("dan"), after(3)));
    assert!(revocations.cutoffs.refuse(&of("eve"), after(3)));
    assert!(!revocations.cutoffs.refuse(&of("ann"), after(3)));

    let name = AccountKey::Name("ann");
    let known = store.find_account("ldap", name).await.unwrap();
    assert_eq!(known, Some(account("ldap", "2", "ann")));
    let first = UserId::new("1");
    let known = store.find_account("ldap", AccountKey::Subject(&first)).await.unwrap();
    assert_eq!(known, Some(account("ldap", "1", "ann")), "it is known by its id alone");
    assert_eq!(store.account_counts("ldap").await.unwrap().known, 2);

    let ann = UserId::new("ann");
    let totp = store.find_totp("staff", &ann).await.unwrap().unwrap();
    assert_eq!(totp.secret.expose(), &[7; 20]);
    assert!(!store.use_totp_step("staff", &ann, 100).await.unwrap(), "it was used before");
    assert!(store.use_totp_step("staff", &ann, 101).await.unwrap());

    let id = content.refreshed.id;
    let found = store.find_by_token(token("opaque"), after(3)).await.unwrap();
    assert_eq!(found.map(|session| session.id), Some(id), "an opaque token leads to its session");
    let again = store.rotate(id, rotation("a", "b", after(5)), after(5)).await.unwrap();
    assert!(matches!(again, RotationOutcome::Grace(_)), "{again:?}");
    let next = store.rotate(id, rotation("b", "c", after(7)), after(7)).await.unwrap();
    assert!(matches!(next, RotationOutcome::Rotated(_)), "{next:?}");
    let stolen = store.rotate(id, rotation("a", "x", after(60)), after(60)).await.unwrap();
    assert!(matches!(stolen, RotationOutcome::Unknown | RotationOutcome::Reuse(_)), "{stolen:?}");

    let sessions = store.list(Some(&Subject::new("cid")), 10, after(3)).await.unwrap();
    assert_eq!(sessions, std::slice::from_ref(&content.traded));
    let foreign = RevocationTarget::Token { digest: token("foreign"), until: after(1000) };
    let ended = store.revoke(foreign, after(60)).await.unwrap();
    assert_eq!(ended, [content.traded.id], "it is found by the token it was exchanged for");
}

#[tokio::test]
async fn after_a_move_everything_is_as_before() {
    for make_source in KINDS {
        for make_target in KINDS {
            let (source, target) = (make_source(), make_target());
            let store = source.open().await;
            let content = filled(&*store.as_store()).await;
            store.as_store().close().await;

            moved(&source, &target).await;

            let store = target.open().await;
            is_as_before(&*store.as_store(), &content).await;
            store.as_store().close().await;
        }
    }
}

#[tokio::test]
async fn a_store_goes_on_while_it_is_exported() {
    for make in KINDS {
        let place = make();
        let store = place.open().await;
        let filling = store.as_store();
        let puts =
            (0..2_000).map(|nth| filling.put(session(&format!("user {nth}"), START), MANY, START));
        for put in futures_util::future::join_all(puts).await {
            put.unwrap();
        }

        let ending = store.as_store();
        let ending = ending.revoke(RevocationTarget::All, after(1));
        let (rows, ended) = tokio::join!(export(&store), ending);

        let rows = rows.unwrap();
        let of_sessions = rows
            .iter()
            .filter(|row| matches!(row, ExportRow::Session(_) | ExportRow::EndedSession { .. }));
        assert_eq!(of_sessions.count(), 2_000, "each is either live or ended");
        assert_eq!(ended.unwrap().len(), 2_000);
        store.as_store().close().await;
    }
}

#[tokio::test]
async fn what_has_ended_is_left_out_unless_the_clock_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let moved = TestClock::new(START);
    let clock = Clock::test(moved.clone());
    let store = EmbeddedStore::open(EmbeddedOptions { clock, ..options(dir.path()) }).unwrap();
    let ended = session("ann", START);
    store.put(ended.clone(), MANY, START).await.unwrap();
    store.revoke(RevocationTarget::Session(ended.id), START).await.unwrap();
    store.put(session("bob", START), MANY, START).await.unwrap();
    let store = OpenedStore::Embedded(store);
    let number = async || export(&store).await.unwrap().len();
    assert_eq!(number().await, 3, "the birth, a revocation, a session");

    moved.set(START.plus(Duration::from_secs(40 * 24 * 3600)));
    assert_eq!(number().await, 3, "nobody knows whether it is as late as that");
    moved.advance(Duration::from_secs(600));
    assert_eq!(number().await, 1, "it is");
}
