//! Logins, refreshes and outages as clients see them.

use serde_json::json;

use super::{Engine, OnMariaDb, OnPostgres, OnSqlite};
use crate::harness::gateway::PASSWORD as STAFF_PASSWORD;
use crate::harness::{Client, Gateway, MariaDb, Postgres, Reply, Upstream};
use crate::users::contract::{ALICE, Account, BOB, CAROL, PASSWORD};

/// A gateway whose users are in a database; `/` demands the role `admin`.
struct Fixture {
    gateway: Gateway,
    upstream: Upstream,
    _folder: tempfile::TempDir,
}

impl Fixture {
    async fn start<E: Engine>(url: &str, keys: &str) -> Self {
        let (folder, upstream) = (tempfile::tempdir().unwrap(), Upstream::start().await);
        let secret = folder.path().join("url");
        crate::harness::slapd::write_secret(&secret, url);
        let users = format!(
            "[[users]]\nname = \"shop\"\nkind = \"sql\"\nurl = {{ file = {secret:?} }}\n\
             query = \"{}\"\nemail_query = \"{}\"\n{keys}\n",
            E::query("name"),
            E::query("email")
        );
        let gateway = Gateway::builder()
            .with_users(&users)
            .login("native")
            .route_to(&upstream, "require = { roles = [\"admin\"] }")
            .start()
            .await;
        Self { gateway, upstream, _folder: folder }
    }

    async fn log_in(&self, name: &str, password: &str) -> Reply {
        let login = json!({ "username": name, "password": password });
        self.gateway.client().post("/auth/login").json(login).send().await
    }

    async fn refresh(&self, login: &Reply) -> Reply {
        let body = json!({ "refresh_token": login.member("refresh_token") });
        self.gateway.client().post("/auth/refresh").json(body).send().await
    }

    async fn call(&self, login: &Reply) -> Reply {
        self.gateway.client().get("/").bearer(&login.member("access_token")).send().await
    }

    async fn readiness(&self) -> String {
        let admin = Client::plain(self.gateway.running().admin_address().unwrap());
        admin.get("/readyz?verbose").send().await.assert_status(200).text()
    }
}

async fn logs_in<E: Engine>() {
    let engine = E::with(&[ALICE, BOB, CAROL]).await;
    let fixture = Fixture::start::<E>(&engine.url(), "").await;

    let wrong = fixture.log_in("alice", "not it").await;
    wrong.assert_status(401);
    for (name, password, why) in [
        ("nobody", PASSWORD, "an unknown user"),
        ("carol", PASSWORD, "a disabled user"),
        ("alice' or '1'='1", PASSWORD, "a name that is a condition"),
        ("' union select * from users --", PASSWORD, "a name that is a query"),
        ("x'; delete from users; --", PASSWORD, "a name that is a statement"),
        ("alice", "' or '1'='1", "a password that is a condition"),
    ] {
        let reply = fixture.log_in(name, password).await;
        let told = |reply: &Reply| (reply.status, reply.member("code"), reply.member("detail"));
        assert_eq!(told(&reply), told(&wrong), "{why}");
    }
    let bob = fixture.log_in("bob", PASSWORD).await;
    fixture.call(&bob).await.assert_status(403);
    fixture.upstream.assert_untouched();

    let alice = fixture.log_in("alice", PASSWORD).await;
    fixture.call(&alice).await.assert_status(200);

    let seen = fixture.upstream.only();
    assert_eq!(seen.header("x-auth-username"), Some("alice"));
    assert_eq!(seen.header("x-auth-roles"), Some("admin,editor"));
    assert_eq!(seen.header("x-auth-source"), Some("shop"));

    engine.replace(&[Account { roles: &["admin"], ..ALICE }, BOB, CAROL]).await;
    fixture.refresh(&alice).await.assert_status(401);
    fixture.refresh(&bob).await.assert_status(200);
}

#[tokio::test]
async fn users_of_a_postgres_log_in_with_their_roles() {
    logs_in::<OnPostgres>().await;
}

#[tokio::test]
async fn users_of_a_mariadb_log_in_with_their_roles() {
    logs_in::<OnMariaDb>().await;
}

#[tokio::test]
async fn users_of_a_sqlite_log_in_with_their_roles() {
    logs_in::<OnSqlite>().await;
}

