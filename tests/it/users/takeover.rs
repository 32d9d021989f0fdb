//! A login system is taken over without a flag day.
//!
//! The legacy system is a datarhei Core with users and tokens of its own, in front of which nothing
//! stands. Day one: the gateway stands in front, delegates logins and takes the tokens that are
//! out. Day two: whoever logged in has been imported, and the gateway is started again on other
//! terms. Day three: the legacy login is off. No request that should succeed fails on any day, and
//! none that should not succeeds.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::harness::gateway::START;
use crate::harness::upstream::ReceivedRequest;
use crate::harness::{Gateway, GatewayBuilder, Reply, Upstream};

/// Too short for HS256 by today's rules; the legacy system has never cared.
const LEGACY_SECRET: &str = "datarhei-core";

/// The gateway's own account at the legacy system.
const GATEWAY: (&str, &str) = ("gateway", "robot password");

/// The legacy system.
struct Legacy {
    upstream: Upstream,
    users: Arc<Mutex<HashMap<String, String>>>,
    logins: Arc<AtomicUsize>,
    /// Its login is switched off for good.
    off: Arc<AtomicBool>,
}

impl Legacy {
    async fn start() -> Self {
        let users = [("ann", "ann's password"), ("ben", "ben's password"), GATEWAY];
        let users = users.map(|(name, password)| (name.to_owned(), password.to_owned()));
        let users = Arc::new(Mutex::new(HashMap::from(users)));
        let (logins, off) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let held = (users.clone(), logins.clone(), off.clone());
        let upstream = Upstream::answering(move |request| {
            let (users, logins, off) = &held;
            match request.target.as_str() {
                "/api/login" if off.load(SeqCst) => answer(404, &refusal(404)),
                "/api/login" => {
                    logins.fetch_add(1, SeqCst);
                    log_in(&users.lock().unwrap(), request)
                }
                _ => call(request),
            }
        })
        .await;
        Self { upstream, users, logins, off }
    }

    fn logins(&self) -> usize {
        self.logins.load(SeqCst)
    }

    /// Who made the latest call, as the gateway told.
    fn caller(&self) -> Option<String> {
        self.upstream.last().header("x-auth-username").map(str::to_owned)
    }
}

/// A token that the legacy system issued some time ago.
fn legacy_token(name: &str, life: Duration) -> String {
    let claims = json!({
        "iss": "datarhei-core", "sub": name, "usefor": "access",
        "iat": START.secs(), "exp": START.plus(life).secs(), "jti": name,
    });
    let key = EncodingKey::from_secret(LEGACY_SECRET.as_bytes()).unwrap();
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
}

fn log_in(users: &HashMap<String, String>, request: &ReceivedRequest) -> Response<Bytes> {
    let login: Value = serde_json::from_slice(&request.body).unwrap();
    let (name, password) =
        (login["username"].as_str().unwrap(), login["password"].as_str().unwrap());
    if users.get(name).map(String::as_str) != Some(password) {
        return answer(401, &refusal(401));
    }
    let token = legacy_token(name, Duration::from_secs(600));
    answer(200, &json!({ "access_token": token, "refresh_token": format!("{token}r") }))
}

/// Calls are for those whom the legacy system itself has let in: behind the gateway, that is the
/// gateway.
fn call(request: &ReceivedRequest) -> Response<Bytes> {
    let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let key = jsonwebtoken::DecodingKey::from_secret(LEGACY_SECRET.as_bytes()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(Algorithm::HS256);
    // Its clock is the tests'.
    rules.validate_exp = false;
    let decoded = token.map(|token| jsonwebtoken::decode::<Value>(token, &key, &rules));
    match decoded {
        Some(Ok(token)) if token.claims["sub"] == GATEWAY.0 => answer(200, &json!({})),
        _ => answer(401, &refusal(401)),
    }
}

fn refusal(code: u16) -> Value {
    json!({ "code": code, "message": "Unauthorized", "details": ["Invalid authorization credentials"] })
}

fn answer(status: u16, body: &Value) -> Response<Bytes> {
    let answer = Response::builder().status(status).header("content-type", "application/json");
    answer.body(Bytes::from(body.to_string())).unwrap()
}

/// The gateway of one day; `users` are the terms on which the legacy users come in.
fn gateway(legacy: &Legacy, secrets: &Path, users: &str, credential: &str) -> GatewayBuilder {
    let url = legacy.upstream.url();
    let users =
        format!("[[users]]\nname = \"core\"\nkind = \"http\"\ndialect = \"datarhei\"\n{users}");
    let sections = format!(
        r#"
[[issuer]]
name = "core-tokens"
issuer = "datarhei-core"
audience = "any"
algorithms = ["HS256"]
secret = {legacy_secret}
allow_weak_secret = true
required = ["exp", "sub"]
username_claim = "sub"
until = "2026-11-23"
[[upstream]]
name = "core"
servers = ["{url}"]
credential = {credential}
[[route]]
path = "/"
upstream = "core"
errors = "datarhei"
"#,
        legacy_secret = secret(secrets, "legacy"),
    );
    let token = "issuer = \"https://gateway.example\"\naudience = [\"core\"]";
    Gateway::builder().moving().token(token).with_users(&users).login("datarhei").config(&sections)
}

fn secret(secrets: &Path, name: &str) -> String {
    format!("{{ file = {:?} }}", secrets.join(name).display().to_string())
}

struct Client<'g>(&'g Gateway);

