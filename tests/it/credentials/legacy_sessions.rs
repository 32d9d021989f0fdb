//! Tokens that a legacy system gave out, in whatever place its clients have them
//! (`[[issuer]] kind = "sessions"`): proved by asking it, until a day.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tollhouse::identity::Subject;

use crate::harness::gateway::{PASSWORD, START};
use crate::harness::upstream::ReceivedRequest;
use crate::harness::{Gateway, GatewayBuilder, Reply, Upstream};

const TOKEN: &str = "PVE:ann@pam:65F0A1::c2lnbmF0dXJl";
const KEY: &str = "4Hh!key";

/// Fields and target of a request.
#[derive(Clone, Default)]
struct Call {
    query: String,
    fields: Vec<(&'static str, String)>,
}

impl Call {
    fn field(name: &'static str, value: impl Into<String>) -> Self {
        Self::default().and(name, value)
    }

    fn query(query: impl Into<String>) -> Self {
        Self { query: query.into(), ..Self::default() }
    }

    fn and(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    async fn send(&self, gateway: &Gateway, path: &str) -> Reply {
        let client = gateway.client();
        let mut call = client.get(&format!("{path}{}", self.query));
        for (name, value) in &self.fields {
            call = call.header(name, value);
        }
        call.send().await
    }

    /// True if the request has all of it.
    fn is_in(&self, request: &ReceivedRequest) -> bool {
        request.target.ends_with(&self.query)
            && self.fields.iter().all(|(name, value)| request.header(name) == Some(value))
    }
}

/// The old system: the request that is right, whose it is, and its status when it is ill.
struct Old {
    server: Upstream,
    state: Arc<Mutex<State>>,
}

struct State {
    right: Call,
    answer: Value,
    ill: Option<u16>,
}

impl Old {
    async fn start(right: Call) -> Self {
        let answer =
            json!({ "data": { "user": { "id": 7, "name": "ann" }, "roles": ["ops", "a"] } });
        let state = Arc::new(Mutex::new(State { right, answer, ill: None }));
        let held = state.clone();
        let server = Upstream::answering(move |request| held.lock().unwrap().reply(request));
        Self { server: server.await, state }
    }