/// `kill` and `run` end the real server and start it again.
async fn outlives<E: Engine>(url: &str, mut kill: impl FnMut(), run: impl FnOnce()) {
    let fixture = Fixture::start::<E>(url, "").await;
    let login = fixture.log_in("alice", PASSWORD).await;
    login.assert_status(200);

    kill();
    let while_down = [
        fixture.log_in("alice", PASSWORD).await,
        fixture.log_in("alice", "not it").await,
        fixture.log_in("nobody", PASSWORD).await,
        fixture.refresh(&login).await,
    ];
    fixture.call(&login).await.assert_status(200);
    let told = fixture.readiness().await;
    run();

    for reply in &while_down {
        reply.assert_status(503).assert_code("unavailable");
    }
    assert!(told.contains("note: users: `shop`"), "{told}");
    fixture.log_in("alice", PASSWORD).await.assert_status(200);
    fixture.log_in("alice", "not it").await.assert_status(401);
    fixture.refresh(&login).await.assert_status(200);
    let told = fixture.readiness().await;
    assert!(!told.contains("shop"), "{told}");
}

#[tokio::test]
async fn a_postgres_that_dies_is_503_until_it_is_back() {
    let server = Postgres::start().await;
    let insert = OnPostgres::insert(&ALICE);
    let database = server.database(&format!("{}; {insert}", OnPostgres::TABLE)).await;
    let (url, server) = (server.url(&database), std::cell::RefCell::new(server));

    outlives::<OnPostgres>(&url, || server.borrow_mut().kill(), || server.borrow_mut().run()).await;
}

#[tokio::test]
async fn a_mariadb_that_dies_is_503_until_it_is_back() {
    let server = MariaDb::start().await;
    let insert = OnMariaDb::insert(&ALICE);
    let database = server.database(&format!("{}; {insert}", OnMariaDb::TABLE)).await;
    let (url, server) = (server.url(&database), std::cell::RefCell::new(server));

    outlives::<OnMariaDb>(&url, || server.borrow_mut().kill(), || server.borrow_mut().run()).await;
}

#[tokio::test]
async fn a_gateway_starts_without_its_database_and_finds_it_later() {
    let mut engine = OnPostgres::with(&[ALICE]).await;
    engine.stop().await;
    let fixture = Fixture::start::<OnPostgres>(&engine.url(), "").await;

    fixture.log_in("alice", PASSWORD).await.assert_status(503);
    engine.bring_back().await;

    fixture.log_in("alice", PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn a_query_that_cannot_find_users_is_told_before_anybody_logs_in() {
    let engine = OnSqlite::with(&[ALICE]).await;
    let keys = "columns = { disabled = \"locked\" }";
    let fixture = Fixture::start::<OnSqlite>(&engine.url(), keys).await;

    let mut told = fixture.readiness().await;
    while !told.contains("`shop`: the query has no column `locked`") {
        told = fixture.readiness().await;
    }

    fixture.log_in("alice", PASSWORD).await.assert_status(503);
    fixture.upstream.assert_untouched();
}

#[tokio::test]
async fn the_next_source_is_asked_in_its_stead_only_where_that_is_said() {
    let mut engine = OnMariaDb::with(&[Account { password: "in the shop", ..BOB }]).await;
    let file = "[[users]]\nname = \"staff\"\nkind = \"file\"\npath = \"users.toml\"\n";
    let honest = Fixture::start::<OnMariaDb>(&engine.url(), file).await;
    let keys = format!("on_unavailable = \"next\"\n{file}");
    let lenient = Fixture::start::<OnMariaDb>(&engine.url(), &keys).await;
    lenient.log_in("bob", STAFF_PASSWORD).await.assert_status(401);
    lenient.log_in("bob", "in the shop").await.assert_status(200);
    engine.stop().await;

    honest.log_in("bob", STAFF_PASSWORD).await.assert_status(503);
    let reply = lenient.log_in("bob", STAFF_PASSWORD).await;

    reply.assert_status(200);
    lenient.call(&reply).await.assert_status(403);
    lenient.upstream.assert_untouched();
}

#[tokio::test]
async fn a_replaced_hash_ends_no_session_and_a_changed_one_does() {
    let engine = OnPostgres::with(&[ALICE]).await;
    let plain = Fixture::start::<OnPostgres>(&engine.url(), "").await;
    let keys = format!("update = \"{}\"", OnPostgres::UPDATE);
    let replacing = Fixture::start::<OnPostgres>(&engine.url(), &keys).await;
    let elsewhere = plain.log_in("alice", PASSWORD).await;

    let first = replacing.log_in("alice", PASSWORD).await;
    let second = replacing.log_in("alice", PASSWORD).await;

    let first = replacing.refresh(&first).await;
    first.assert_status(200);
    replacing.refresh(&second).await.assert_status(200);
    plain.refresh(&elsewhere).await.assert_status(401);
    engine.replace(&[Account { password: "another", ..ALICE }]).await;
    replacing.refresh(&first).await.assert_status(401);
    replacing.log_in("alice", "another").await.assert_status(200);
}