impl Client<'_> {
    async fn log_in(&self, name: &str, password: &str) -> Reply {
        let login = json!({ "username": name, "password": password });
        self.0.client().post("/api/login").json(login).send().await
    }

    async fn refresh(&self, session: &Reply) -> Reply {
        let token = session.member("refresh_token");
        self.0.client().get("/api/login/refresh").bearer(&token).send().await
    }

    async fn call(&self, token: &str) -> Reply {
        self.0.client().get("/api/v3/process").bearer(token).send().await
    }
}

#[tokio::test]
async fn a_login_system_is_taken_over_and_no_request_fails_that_should_succeed() {
    let legacy = Legacy::start().await;
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("legacy"), LEGACY_SECRET).unwrap();
    std::fs::write(secrets.path().join("robot"), GATEWAY.1).unwrap();
    let (url, secrets) = (legacy.upstream.url(), secrets.path());
    let (robot, password) = (GATEWAY.0, secret(secrets, "robot"));
    let own_login = format!(
        "{{ login = {{ dialect = \"datarhei\", username = \"{robot}\", password = {password} }} }}"
    );
    let old = legacy_token("ben", Duration::from_secs(30 * 24 * 3600));

    // Day one: old tokens hold, logins are delegated, each right one is imported.
    let delegated = format!("url = \"{url}\"\nimport = true");
    let day = gateway(&legacy, secrets, &delegated, &own_login).start().await;
    let client = Client(&day);
    client.call(&old).await.assert_status(200);
    assert_eq!(legacy.caller().as_deref(), Some("ben"), "the old token names him");
    let ann = client.log_in("ann", "ann's password").await;
    ann.assert_status(200);
    client.call(&ann.member("access_token")).await.assert_status(200);
    assert_eq!(legacy.caller().as_deref(), Some("ann"));
    client.log_in("ann", "wrong").await.assert_status(401);
    client.log_in("nobody", "ann's password").await.assert_status(401);
    let forged = legacy_token("ann", Duration::from_secs(600)).replace('.', "x.");
    client.call(&forged).await.assert_status(401);
    let dir = day.stop().await;

    // Day two: the imported decide for themselves, the others are still delegated.
    let imported =
        format!("url = \"{url}\"\nimport = true\nimport_final = true\nnames = \"case_blind\"");
    let day = gateway(&legacy, secrets, &imported, &own_login).on(dir).start().await;
    let client = Client(&day);
    let asked = legacy.logins();
    client.log_in("ann", "ann's password").await.assert_status(200);
    client.log_in("ann", "wrong").await.assert_status(401);
    assert_eq!(legacy.logins(), asked, "who was imported is not asked for");
    let ben = client.log_in("ben", "ben's password").await;
    ben.assert_status(200);
    assert_eq!(legacy.logins(), asked + 1);
    let ann = client.refresh(&ann).await;
    ann.assert_status(200);
    client.call(&ann.member("access_token")).await.assert_status(200);
    client.call(&old).await.assert_status(200);
    let dir = day.stop().await;

    // Day three: the legacy login is off, but for the gateway's own account at the upstream, which
    // has a fixed credential now. What it still knows of people counts for nothing.
    legacy.off.store(true, SeqCst);
    legacy.users.lock().unwrap().clear();
    let fixed = legacy_token(GATEWAY.0, Duration::from_secs(365 * 24 * 3600));
    std::fs::write(secrets.join("fixed"), fixed).unwrap();
    let fixed = format!("{{ bearer = {} }}", secret(secrets, "fixed"));
    let kept = "import = true\nimport_final = true\nnames = \"case_blind\"";
    let day = gateway(&legacy, secrets, kept, &fixed).on(dir).start().await;
    let client = Client(&day);
    let asked = legacy.upstream.received().len();
    let session = client.log_in("ann", "ann's password").await;
    session.assert_status(200);
    client.log_in("ben", "ben's password").await.assert_status(200);
    client.log_in("ben", "wrong").await.assert_status(401);
    assert_eq!(legacy.upstream.received().len(), asked, "nobody is asked any more");
    client.refresh(&ben).await.assert_status(200);
    client.call(&session.member("access_token")).await.assert_status(200);
    client.call(&old).await.assert_status(200);

    the_day_after(&legacy, &day, &old).await;
}

/// The day after the last of the old tokens.
async fn the_day_after(legacy: &Legacy, day: &Gateway, old: &str) {
    let client = Client(day);
    day.advance(Duration::from_secs(2 * 24 * 3600));
    let before = legacy.upstream.received().len();
    client.call(old).await.assert_status(401);
    assert_eq!(legacy.upstream.received().len(), before, "a refused call goes nowhere");
    let session = client.log_in("ann", "ann's password").await;
    client.call(&session.member("access_token")).await.assert_status(200);
    assert_eq!(legacy.caller().as_deref(), Some("ann"));
}
