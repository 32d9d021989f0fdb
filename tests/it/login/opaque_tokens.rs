//! Opaque access tokens: a login that gives them, and what they may open.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollhouse::session::InjectedFaults;

use crate::credentials::key;
use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, GatewayBuilder, Reply, Upstream};

/// A legacy login with random tokens, by a refresh token, by renewal, and with facts of its session.
pub(crate) const OPAQUE: &str = r#"
[[dialect]]
name = "swift"
[[dialect.endpoint]]
step = "login"
request = "POST /swift/login"
credential = [{ json = { username = "user", password = "key" } }]
reply = { json = { token = "$access.token", id = "$access.id", ttl = "$access.ttl", again = "$refresh.token" } }
[[dialect.endpoint]]
step = "login"
request = "POST /swift/renew"
credential = [{ bearer = "renew" }]
reply = { json = { token = "$access.token" } }
[[dialect.endpoint]]
step = "refresh"
request = "POST /swift/refresh"
credential = [{ json_refresh = "again" }]
rotates = true
reply = { json = { token = "$access.token", again = "$refresh.token" } }
[[dialect.endpoint]]
step = "session"
request = "GET /swift/session"
credential = [{ bearer = "access" }]
reply = { json = { user = "$user.name", expires = "$access.expires" } }
[[dialect.endpoint]]
step = "logout"
request = "POST /swift/logout"
credential = [{ bearer = "access" }]
reply = { json = { ok = true } }
[dialect.tokens]
format = "opaque"
shape = "base62:40"
prefix = "AUTH_tk"
access_ttl = "10m"
refresh_ttl = "1h"
[dialect.claims]
access = { project = "$user.claims.tenant", who = "$user.name" }
[[login]]
dialect = "swift"
"#;

/// A login whose opaque tokens need their key.
const PAIRED: &str = r#"
[[dialect]]
name = "paired"
[[dialect.endpoint]]
step = "login"
request = "POST /paired/login"
credential = [{ json = { username = "user", password = "key" } }]
reply = { json = { token = "$access.token", key = "$session.key" } }
[[dialect.endpoint]]
step = "logout"
request = "POST /paired/logout"
credential = [{ token_key = {} }]
reply = { json = { ok = true } }
[dialect.tokens]
format = "opaque"
shape = "uuid"
ends_with_access = true
[[login]]
dialect = "paired"
"#;

async fn start(
    upstream: &Upstream,
    edit: impl FnOnce(GatewayBuilder) -> GatewayBuilder,
) -> Gateway {
    edit(Gateway::builder().config(OPAQUE)).route_to(upstream, "").start().await
}

async fn log_in(gateway: &Gateway, name: &str) -> Reply {
    let login = json!({ "user": name, "key": PASSWORD });
    let reply = gateway.client().post("/swift/login").json(login).send().await;
    reply.assert_status(200);
    reply
}

async fn token_of(gateway: &Gateway, name: &str) -> String {
    log_in(gateway, name).await.member("token")
}

async fn call(gateway: &Gateway, path: &str, token: &str) -> Reply {
    gateway.client().get(path).bearer(token).send().await
}

async fn post(gateway: &Gateway, path: &str, token: &str) -> Reply {
    gateway.client().post(path).bearer(token).send().await
}

/// Another token of the same form.
fn made_up(number: usize) -> String {
    format!("AUTH_tk{number:040}")
}

#[tokio::test]
async fn a_login_gives_a_random_token_that_opens_routes_like_a_signed_one() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, |builder| {
        builder.route(
            &upstream,
            "/project/",
            "require = { roles = [\"admin\"], claims = { project = \"acme\" } }",
        )
    })
    .await;

    let login = log_in(&gateway, "alice").await;
    let token = login.member("token");

    let random = token.strip_prefix("AUTH_tk").unwrap();
    assert!(random.len() == 40 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(login.json()["ttl"], 600);
    call(&gateway, "/project/x", &token).await.assert_status(200);
    let seen = upstream.only();
    assert_eq!(seen.header("x-auth-username"), Some("alice"));
    assert_eq!(seen.header("x-auth-roles"), Some("admin"));
    assert!(seen.header("x-auth-session").is_some());
    assert_eq!(seen.header("authorization"), None, "the upstream does not get the token");
    let bob = token_of(&gateway, "bob").await;
    call(&gateway, "/project/x", &bob).await.assert_status(403);
    call(&gateway, "/", &bob).await.assert_status(200);
    let facts = call(&gateway, "/swift/session", &token).await;
    assert_eq!(facts.assert_status(200).json()["user"], "alice");
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn a_logout_refuses_the_token_at_once_and_the_upstream_sees_nothing() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, |builder| builder).await;
    let [used, unused, other] = [
        token_of(&gateway, "alice").await,
        token_of(&gateway, "alice").await,
        token_of(&gateway, "bob").await,
    ];
    call(&gateway, "/", &used).await.assert_status(200);
    let before = upstream.received().len();

    for token in [&used, &unused] {
        post(&gateway, "/swift/logout", token).await.assert_status(200);
    }

    for token in [&used, &unused] {
        call(&gateway, "/", token).await.assert_status(401).assert_code("token_revoked");
        call(&gateway, "/swift/session", token).await.assert_status(401);
        post(&gateway, "/swift/renew", token).await.assert_status(401);
        post(&gateway, "/swift/logout", token).await.assert_status(401);
    }
    assert_eq!(upstream.received().len(), before, "the upstream saw nothing");
    call(&gateway, "/", &other).await.assert_status(200);
}

