//! Store files that earlier versions wrote.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use redb::{Database, TableDefinition};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tollhouse::admin::client;
use tollhouse::identity::{IdRule, IdRules, Subject, UserId};
use tollhouse::secret::Digest;
use tollhouse::session::{
    AccountKey, AccountStore, CodeStore, EmbeddedOptions, EmbeddedStore, OpaqueToken, SessionStore,
    Store,
};

use crate::harness::gateway::{PASSWORD, STAFF, START as MADE};
use crate::harness::{Gateway, Reply, Tenant, Upstream};
use crate::security::claims;
use crate::store::samples::{MANY, START, account, open, options, rewrite, session};

const STEPS: TableDefinition<'_, (&str, &str), (&[u8], u64, u64)> =
    TableDefinition::new("second_steps");
const STEPS_2: TableDefinition<'_, &str, (&[u8], u64, u64)> = TableDefinition::new("totp");

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
    let ann = account("legacy", "1", "ann");
    store.put_account(ann).await.unwrap();
    assert_eq!(store.account_counts("legacy").await.unwrap().known, 1);
    assert_eq!(store.find_totp("legacy", &UserId::new("1")).await.unwrap(), None);
    store.close().await;
    assert_eq!(version(&path), 5_u64.to_be_bytes());
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
    let (seven, eight) = (UserId::new("7"), UserId::new("8"));
    let has =
        async |source: &str, id: &UserId| store.find_totp(source, id).await.unwrap().is_some();

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
    assert_eq!(version(&path), 5_u64.to_be_bytes());
    assert!(EmbeddedStore::open(options(dir.path())).is_ok());
}

#[tokio::test]
async fn the_fourth_version_gets_a_table_of_opaque_tokens_and_keeps_its_sessions_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let kept = tollhouse::session::Session {
        subject: Subject::new("a subject that no source has"),
        ..session("ann", START)
    };
    let store = open(dir.path());
    store.put(kept.clone(), MANY, START).await.unwrap();
    store.close().await;
    rewrite(&path, 4, |txn| {
        let tokens = TableDefinition::<&[u8; 32], &[u8; 16]>::new("opaque_tokens");
        assert!(txn.delete_table(tokens).unwrap());
    });

    let store = open(dir.path());

    assert_eq!(store.find(kept.id, START).await.unwrap(), Some(kept.clone()));
    let digest = Digest::of(b"opaque");
    let issued = Some(OpaqueToken { digest, issued: START, expires: kept.expires });
    store.renew(kept.id, None, kept.expires, issued, START).await.unwrap().unwrap();
    let found = store.find_by_token(digest, START).await.unwrap();
    assert_eq!(found.map(|session| session.id), Some(kept.id));
    store.close().await;
    assert_eq!(version(&path), 5_u64.to_be_bytes());
}

/// What a gateway of schema 3 left behind, with the users it had.
struct Left {
    dir: tempfile::TempDir,
    tenant: Tenant,
    shop: tempfile::TempDir,
}

impl Left {
    async fn copied() -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/store/schema-3");
        let left = Self {
            dir: tempfile::tempdir().unwrap(),
            tenant: Tenant::new(),
            shop: tempfile::tempdir().unwrap(),
        };
        let state = left.dir.path().join("state");
        fs::create_dir_all(state.join("keys")).unwrap();
        for (from, to) in [
            (from.clone(), left.dir.path().to_owned()),
            (from.clone(), state.clone()),
            (from.join("keys"), state.join("keys")),
        ] {
            for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_file() {
                    let to = to.join(entry.file_name());
                    fs::copy(entry.path(), &to).unwrap();
                    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).unwrap();
                }
            }
        }
        let options = SqliteConnectOptions::new().filename(left.shop()).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        let sql = fs::read_to_string(from.join("shop.sql")).unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        left
    }

    fn shop(&self) -> PathBuf {
        self.shop.path().join("shop.db")
    }

    /// A gateway of today on it, with these further keys of the source `shop`.
    async fn start(self, upstream: &Upstream, keys: &str) -> Gateway {
        let logins = fs::read_to_string(self.dir.path().join("gateway.toml")).unwrap();
        let users = format!(
            "{STAFF}[[users]]\nname = \"shop\"\nkind = \"sql\"\nurl = \"sqlite:{}\"\n\
             query = \"select * from users where name = $1\"\n{keys}\n",
            self.shop().display()
        );
        let auth = "auth = [\"bearer\", \"token_key\"]";
        let builder = Gateway::builder().moving().on(self.dir).with_users(&users);
        let builder = builder.config(&self.tenant.issuer("")).config(&logins);
        let gateway = builder.route(upstream, "/up/", auth).start().await;
        // Their files are open by now, or read.
        std::mem::forget(self.shop);
        gateway
    }
}

