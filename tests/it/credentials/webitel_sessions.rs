//! Pairs that an older Webitel gave out: looked up there, until a day.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tollhouse::identity::Subject;

use crate::harness::gateway::START;
use crate::harness::upstream::ReceivedRequest;
use crate::harness::{
    Client, Gateway, GatewayBuilder, Postgres, Relay, Reply, Upstream, postgres, slapd,
};

const KEY: &str = "5e8b4a8c-key";

/// The old system: one pair, whose it is, and the status that it answers with if it is ill.
struct Old {
    server: Upstream,
    state: Arc<Mutex<State>>,
}

struct State {
    token: String,
    answer: Value,
    ill: Option<u16>,
}

impl Old {
    async fn start(token: &str) -> Self {
        let answer = json!({
            "user": { "id": 7, "name": "100@mydomain.com" },
            "role": 0,
            "expires": (START.secs() + 3600) * 1000,
        });
        let state = State { token: token.to_owned(), answer, ill: None };
        let state = Arc::new(Mutex::new(state));
        let held = state.clone();
        let server = Upstream::answering(move |request| held.lock().unwrap().reply(request));
        Self { server: server.await, state }
    }

    fn ill(&self, status: Option<u16>) {
        self.state.lock().unwrap().ill = status;
    }

    fn says(&self, name: &str, value: Value) {
        self.state.lock().unwrap().answer[name] = value;
    }

    fn asked(&self) -> usize {
        self.server.received().len()
    }

    fn section(&self) -> String {
        format!(
            "[[issuer]]\nname = \"old\"\nkind = \"webitel_sessions\"\nuntil = \"2026-11-22\"\n\
             allow_http = true\nrole_names = {{ \"0\" = \"root\" }}\n\
             http = {{ url = \"{}/whoami\", map = {{ id = \"user.id\", username = \"user.name\",\n\
             roles = \"role\", expires = \"expires\" }} }}\n",
            self.server.url()
        )
    }
}

impl State {
    fn reply(&self, request: &ReceivedRequest) -> Response<Bytes> {
        let is = |name, value: &str| request.header(name) == Some(value);
        let is_right = is("x-access-token", &self.token) && is("x-key", KEY);
        let status = self.ill.unwrap_or(if is_right { 200 } else { 401 });
        Response::builder().status(status).body(self.answer.to_string().into()).unwrap()
    }
}

/// As the original makes them: no name in it, and milliseconds.
fn token(expires: u64) -> String {
    let claims = json!({ "exp": expires * 1000 });
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(b"old").unwrap())
        .unwrap()
}

fn gateway(upstream: &Upstream, issuers: &str) -> GatewayBuilder {
    Gateway::builder().moving().login("webitel").route_to(upstream, "").config(issuers)
}

async fn get(gateway: &Gateway, token: &str, key: &str) -> Reply {
    gateway.client().get("/").pair(token, key).send().await
}

#[tokio::test]
async fn a_pair_is_whose_the_old_system_says_and_bound_to_its_key() {
    let token = token(START.secs() + 3600);
    let (upstream, old) = (Upstream::start().await, Old::start(&token).await);
    let gateway = gateway(&upstream, &old.section()).start().await;

    get(&gateway, &token, "wrong").await.assert_status(401);
    upstream.assert_untouched();
    get(&gateway, &token, KEY).await.assert_status(200);
    get(&gateway, &token, KEY).await.assert_status(200);
    assert_eq!(old.asked(), 2, "each pair once");
    get(&gateway, &token, "wrong").await.assert_status(401);
    get(&gateway, &token, "another").await.assert_status(401);

    assert_eq!(old.server.received()[1].target, "/whoami");
    assert_eq!(upstream.received().len(), 2);
    let seen = upstream.last();
    assert_eq!(seen.header("x-auth-username"), Some("100@mydomain.com"));
    assert_eq!(seen.header("x-auth-roles"), Some("root"));
    assert_eq!(seen.header("x-auth-subject"), Some(Subject::foreign("old", "7").as_str()));
    assert_eq!(seen.header("x-key"), None, "it is as good as a password");
}