#[tokio::test]
async fn a_token_ends_when_it_says_whether_it_was_used_or_not() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, GatewayBuilder::moving).await;
    let [used, unused] = [token_of(&gateway, "alice").await, token_of(&gateway, "alice").await];
    call(&gateway, "/", &used).await.assert_status(200);
    gateway.advance(Duration::from_secs(599));
    call(&gateway, "/", &used).await.assert_status(200);
    let before = upstream.received().len();

    gateway.advance(Duration::from_secs(60));

    for token in [&used, &unused] {
        call(&gateway, "/", token).await.assert_status(401).assert_code("token_expired");
        post(&gateway, "/swift/renew", token).await.assert_status(401);
    }
    gateway.advance(Duration::from_secs(3600));
    for token in [&used, &unused] {
        call(&gateway, "/", token).await.assert_status(401);
    }
    assert_eq!(upstream.received().len(), before, "the upstream saw nothing");
}

#[tokio::test]
async fn refresh_and_renewal_give_further_tokens_of_one_session() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, |builder| builder).await;
    let login = log_in(&gateway, "alice").await;
    let first = login.member("token");

    let again = json!({ "again": login.member("again") });
    let refreshed = gateway.client().post("/swift/refresh").json(again).send().await;
    let second = refreshed.assert_status(200).member("token");
    let third = post(&gateway, "/swift/renew", &second).await.assert_status(200).member("token");

    let tokens = [&first, &second, &third];
    assert!(first != second && second != third && first != third);
    for token in tokens {
        call(&gateway, "/", token).await.assert_status(200);
    }
    // The refresh token is signed, and opens nothing.
    let refresh_token = refreshed.member("again");
    assert_eq!(refresh_token.matches('.').count(), 2);
    call(&gateway, "/", &refresh_token).await.assert_status(401);
    let before = upstream.received().len();

    post(&gateway, "/swift/logout", &third).await.assert_status(200);

    for token in tokens {
        call(&gateway, "/", token).await.assert_status(401);
    }
    assert_eq!(upstream.received().len(), before, "the upstream saw nothing");
}

#[tokio::test]
async fn a_session_forgets_the_oldest_of_many_renewed_tokens() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, |builder| builder).await;
    let mut tokens = vec![token_of(&gateway, "alice").await];
    for _ in 0..4 {
        let last = tokens.last().unwrap();
        tokens.push(post(&gateway, "/swift/renew", last).await.assert_status(200).member("token"));
    }
    // Nothing was used on a route, but all but the last were remembered when they were renewed.
    let dir = gateway.stop().await;
    let gateway = Gateway::builder().config(OPAQUE).route_to(&upstream, "").on(dir).start().await;

    call(&gateway, "/", &tokens[0]).await.assert_status(401);
    upstream.assert_untouched();
    for token in &tokens[1..] {
        call(&gateway, "/", token).await.assert_status(200);
    }
}