/// What the clients were given.
fn given() -> Value {
    let path = "tests/cases/store/schema-3/tokens.json";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

async fn call(gateway: &Gateway, token: &Value) -> Reply {
    gateway.client().get("/up/x").bearer(text(token)).send().await
}

async fn refresh(gateway: &Gateway, path: &str, token: &Value) -> Reply {
    gateway.client().post(path).json(json!({ "refresh_token": token })).send().await
}

#[tokio::test]
async fn a_store_of_before_opens_with_every_session_alive() {
    let (left, upstream, given) = (Left::copied().await, Upstream::start().await, given());
    let gateway = left.start(&upstream, "").await;

    let rotating = [
        ("/auth/refresh", &given["fresh"]),
        ("/auth/refresh", &given["generations"][3]),
        ("/auth/refresh", &given["reused"][3]),
        ("/shop/auth/refresh", &given["numbered"]),
        ("/shop/auth/refresh", &given["second_step"]),
    ];
    for (path, tokens) in rotating {
        call(&gateway, &tokens["access"]).await.assert_status(200);
        let renewed = refresh(&gateway, path, &tokens["refresh"]).await;
        let access = renewed.assert_status(200).member("access_token");
        gateway.client().get("/up/x").bearer(&access).send().await.assert_status(200);
        gateway.advance(Duration::from_secs(1));
        let next = renewed.member("refresh_token");
        assert!(claims(&next)["gen"].is_u64(), "from now on they say which they are");
        refresh(&gateway, path, &next.into()).await.assert_status(200);
    }
    for name in ["not_rotating", "traded"] {
        call(&gateway, &given[name]["access"]).await.assert_status(200);
        let client = gateway.client();
        let again = client.get("/api/login/refresh").bearer(text(&given[name]["refresh"]));
        again.send().await.assert_status(200);
    }
    let (token, key) = (text(&given["pair"]["token"]), text(&given["pair"]["key"]));
    let pair = gateway.client();
    let pair = pair.get("/up/x").header("x-access-token", token).header("x-key", key);
    pair.send().await.assert_status(200);
    let client = gateway.client();
    let renewed = client.post("/api/auth/token").bearer(text(&given["renewed"]["token"]));
    renewed.send().await.assert_status(200);
}

#[tokio::test]
async fn what_had_ended_before_an_upgrade_stays_ended() {
    let (left, upstream, given) = (Left::copied().await, Upstream::start().await, given());
    let gateway = left.start(&upstream, "").await;

    call(&gateway, &given["logged_out"]["access"]).await.assert_status(401);
    let tokens = &given["logged_out"]["refresh"];
    refresh(&gateway, "/auth/refresh", tokens).await.assert_status(401);

    upstream.assert_untouched();
}

#[tokio::test]
async fn tokens_retired_before_an_upgrade_are_reuse_after_it() {
    let given = given();
    // The oldest while the working one is of that version too; and after that one was refreshed.
    for (oldest, first) in [(0, None), (2, Some(3)), (0, Some(3))] {
        let (left, upstream) = (Left::copied().await, Upstream::start().await);
        let gateway = left.start(&upstream, "").await;
        if let Some(first) = first {
            let tokens = &given["reused"][first]["refresh"];
            refresh(&gateway, "/auth/refresh", tokens).await.assert_status(200);
        }
        gateway.advance(Duration::from_secs(30));

        let tokens = &given["reused"][oldest]["refresh"];
        refresh(&gateway, "/auth/refresh", tokens).await.assert_status(401);

        let access = &given["reused"][3]["access"];
        call(&gateway, access).await.assert_status(401);
        upstream.assert_untouched();
        call(&gateway, &given["generations"][3]["access"]).await.assert_status(200);
    }
}

#[tokio::test]
async fn a_user_of_an_upgraded_store_is_ended_by_an_old_token_and_by_a_new_name() {
    let (left, upstream, given) = (Left::copied().await, Upstream::start().await, given());
    let gateway = left.start(&upstream, "").await;
    let tokens = &given["numbered"];
    let login = json!({ "username": "carol", "password": PASSWORD });
    let second = gateway.client().post("/shop/auth/login").json(login.clone()).send().await;
    let second = second.assert_status(200).member("access_token");
    assert_ne!(claims(&second)["uid"], "7", "another source may have a 7");

    let client = gateway.client();
    let all = client.post("/shop/auth/logout-all").bearer(text(&tokens["access"]));
    all.send().await.assert_status(204);

    call(&gateway, &tokens["access"]).await.assert_status(401);
    gateway.client().get("/up/x").bearer(&second).send().await.assert_status(401);
    upstream.assert_untouched();
    call(&gateway, &given["second_step"]["access"]).await.assert_status(200);
    let (_, ended) =
        client::call(gateway.running().admin_socket(), Method::DELETE, "/sessions?user=dave", None)
            .await
            .unwrap();
    assert_eq!(ended["ended"], 1);
    call(&gateway, &given["second_step"]["access"]).await.assert_status(401);
}

#[tokio::test]
async fn a_second_step_outlives_an_upgrade_whatever_the_ids_are_worth() {
    for keys in ["", "ids = \"shared\""] {
        let (left, upstream, given) = (Left::copied().await, Upstream::start().await, given());
        let gateway = left.start(&upstream, keys).await;
        let login = json!({ "username": "dave", "password": PASSWORD });

        let reply = gateway.client().post("/shop/auth/login").json(login).send().await;

        reply.assert_status(202);
        call(&gateway, &given["second_step"]["access"]).await.assert_status(200);
    }
}

#[tokio::test]
async fn who_was_known_to_a_store_of_before_is_known_after_it() {
    let left = Left::copied().await;
    let rules = [("shop".to_owned(), IdRule::Local), ("legacy".to_owned(), IdRule::Local)];
    let options =
        EmbeddedOptions { ids: IdRules::new(rules), ..options(&left.dir.path().join("state")) };
    let store = EmbeddedStore::open(options).unwrap();
    let erin = UserId::new("41");

    let by_id = store.find_account("legacy", AccountKey::Subject(&erin)).await.unwrap().unwrap();
    let by_name = store.find_account("legacy", AccountKey::Name("erin")).await.unwrap();

    assert_eq!(Some(&by_id), by_name.as_ref());
    assert!(store.find_totp("legacy", &erin).await.unwrap().is_some());
    let code = store.find_code(Digest::of(b"waiting"), MADE).await.unwrap().unwrap();
    assert_eq!((code.user_id, code.source.as_str()), (UserId::new("7"), "shop"));
    let held = store.page(None, MADE).await.unwrap().sessions;
    assert_eq!(held.len(), 9);
    let subjects = |source: &str| {
        let of = held.iter().filter(|session| session.source == source);
        of.map(|session| session.subject.as_str().len()).collect::<Vec<_>>()
    };
    assert_eq!(subjects("shop"), [36, 36], "a UUID in the place of a number");
}