#[tokio::test]
async fn a_revoked_users_pairs_are_refused() {
    let token = token(START.secs() + 3600);
    let (upstream, old) = (Upstream::start().await, Old::start(&token).await);
    let gateway = gateway(&upstream, &old.section()).start().await;
    get(&gateway, &token, KEY).await.assert_status(200);

    let socket = gateway.dir().join("state").join(tollhouse::admin::SOCKET);
    let path = "/sessions?user=100%40mydomain.com";
    let revoked = tollhouse::admin::client::call(&socket, http::Method::DELETE, path, None).await;

    assert_eq!(revoked.unwrap().0, 200);
    // As a dialect answers what was revoked; a pair says nowhere when it was given out.
    for _ in 0..2 {
        get(&gateway, &token, KEY).await.assert_status(401).assert_code("token_revoked");
    }
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn half_a_pair_and_our_own_are_never_looked_up() {
    let old_token = token(START.secs() + 3600);
    let (upstream, old) = (Upstream::start().await, Old::start(&old_token).await);
    let gateway = gateway(&upstream, &old.section()).start().await;
    let login = json!({ "username": "alice", "password": crate::harness::gateway::PASSWORD });
    let login = gateway.client().post("/login").json(login).send().await;
    let (own, key) = (login.member("token"), login.member("key"));

    let client = gateway.client();
    client.get("/").header("x-access-token", &old_token).send().await.assert_status(401);
    client.get("/").bearer(&old_token).send().await.assert_status(401);
    get(&gateway, &own, KEY).await.assert_status(401);
    get(&gateway, &format!("{own}x"), &key).await.assert_status(401);
    upstream.assert_untouched();
    get(&gateway, &own, &key).await.assert_status(200);

    old.server.assert_untouched();
}

#[tokio::test]
async fn a_system_that_is_down_is_503_until_it_is_back() {
    let token = token(START.secs() + 3600);
    let (upstream, old) = (Upstream::start().await, Old::start(&token).await);
    let gateway = gateway(&upstream, &old.section()).start().await;
    for status in [500, 302, 429] {
        old.ill(Some(status));
        get(&gateway, &token, KEY).await.assert_status(503);
    }
    old.ill(None);
    for (name, value) in [
        ("expires", json!("soon")),
        ("expires", json!(-1)),
        ("user", json!({ "name": "somebody" })),
        ("user", json!({ "id": "", "name": "somebody" })),
        ("user", json!({ "id": 7 })),
    ] {
        let good = old.state.lock().unwrap().answer.clone();
        old.says(name, value.clone());
        let reply = get(&gateway, &token, KEY).await;
        assert_eq!(reply.status, 503, "{name} is {value}");
        old.state.lock().unwrap().answer = good;
    }
    upstream.assert_untouched();

    old.says("expires", json!(START.secs() + 3600));
    get(&gateway, &token, KEY).await.assert_status(200);
    for status in [401, 403, 404] {
        old.ill(Some(status));
        get(&gateway, &token, &format!("key-{status}")).await.assert_status(401);
    }
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn milliseconds_are_milliseconds() {
    let past = token(START.secs() - 1);
    let (upstream, old) = (Upstream::start().await, Old::start(&past).await);
    let gateway = gateway(&upstream, &old.section()).start().await;

    old.says("expires", Value::Null);
    get(&gateway, &past, KEY).await.assert_status(401);
    gateway.advance(Duration::from_secs(6));
    old.says("expires", json!((START.secs() + 5) * 1000));
    get(&gateway, &past, KEY).await.assert_status(401);
    upstream.assert_untouched();

    gateway.advance(Duration::from_secs(6));
    old.says("expires", json!((START.secs() + 20) * 1000));
    get(&gateway, &past, KEY).await.assert_status(200);
    gateway.advance(Duration::from_secs(8));
    get(&gateway, &past, KEY).await.assert_status(401);
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn after_the_last_day_nothing_is_looked_up() {
    let token = token(START.secs() + 7 * 24 * 3600);
    let (upstream, old) = (Upstream::start().await, Old::start(&token).await);
    old.says("expires", Value::Null);
    let gateway = gateway(&upstream, &old.section()).start().await;
    get(&gateway, &token, KEY).await.assert_status(200);

    gateway.advance(Duration::from_secs(15 * 3600));

    get(&gateway, &token, KEY).await.assert_status(401);
    assert_eq!((old.asked(), upstream.received().len()), (1, 1));
}

/// The issuer whose sessions are in the database at the URL in this file.
fn in_database(url: &Path) -> String {
    format!(
        "[[issuer]]\nname = \"old\"\nkind = \"webitel_sessions\"\nuntil = \"2026-11-22\"\n\
         role_names = {{ \"0\" = \"root\" }}\n[issuer.sql]\nurl = {{ file = {url:?} }}\n\
         query = \"select token, user_id, username, role, expires from sessions where key = $1\"\n\
         columns = {{ id = \"user_id\", username = \"username\", roles = \"role\",\n\
         expires = \"expires\" }}\n"
    )
}

#[tokio::test]
async fn a_postgres_is_asked_and_operators_hear_when_it_cannot_be() {
    let upstream = Upstream::start().await;
    let postgres = Postgres::shared().await;
    let rows = "create table sessions (key text, token text, user_id bigint, username text, \
                role smallint, expires bigint); \
                insert into sessions values ('key-1', 'token-1', 7, '100@mydomain.com', 0, \
                1795339900000), ('key-2', 'token-2', 8, 'bob', 2, 1795339900)";
    let database = postgres.database(rows).await;
    let (mut relay, dir) = (Relay::to(postgres.port).await, tempfile::tempdir().unwrap());
    let url = dir.path().join("url");
    slapd::write_secret(&url, &postgres::url(relay.port, &database));
    let gateway = gateway(&upstream, &in_database(&url)).start().await;
    let admin = Client::plain(gateway.running().admin_address().unwrap());
    let notes = async || admin.get("/readyz?verbose").send().await.assert_status(200).text();

    relay.cut().await;
    get(&gateway, "token-1", "key-1").await.assert_status(503);
    let told = notes().await;
    assert!(told.contains("note: issuer `old` could not be asked: "), "{told}");
    relay.mend().await;
    get(&gateway, "token-2", "key-1").await.assert_status(401);
    get(&gateway, "token-1", "'or'1'='1").await.assert_status(401);
    upstream.assert_untouched();
    get(&gateway, "token-1", "key-1").await.assert_status(200);

    let seen = upstream.only();
    assert_eq!(seen.header("x-auth-username"), Some("100@mydomain.com"));
    assert_eq!(seen.header("x-auth-roles"), Some("root"));
    assert_eq!(seen.header("x-auth-subject"), Some(Subject::foreign("old", "7").as_str()));
    let told = notes().await;
    assert!(!told.contains("issuer `old`"), "{told}");
}

#[tokio::test]
async fn a_row_of_the_key_has_the_token() {
    let upstream = Upstream::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (file, url) = (dir.path().join("old.db"), dir.path().join("url"));
    std::fs::write(&url, format!("sqlite:{}", file.display())).unwrap();
    let database = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(database).await.unwrap();
    let run = async |sql: &'static str| sqlx::query(sql).execute(&pool).await.map(drop).unwrap();
    let gateway = gateway(&upstream, &in_database(&url)).start().await;
    get(&gateway, "token-1", "key-1").await.assert_status(503);
    run("create table sessions (key text, token text, user_id int, username text, role int, \
         expires int)")
    .await;
    run("insert into sessions values ('key-1', 'token-1', 7, '100@mydomain.com', 0, \
         1795339900000), ('key-2', 'token-2', 8, 'bob', 2, 1795339900), \
         ('twice', 'token-3', 9, 'eve', 0, null), ('twice', 'token-3', 10, 'eva', 0, null), \
         ('none', null, 9, 'eve', 0, null)")
    .await;

    for (token, key, status, why) in [
        ("token-2", "key-1", 401, "another's token"),
        ("token-1", "key-2", 401, "another's key"),
        ("token-1", "'or'1'='1", 401, "a key that is no SQL"),
        ("token-1", "key-1'--", 401, "a key that is no SQL"),
        ("token-1", "x';drop/**/table/**/sessions;--", 401, "a key that is no SQL"),
        ("token-3", "twice", 503, "two rows"),
        ("null", "none", 401, "a row without a token"),
    ] {
        let reply = get(&gateway, token, key).await;

        assert_eq!(reply.status, status, "{why}: {}", reply.text());
    }
    upstream.assert_untouched();
    get(&gateway, "token-1", "key-1").await.assert_status(200);
    assert_eq!(upstream.last().header("x-auth-username"), Some("100@mydomain.com"));
    assert_eq!(upstream.last().header("x-auth-roles"), Some("root"));
    get(&gateway, "token-2", "key-2").await.assert_status(200);
    assert_eq!(upstream.last().header("x-auth-roles"), Some("2"));

    // Remembered for no longer than its row says.
    gateway.advance(Duration::from_secs(101));
    get(&gateway, "token-1", "key-1").await.assert_status(401);
    assert_eq!(upstream.received().len(), 2);
}