#[tokio::test]
async fn a_restart_keeps_the_session_and_a_stolen_state_folder_holds_no_token() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, |builder| builder).await;
    let login = log_in(&gateway, "alice").await;
    let token = login.member("token");
    call(&gateway, "/", &token).await.assert_status(200);
    let logged = [gateway.running().access_lines(), gateway.running().audit_lines()].concat();

    let dir = gateway.stop().await;

    let random = token.strip_prefix("AUTH_tk").unwrap();
    assert!(!logged.contains(random), "no log has the token");
    assert!(!holds(dir.path(), random.as_bytes()), "no file has the token");
    assert!(holds(dir.path(), b"swift"), "the files were searched");
    let gateway = Gateway::builder().config(OPAQUE).route_to(&upstream, "").on(dir).start().await;
    call(&gateway, "/", &token).await.assert_status(200);
    post(&gateway, "/swift/logout", &token).await.assert_status(200);
    let dir = gateway.stop().await;
    let before = upstream.received().len();
    let gateway = Gateway::builder().config(OPAQUE).route_to(&upstream, "").on(dir).start().await;
    call(&gateway, "/", &token).await.assert_status(401);
    assert_eq!(upstream.received().len(), before, "the upstream saw nothing");
}

/// True if a file below `folder` contains these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, bytes);
        }
        path.is_file()
            && std::fs::read(&path).unwrap().windows(bytes.len()).any(|part| part == bytes)
    })
}

#[tokio::test]
async fn an_altered_or_made_up_token_is_invalid() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, |builder| builder).await;
    let token = token_of(&gateway, "alice").await;
    let last = if token.ends_with('a') { "b" } else { "a" };
    let altered = format!("{}{last}", &token[..token.len() - 1]);

    for (token, why) in [
        (made_up(1), "made up"),
        (altered, "another last character"),
        (token[..token.len() - 1].to_owned(), "cut off"),
        (format!("{token}a"), "longer"),
        (token.replace("AUTH_tk", ""), "without its prefix"),
        (token.to_lowercase(), "lower case"),
    ] {
        let reply = call(&gateway, "/", &token).await;
        assert_eq!(reply.status, 401, "{why}");
        reply.assert_code("token_invalid");
        let logout = post(&gateway, "/swift/logout", &token).await;
        assert_eq!(logout.status, 401, "{why}");
    }
    upstream.assert_untouched();
    call(&gateway, "/", &token).await.assert_status(200);
}

#[tokio::test]
async fn an_address_that_guesses_is_not_looked_up_for_ever_and_keeps_nobody_out_for_long() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, GatewayBuilder::moving).await;
    let (used, unused) = (token_of(&gateway, "alice").await, token_of(&gateway, "alice").await);
    call(&gateway, "/", &used).await.assert_status(200);
    let before = upstream.received().len();

    for number in 0..100 {
        call(&gateway, "/", &made_up(number)).await.assert_status(401);
    }
    for number in 100..120 {
        call(&gateway, "/", &made_up(number)).await.assert_status(503);
    }

    let causes: Vec<Value> =
        gateway.access_log().into_iter().map(|line| line["cause"].clone()).collect();
    let count = |text: &str| causes.iter().filter(|cause| **cause == *text).count();
    assert_eq!(count("no session has this opaque token"), 100, "{causes:?}");
    assert_eq!(count("the address has presented too many unknown tokens"), 20, "{causes:?}");
    call(&gateway, "/", &unused).await.assert_status(503);
    // One that was counted is refused on, and the program that repeats it is not counted again.
    call(&gateway, "/", &made_up(1)).await.assert_status(401);
    assert_eq!(upstream.received().len(), before, "the upstream saw nothing");
    // A token that is remembered needs no lookup.
    call(&gateway, "/", &used).await.assert_status(200);
    gateway.advance(Duration::from_secs(10));
    call(&gateway, "/", &unused).await.assert_status(200);
}

#[tokio::test]
async fn an_unknown_token_that_is_repeated_is_counted_once() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, GatewayBuilder::moving).await;
    let token = token_of(&gateway, "alice").await;

    for number in 0..99 {
        call(&gateway, "/", &made_up(number)).await.assert_status(401);
    }
    gateway.advance(Duration::from_secs(6));
    for number in 0..99 {
        call(&gateway, "/", &made_up(number)).await.assert_status(401);
    }

    upstream.assert_untouched();
    call(&gateway, "/", &token).await.assert_status(200);
}