    fn asked(&self) -> usize {
        self.server.received().len()
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    fn section(&self, carrier: &str) -> String {
        format!(
            "[[issuer]]\nname = \"old\"\nkind = \"sessions\"\nuntil = \"2026-11-22\"\n\
             allow_http = true\ncarrier = {carrier}\nrole_names = {{ ops = \"admin\" }}\n\
             http = {{ url = \"{}/me\", map = {{ id = \"data.user.id\", username = \
             \"data.user.name\", roles = \"data.roles\" }} }}\n",
            self.server.url()
        )
    }

    /// As `section`, with the end of a token in the answers.
    fn with_end(&self, carrier: &str) -> String {
        self.section(carrier).replace("\"data.roles\"", "\"data.roles\", expires = \"data.ends\"")
    }
}

impl State {
    fn reply(&self, request: &ReceivedRequest) -> Response<Bytes> {
        let status = self.ill.unwrap_or(if self.right.is_in(request) { 200 } else { 401 });
        Response::builder().status(status).body(self.answer.to_string().into()).unwrap()
    }
}

/// A dialect whose own tokens and logout are in a field, beside the legacy ones.
const DIALECT: &str = r#"
[[dialect]]
name = "own"
[[dialect.endpoint]]
step = "login"
request = "POST /login"
credential = [{ json = { username = "name", password = "password" } }]
reply = { json = { token = "$access.token" } }
[[dialect.endpoint]]
step = "logout"
request = "POST /logout"
credential = [{ token = { field = "X-Auth-Token" }, use = "access" }]
reply = { json = {} }
[dialect.tokens]
format = "opaque"
shape = "hex:40"
[dialect.call]
carriers = [{ field = "X-Auth-Token" }]
[[login]]
dialect = "own"
"#;

fn gateway(upstream: &Upstream, sections: &str) -> GatewayBuilder {
    Gateway::builder()
        .moving()
        .route_to(upstream, "auth = [\"login\"]")
        .config(DIALECT)
        .config(sections)
}

fn field() -> Call {
    Call::field("x-auth-token", TOKEN)
}

const FIELD: &str = "{ field = \"X-Auth-Token\" }";

#[tokio::test]
async fn a_token_is_proved_where_its_clients_have_it_and_goes_no_further() {
    let pair =
        "{ pair = { token = { cookie = \"AuthCookie\" }, key = { field = \"X-Prevention\" } } }";
    let in_pair = Call::field("cookie", format!("AuthCookie={TOKEN}")).and("x-prevention", KEY);
    for (carrier, right) in [
        ("{ scheme = \"Token\" }", Call::field("authorization", format!("Token {TOKEN}"))),
        (FIELD, field()),
        ("{ cookie = \"SID\" }", Call::field("cookie", format!("SID={TOKEN}"))),
        ("{ query = \"auth\" }", Call::query("?auth=PVE%3Aann%40pam%3A65F0A1%3A%3Ac2lnbmF0dXJl")),
        (pair, in_pair),
    ] {
        let (upstream, old) = (Upstream::start().await, Old::start(right.clone()).await);
        let gateway = gateway(&upstream, &old.section(carrier)).start().await;

        right.send(&gateway, "/x").await.assert_status(200);
        right.send(&gateway, "/x").await.assert_status(200);

        assert_eq!(old.asked(), 1, "{carrier}: the answer is remembered");
        assert!(old.server.last().target.starts_with("/me"), "{carrier}");
        let seen = upstream.last();
        assert_eq!(seen.header("x-auth-username"), Some("ann"), "{carrier}");
        assert_eq!(seen.header("x-auth-roles"), Some("admin,a"), "{carrier}");
        assert_eq!(seen.header("x-auth-subject"), Some(Subject::foreign("old", "7").as_str()));
        let said = format!("{seen:?}");
        assert!(!said.contains("65F0A1") && !said.contains(KEY), "{carrier}: {said}");
        let logs = [gateway.running().access_lines(), gateway.running().audit_lines()].concat();
        assert!(!logs.contains("65F0A1") && !logs.contains(KEY), "{carrier}: {logs}");
        let dir = gateway.stop().await;
        for file in std::fs::read_dir(dir.path().join("state")).unwrap().flatten() {
            let bytes = std::fs::read(file.path()).unwrap_or_default();
            let has = |wanted: &str| bytes.windows(wanted.len()).any(|it| it == wanted.as_bytes());
            assert!(!has("65F0A1") && !has(KEY), "{carrier}: {:?}", file.path());
        }
    }
}

#[tokio::test]
async fn a_token_in_another_place_is_shown_to_nobody() {
    let opaque = "0123456789abcdef";
    let right = Call::field("cookie", format!("SID={opaque}"));
    let (upstream, old) = (Upstream::start().await, Old::start(right.clone()).await);
    let open = "[[route]]\npath = \"/bearer\"\nupstream = \"u0\"\nauth = [\"bearer\"]\n";
    let sections = format!("{}{open}", old.section("{ cookie = \"SID\" }"));
    let gateway = gateway(&upstream, &sections).start().await;
    for (call, path, why) in [
        (Call::field("authorization", format!("Bearer {opaque}")), "/bearer", "a Bearer token"),
        (Call::field("authorization", format!("Bearer {opaque}")), "/x", "not taken here at all"),
        (Call::field("x-auth-token", opaque), "/x", "the place of a login"),
        (right.clone(), "/bearer", "a route that takes no logins"),
    ] {
        let reply = call.send(&gateway, path).await;
        assert_eq!(reply.status, 401, "{why}: {}", reply.text());
    }
    let twice = right.clone().and("x-auth-token", opaque).send(&gateway, "/x").await;
    assert_eq!(twice.status, 400, "two credentials: {}", twice.text());
    upstream.assert_untouched();
    old.server.assert_untouched();
    right.send(&gateway, "/x").await.assert_status(200);
}

#[tokio::test]
async fn a_bearer_token_is_taken_with_bearer() {
    let right = Call::field("authorization", "Bearer 0123456789abcdef");
    let (upstream, old) = (Upstream::start().await, Old::start(right.clone()).await);
    let gateway = Gateway::builder().moving().login("native").route_to(&upstream, "");
    let gateway = gateway.config(&old.section("{ scheme = \"Bearer\" }")).start().await;

    right.send(&gateway, "/").await.assert_status(200);
    Call::field("authorization", "Bearer other").send(&gateway, "/").await.assert_status(401);
    let own = gateway.token("alice").await;
    gateway.client().get("/").bearer(&own).send().await.assert_status(200);

    assert_eq!((old.asked(), upstream.received().len()), (2, 2), "our own is never shown");
}

#[tokio::test]
async fn tokens_of_our_login_in_the_same_place_are_not_asked_about() {
    let (upstream, old) = (Upstream::start().await, Old::start(field()).await);
    let gateway = gateway(&upstream, &old.section(FIELD)).start().await;
    let login = json!({ "name": "alice", "password": PASSWORD });
    let reply = gateway.client().post("/login").json(login).send().await;
    let own = reply.assert_status(200).member("token");

    Call::field("x-auth-token", own).send(&gateway, "/").await.assert_status(200);
    old.server.assert_untouched();
    assert_eq!(upstream.last().header("x-auth-username"), Some("alice"));
    field().send(&gateway, "/").await.assert_status(200);
    assert_eq!(upstream.last().header("x-auth-username"), Some("ann"));
}

#[tokio::test]
async fn the_end_of_a_token_is_the_old_systems_and_holds_to_the_second() {
    let (upstream, old) = (Upstream::start().await, Old::start(field()).await);
    let gateway = gateway(&upstream, &old.with_end(FIELD)).start().await;
    let end = START.plus(Duration::from_secs(20));
    for ends in [
        json!(end.secs()),
        json!(end.millis()),
        json!(end.secs().to_string()),
        json!(end.to_string()),
        json!("2026-11-22T11:30:20+02:00"),
    ] {
        let token = format!("token-{ends}").replace(['"', '+', ':'], "-");
        let call = Call::field("x-auth-token", token);
        old.set(|state| {
            state.right = call.clone();
            state.answer["data"]["ends"] = ends.clone();
        });
        let reply = call.send(&gateway, "/").await;
        assert_eq!(reply.status, 200, "{ends}: {}", reply.text());
    }
    let odd = Call::field("x-auth-token", "odd");
    old.set(|state| {
        state.right = odd.clone();
        state.answer["data"]["ends"] = json!("soon");
    });
    odd.send(&gateway, "/").await.assert_status(503);
    let calls = upstream.received().len();

    gateway.advance(Duration::from_secs(21));
    let first = Call::field("x-auth-token", format!("token-{}", end.secs()));
    first.send(&gateway, "/").await.assert_status(401);
    assert_eq!(upstream.received().len(), calls);
}

#[tokio::test]
async fn whoever_is_nobody_there_is_nobody_here_and_an_odd_answer_is_503() {
    let (upstream, old) = (Upstream::start().await, Old::start(field()).await);
    let gateway = gateway(&upstream, &old.section(FIELD)).start().await;
    for status in [500, 502, 302, 429] {
        old.set(|state| state.ill = Some(status));
        field().send(&gateway, "/").await.assert_status(503);
    }
    old.set(|state| state.ill = None);
    for odd in [json!({ "data": {} }), json!({ "data": { "user": { "id": true } } }), json!([1])] {
        old.set(|state| state.answer = odd.clone());
        let reply = field().send(&gateway, "/").await;
        assert_eq!(reply.status, 503, "{odd}");
    }
    // Many systems answer visitors with an id, too.
    for nobody in [json!(null), json!(0), json!("0")] {
        old.set(|state| state.answer = json!({ "data": { "user": { "id": nobody } } }));
        field().send(&gateway, "/").await.assert_status(401);
        gateway.advance(Duration::from_secs(6));
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn an_answer_is_believed_for_cache_and_a_refusal_for_five_seconds() {
    let (upstream, old) = (Upstream::start().await, Old::start(field()).await);
    let section = old.section(FIELD).replace("carrier =", "cache = \"60s\"\ncarrier =");
    let gateway = gateway(&upstream, &section).start().await;
    field().send(&gateway, "/").await.assert_status(200);
    let wrong = Call::field("x-auth-token", "wrong");
    wrong.send(&gateway, "/").await.assert_status(401);
    wrong.send(&gateway, "/").await.assert_status(401);
    assert_eq!(old.asked(), 2);

    gateway.advance(Duration::from_secs(6));
    wrong.send(&gateway, "/").await.assert_status(401);
    assert_eq!(old.asked(), 3, "a refusal is asked about anew");
    field().send(&gateway, "/").await.assert_status(200);
    assert_eq!(old.asked(), 3);

    // Ended there in the meantime.
    old.set(|state| state.right = Call::field("x-auth-token", "another"));
    gateway.advance(Duration::from_secs(61));
    field().send(&gateway, "/").await.assert_status(401);
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn after_the_last_day_nobody_is_asked() {
    let (upstream, old) = (Upstream::start().await, Old::start(field()).await);
    let gateway = gateway(&upstream, &old.section(FIELD)).start().await;
    field().send(&gateway, "/").await.assert_status(200);

    gateway.advance(Duration::from_secs(15 * 3600));

    field().send(&gateway, "/").await.assert_status(401);
    assert_eq!((old.asked(), upstream.received().len()), (1, 1));
}

#[tokio::test]
async fn a_logout_here_ends_the_old_token_here() {
    let (upstream, old) = (Upstream::start().await, Old::start(field()).await);
    let gateway = gateway(&upstream, &old.section(FIELD)).start().await;
    field().send(&gateway, "/").await.assert_status(200);

    let out = |token: &str| {
        let token = token.to_owned();
        let client = gateway.client();
        async move { client.post("/logout").header("x-auth-token", &token).send().await }
    };
    out("invented").await.assert_status(401);
    out(TOKEN).await.assert_status(200);

    field().send(&gateway, "/").await.assert_status(401);
    // It stays so when the answer is not remembered any more, and after a restart.
    gateway.advance(Duration::from_secs(400));
    field().send(&gateway, "/").await.assert_status(401);
    let asked = old.asked();
    let sections = old.section(FIELD);
    let dir = gateway.stop().await;
    let after = Gateway::builder()
        .moving()
        .route_to(&upstream, "auth = [\"login\"]")
        .config(DIALECT)
        .config(&sections)
        .on(dir)
        .start()
        .await;
    field().send(&after, "/").await.assert_status(401);
    assert_eq!(upstream.received().len(), 1);
    assert_eq!(old.asked(), asked + 1, "it was asked, and its yes does not count");
}

#[tokio::test]
async fn invented_tokens_are_bounded_by_address_and_cost_the_old_system_no_more() {
    let (upstream, old) = (Upstream::start().await, Old::start(field()).await);
    let limits = "[login_limits]\nper_address = { attempts = 5, per = \"1m\" }\n";
    let gateway = gateway(&upstream, &format!("{}{limits}", old.section(FIELD))).start().await;
    field().send(&gateway, "/").await.assert_status(200);
    for number in 0..40 {
        let invented = Call::field("x-auth-token", format!("invented-{number}"));
        invented.send(&gateway, "/").await.assert_status(401);
    }
    assert!(old.asked() <= 1 + 5, "{}", old.asked());
    field().send(&gateway, "/").await.assert_status(200);
    assert_eq!(upstream.received().len(), 2, "a good token is never in the way of invented ones");
}

#[tokio::test]
async fn a_cookie_that_another_site_sent_is_refused() {
    let right = Call::field("cookie", format!("SID={TOKEN}"));
    let (upstream, old) = (Upstream::start().await, Old::start(right).await);
    let gateway = gateway(&upstream, &old.section("{ cookie = \"SID\" }")).start().await;
    let client = gateway.client();
    let call = || client.post("/").header("cookie", &format!("SID={TOKEN}"));

    call().header("sec-fetch-site", "cross-site").send().await.assert_status(403);
    upstream.assert_untouched();
    old.server.assert_untouched();
    call().send().await.assert_status(200);
}

#[tokio::test]
async fn a_row_has_the_very_token() {
    let upstream = Upstream::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (file, url) = (dir.path().join("old.db"), dir.path().join("url"));
    std::fs::write(&url, format!("sqlite:{}", file.display())).unwrap();
    let database = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(database).await.unwrap();
    let rows = "create table authtoken (key text collate nocase, user_id int, name text, ends int); \
                insert into authtoken values ('Abc-1', 7, 'ann', null), ('gone', 8, 'bob', 1000)";
    for row in rows.split("; ") {
        sqlx::query(row).execute(&pool).await.unwrap();
    }
    let section = format!(
        "[[issuer]]\nname = \"old\"\nkind = \"sessions\"\nuntil = \"2026-11-22\"\n\
         carrier = {{ scheme = \"Token\" }}\n[issuer.sql]\nurl = {{ file = {url:?} }}\n\
         query = \"select key, user_id, name, ends from authtoken where key = $1\"\n\
         columns = {{ token = \"key\", id = \"user_id\", username = \"name\", expires = \"ends\" }}\n"
    );
    let gateway = gateway(&upstream, &section).start().await;
    for (token, why) in [
        ("abc-1", "the database ignores case, the gateway does not"),
        ("'or'1'='1", "no SQL"),
        ("gone", "it has ended"),
        ("other", "there is no such row"),
    ] {
        let call = Call::field("authorization", format!("Token {token}"));
        let reply = call.send(&gateway, "/").await;
        assert_eq!(reply.status, 401, "{why}: {}", reply.text());
    }
    upstream.assert_untouched();
    let call = Call::field("authorization", "token Abc-1");
    call.send(&gateway, "/").await.assert_status(200);
    assert_eq!(upstream.last().header("x-auth-username"), Some("ann"));
}