#[tokio::test]
async fn a_store_that_is_away_is_503_and_a_remembered_token_goes_on() {
    let upstream = Upstream::start().await;
    let faults = Arc::new(InjectedFaults::default());
    let gateway = start(&upstream, |builder| builder.faults(&faults)).await;
    let (used, unused) = (token_of(&gateway, "alice").await, token_of(&gateway, "bob").await);
    let ended = token_of(&gateway, "alice").await;
    for token in [&used, &ended] {
        call(&gateway, "/", token).await.assert_status(200);
    }

    faults.fail_writes(true);
    post(&gateway, "/swift/logout", &ended).await.assert_status(503);

    let before = upstream.received().len();
    call(&gateway, "/", &unused).await.assert_status(503);
    call(&gateway, "/", &made_up(1)).await.assert_status(503);
    post(&gateway, "/swift/logout", &unused).await.assert_status(503);
    call(&gateway, "/", &ended).await.assert_status(401);
    post(&gateway, "/swift/logout", &ended).await.assert_status(503);
    assert_eq!(upstream.received().len(), before, "the upstream saw nothing");
    call(&gateway, "/", &used).await.assert_status(200);

    faults.fail_writes(false);
    let patience = Instant::now();
    while call(&gateway, "/", &unused).await.status != 200 {
        assert!(patience.elapsed() < Duration::from_secs(15), "does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_token_of_another_login_is_none_of_this_logins() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, |builder| {
        builder.login("native").config(PAIRED).config(&OPAQUE.replace("swift", "other"))
    })
    .await;
    let token = token_of(&gateway, "alice").await;
    let signed = gateway.token("alice").await;

    for path in ["/other/logout", "/other/renew", "/auth/logout"] {
        let reply = post(&gateway, path, &token).await;
        assert_eq!(reply.status, 401, "{path}");
        reply.assert_code("token_invalid");
    }
    post(&gateway, "/swift/logout", &signed).await.assert_status(401);
    call(&gateway, "/other/session", &token).await.assert_status(401);
    call(&gateway, "/auth/session", &token).await.assert_status(401);
    upstream.assert_untouched();
    for token in [&token, &signed] {
        call(&gateway, "/", token).await.assert_status(200);
    }
}

#[tokio::test]
async fn a_route_that_takes_other_logins_refuses_the_token() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, |builder| {
        builder.login("native").route(&upstream, "/native/", "logins = [\"native\"]")
    })
    .await;
    let token = token_of(&gateway, "alice").await;

    let refused = call(&gateway, "/native/x", &token).await;

    assert!(refused.status == 401 || refused.status == 403, "{}", refused.status);
    upstream.assert_untouched();
    call(&gateway, "/", &token).await.assert_status(200);
}

#[tokio::test]
async fn an_opaque_token_of_a_pair_needs_its_key() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().config(PAIRED).route_to(&upstream, "").start().await;
    let login = json!({ "user": "alice", "key": PASSWORD });
    let login = gateway.client().post("/paired/login").json(login).send().await;
    let (token, key) = (login.assert_status(200).member("token"), login.member("key"));
    let client = gateway.client();

    for _ in 0..2 {
        call(&gateway, "/", &token).await.assert_status(401).assert_code("token_invalid");
        client.get("/").pair(&token, "wrong").send().await.assert_status(401);
    }
    client.post("/paired/logout").pair(&token, "wrong").send().await.assert_status(401);
    upstream.assert_untouched();

    client.get("/").pair(&token, &key).send().await.assert_status(200);
    call(&gateway, "/", &token).await.assert_status(401);
    client.post("/paired/logout").pair(&token, &key).send().await.assert_status(200);
    client.get("/").pair(&token, &key).send().await.assert_status(401);
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn services_are_told_of_opaque_tokens_and_revoke_them() {
    let upstream = Upstream::start().await;
    let (key, section) = key("service", "scopes = [\"introspect\", \"revoke\"]");
    let gateway = start(&upstream, |builder| builder.login("native").config(&section)).await;
    let login = log_in(&gateway, "alice").await;
    let token = login.member("token");
    let client = gateway.client();
    let ask = async |path: &str, token: &str| {
        let call = client.post(path).header("x-api-key", &key);
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        call.body(format!("token={token}")).send().await
    };

    let told = ask("/auth/introspect", &token).await.assert_status(200).json();
    assert_eq!((&told["active"], &told["client_id"]), (&json!(true), &json!("swift")));
    assert_eq!((&told["username"], &told["jti"]), (&json!("alice"), &login.json()["id"]));
    assert_eq!(told["roles"], json!(["admin"]));
    ask("/auth/revoke", &token).await.assert_status(200);

    let inactive = json!({ "active": false });
    assert_eq!(ask("/auth/introspect", &token).await.json(), inactive);
    assert_eq!(ask("/auth/introspect", &made_up(1)).await.json(), inactive);
    call(&gateway, "/", &token).await.assert_status(401);
    upstream.assert_untouched();
}
