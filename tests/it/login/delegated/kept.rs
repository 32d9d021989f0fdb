//! The user's own credential at the upstream: what the legacy login gave is kept with the session,
//! and each request carries that of its own session.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Response};
use serde_json::{Value, json};

use super::{front, http, log_in, refresh};
use crate::harness::gateway::{PASSWORD, STAFF, START};
use crate::harness::upstream::ReceivedRequest;
use crate::harness::{Gateway, GatewayBuilder, Reply, Upstream};

/// How far the clock moves between two rounds of calls.
const STEP: Duration = Duration::from_secs(300);
/// Rounds of an hour.
const ROUNDS: u64 = 12;
const USERS: usize = 200;
/// Users who call at the same time. All have one address, which has a share of the places for logins.
const AT_ONCE: usize = 8;

/// A legacy system whose API checks its own tokens. The password of `x` is `pw-x`.
struct Legacy {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    now: u64,
    /// Every token and cookie that was ever given out.
    given: Vec<String>,
    /// Cookies: whose they are, and since when.
    cookies: HashMap<String, (String, u64)>,
    /// Access tokens that are refused before their end.
    revoked: Vec<String>,
    /// The user of each call that was let in.
    served: Vec<String>,
    refused: usize,
    refreshed: HashMap<String, usize>,
    logged_out: Vec<String>,
    /// Refuses every refresh from now on.
    refuses_refresh: bool,
    is_down: bool,
}

/// The dialect of the panel: a cookie that ends after 25 minutes, and cannot be renewed.
const PANEL: &str = "[[dialect]]\nname = \"panel\"\n\
    [[dialect.endpoint]]\nstep = \"login\"\nrequest = \"POST /panel/login\"\n\
    credential = [{ form = { username = \"u\", password = \"p\" } }]\n\
    send = { form = { v = 2 } }\n\
    reply = { text = \"Ok.\", cookies = [{ name = \"sid\", value = \"$access.token\" }] }\n\
    [[dialect.endpoint]]\nstep = \"logout\"\nrequest = \"POST /panel/logout\"\n\
    credential = [{ token = { cookie = \"sid\" }, use = \"access\" }]\nreply = { text = \"Bye.\" }\n\
    [[dialect.error.invalid_credentials.seen]]\nstatus = 200\ntext = \"Fails.\"\n\
    [dialect.call]\ncarriers = [{ cookie = \"sid\" }]\n[dialect.tokens]\nends_with_access = true\n";

const COOKIE_LIFE: u64 = 1_500;

impl Legacy {
    async fn start() -> Self {
        let state = Arc::new(Mutex::new(State { now: START.secs(), ..State::default() }));
        let held = state.clone();
        let upstream =
            Upstream::answering(move |request| held.lock().unwrap().answer(request)).await;
        Self { upstream, state }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A gateway before it, whose users are asked there in this dialect.
    fn front(&self, dialect: &str) -> GatewayBuilder {
        let url = self.upstream.url();
        let users = http(&url, dialect, "keep = true");
        front(&users).moving().config(&format!(
            "[[upstream]]\nname = \"legacy\"\nservers = [\"{url}\"]\ncredential = \"session\"\n\
             [[route]]\npath = \"/\"\nupstream = \"legacy\"\nauth = [\"bearer\"]\nerrors = \"native\""
        ))
    }

    /// Moves both clocks.
    fn advance(&self, gateway: &Gateway, by: Duration) {
        gateway.advance(by);
        self.state().now += by.as_secs();
    }
}

fn text(status: u16, body: impl Into<Bytes>) -> Response<Bytes> {
    Response::builder().status(status).body(body.into()).unwrap()
}

impl State {
    fn answer(&mut self, request: &ReceivedRequest) -> Response<Bytes> {
        if self.is_down {
            return text(500, "");
        }
        let path = request.target.split('?').next().unwrap_or_default();
        match (&request.method, path) {
            (&Method::POST, "/api/login") => self.datarhei_login(request),
            (&Method::GET, "/api/login/refresh") => self.datarhei_refresh(request),
            (&Method::POST, "/panel/login") => self.panel_login(request),
            (&Method::POST, "/panel/logout") => {
                let cookie = self.cookie(request).unwrap_or_default();
                self.logged_out.push(cookie.clone());
                self.cookies.remove(&cookie);
                text(200, "Bye.")
            }
            _ => match self.caller(request) {
                Some(user) => {
                    self.served.push(user.clone());
                    text(200, user + "|" + &String::from_utf8_lossy(&request.body))
                }
                None => {
                    self.refused += 1;
                    text(
                        401,
                        r#"{"code":401,"message":"Unauthorized","details":["Missing or invalid JWT token"]}"#,
                    )
                }
            },
        }
    }

    /// Whose token or cookie it is.
    fn caller(&self, request: &ReceivedRequest) -> Option<String> {
        if let Some(cookie) = self.cookie(request) {
            let (user, since) = self.cookies.get(&cookie)?;
            return (self.now < since + COOKIE_LIFE).then(|| user.clone());
        }
        let token = request.header("authorization")?.strip_prefix("Bearer ")?;
        self.verified(token, "access")
    }

    fn cookie(&self, request: &ReceivedRequest) -> Option<String> {
        let field = request.header("cookie")?;
        field.split("; ").find_map(|pair| pair.strip_prefix("sid=")).map(str::to_owned)
    }

    fn panel_login(&mut self, request: &ReceivedRequest) -> Response<Bytes> {
        let form: HashMap<String, String> =
            form_urlencoded::parse(&request.body).into_owned().collect();
        assert_eq!(form["v"], "2");
        if form["p"] != format!("pw-{}", form["u"]) {
            return text(200, "Fails.");
        }
        let cookie = format!("cookie{}of{}", self.given.len(), form["u"]);
        self.given.push(cookie.clone());
        self.cookies.insert(cookie.clone(), (form["u"].clone(), self.now));
        let set = format!("sid={cookie}; path=/; HttpOnly; SameSite=Strict");
        Response::builder().header("set-cookie", set).body("Ok.".into()).unwrap()
    }

    fn datarhei_login(&mut self, request: &ReceivedRequest) -> Response<Bytes> {
        let login: Value = serde_json::from_slice(&request.body).unwrap();
        let user = login["username"].as_str().unwrap().to_owned();
        if login["password"] != format!("pw-{user}") {
            return text(
                401,
                r#"{"code":401,"message":"Invalid authorization credentials","details":["invalid username or password"]}"#,
            );
        }
        let access = self.token(&user, "access", 600);
        let refresh = self.token(&user, "refresh", 86_400);
        text(200, json!({ "access_token": access, "refresh_token": refresh }).to_string())
    }

    fn datarhei_refresh(&mut self, request: &ReceivedRequest) -> Response<Bytes> {
        let token = request.header("authorization").unwrap_or_default();
        let token = token.strip_prefix("Bearer ").unwrap_or_default();
        let user = self.verified(token, "refresh").filter(|_| !self.refuses_refresh);
        let Some(user) = user else {
            return text(
                401,
                r#"{"code":401,"message":"Unauthorized","details":["Missing or invalid JWT token"]}"#,
            );
        };
        *self.refreshed.entry(user.clone()).or_default() += 1;
        let access = self.token(&user, "access", 600);
        text(200, json!({ "access_token": access }).to_string())
    }

    fn token(&mut self, user: &str, usefor: &str, life: u64) -> String {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let number = self.given.len();
        let claims = json!({ "sub": user, "usefor": usefor, "exp": self.now + life, "exi": life, "jti": number });
        let signed = format!("{}.{}", part(json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
        let token = format!("{signed}.{}", signature(&signed));
        self.given.push(token.clone());
        token
    }

    fn verified(&self, token: &str, usefor: &str) -> Option<String> {
        let (signed, given) = token.rsplit_once('.')?;
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let is_good = signature(signed) == given
            && claims["usefor"] == usefor
            && claims["exp"].as_u64()? > self.now
            && !self.revoked.iter().any(|revoked| revoked == token);
        is_good.then(|| claims["sub"].as_str().unwrap_or_default().to_owned())
    }
}

fn signature(signed: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"the legacy system's own secret..");
    URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()))
}

/// A client of the gateway that knows when to refresh.
struct User {
    name: String,
    session: Reply,
    /// When its access token ends, in rounds of the clock's seconds.
    ends: u64,
}

impl User {
    async fn log_in(gateway: &Gateway, name: String, now: u64) -> Self {
        let session = log_in(gateway, &name, &format!("pw-{name}")).await;
        session.assert_status(200);
        let mut user = Self { name, session, ends: 0 };
        user.ends = now + user.life();
        user
    }

    fn life(&self) -> u64 {
        self.session.json()["expires_in"].as_u64().unwrap()
    }

    async fn call(&self, gateway: &Gateway) -> Reply {
        let token = self.session.member("access_token");
        let path = format!("/api/v3/of-{}", self.name);
        gateway.client().get(&path).bearer(&token).send().await
    }

    /// Refreshes where it is due, then calls twice at once. How many logins that took.
    async fn round(&mut self, gateway: &Gateway, now: u64) -> usize {
        if self.ends <= now + 5 {
            let refreshed = refresh(gateway, &self.session).await;
            // The session has ended with the one at the legacy system.
            if refreshed.status.as_u16() == 401 {
                *self = Self::log_in(gateway, self.name.clone(), now).await;
                return 1 + Box::pin(self.round(gateway, now)).await;
            }
            self.session = refreshed;
            self.session.assert_status(200);
            self.ends = now + self.life();
        }
        let (one, other) = tokio::join!(self.call(gateway), self.call(gateway));
        if [&one, &other].iter().any(|reply| reply.status.as_u16() == 401) {
            one.assert_status(401);
            other.assert_status(401);
            *self = Self::log_in(gateway, self.name.clone(), now).await;
            return 1 + Box::pin(self.round(gateway, now)).await;
        }
        for reply in [one, other] {
            reply.assert_status(200);
            assert_eq!(reply.text(), format!("{}|", self.name), "as themselves");
        }
        0
    }
}

/// An hour of calls of many users. The logins that were needed after the first.
async fn an_hour(legacy: &Legacy, gateway: &Gateway, users: usize) -> usize {
    let mut now = START.secs();
    let names = (0..users).map(|number| format!("user{number}"));
    let logins = names.map(|name| User::log_in(gateway, name, now));
    let mut all = Vec::new();
    let mut logins: Vec<_> = logins.collect();
    while !logins.is_empty() {
        let chunk: Vec<_> = logins.drain(..logins.len().min(AT_ONCE)).collect();
        all.extend(join_all(chunk).await);
    }
    let mut again = 0;
    for _ in 0..=ROUNDS {
        for chunk in all.chunks_mut(AT_ONCE) {
            let rounds = chunk.iter_mut().map(|user| user.round(gateway, now));
            again += join_all(rounds).await.into_iter().sum::<usize>();
        }
        legacy.advance(gateway, STEP);
        now += STEP.as_secs();
    }
    again
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_users_call_an_api_that_checks_its_own_tokens_for_an_hour() {
    let legacy = Legacy::start().await;
    let gateway = legacy.front("datarhei").start().await;

    let again = an_hour(&legacy, &gateway, USERS).await;

    let state = legacy.state();
    assert_eq!(again, 0, "nobody had to log in twice");
    assert_eq!(state.refused, 0, "no request came with a token that had ended");
    let calls = USERS * (ROUNDS as usize + 1) * 2;
    assert_eq!(state.served.len(), calls);
    // Tokens of ten minutes; two requests at once cause one renewal.
    let most = state.refreshed.values().max().copied();
    assert_eq!((state.refreshed.len(), most), (USERS, Some(6)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_users_call_an_api_with_cookies_for_an_hour() {
    let legacy = Legacy::start().await;
    let gateway = legacy.front("panel").config(PANEL).start().await;

    let again = an_hour(&legacy, &gateway, USERS).await;

    let state = legacy.state();
    // A cookie of 25 minutes ends twice in an hour, and cannot be renewed.
    assert_eq!(again, USERS * 2, "only when it was due");
    assert_eq!(state.served.len(), USERS * (ROUNDS as usize + 1) * 2);
}

/// True if a file below the folder has these bytes.
fn is_stored(folder: &Path, wanted: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let kind = path.metadata().unwrap().file_type();
        match kind.is_file() {
            // A socket has no bytes.
            false => kind.is_dir() && is_stored(&path, wanted),
            true => {
                let bytes = std::fs::read(&path).unwrap();
                bytes.windows(wanted.len()).any(|part| part == wanted.as_bytes())
            }
        }
    })
}

#[tokio::test]
async fn a_stolen_store_has_no_token_and_a_restart_loses_none() {
    use std::os::unix::fs::PermissionsExt;

    let legacy = Legacy::start().await;
    for (dialect, own) in [("datarhei", ""), ("panel", PANEL)] {
        let gateway = legacy.front(dialect).config(own).start().await;
        let user = User::log_in(&gateway, "ann".to_owned(), 0).await;
        user.call(&gateway).await.assert_status(200);
        let logs = gateway.running().access_lines() + &gateway.running().audit_lines();
        let folder = gateway.stop().await;

        let given = legacy.state().given.clone();
        for token in &given {
            assert!(!is_stored(folder.path(), token), "{dialect}: {token}");
            assert!(!logs.contains(token.as_str()), "{dialect}: {token}");
        }
        assert!(is_stored(folder.path(), "ann"), "the session itself is there");
        let key = folder.path().join("state/kept-credentials.key");
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let gateway = legacy.front(dialect).config(own).on(folder).start().await;
        user.call(&gateway).await.assert_status(200);
        // Without the key nobody reads it: the client logs in anew.
        let folder = gateway.stop().await;
        std::fs::write(folder.path().join("state/kept-credentials.key"), [7; 32]).unwrap();
        let served = legacy.state().served.len();
        let gateway = legacy.front(dialect).config(own).on(folder).start().await;
        user.call(&gateway).await.assert_status(401).assert_code("token_expired");
        refresh(&gateway, &user.session).await.assert_status(401);
        assert_eq!(legacy.state().served.len(), served, "{dialect}");
    }
}

#[tokio::test]
async fn a_logout_here_logs_out_there() {
    let legacy = Legacy::start().await;
    let gateway = legacy.front("panel").config(PANEL).start().await;
    let users = [
        User::log_in(&gateway, "ann".to_owned(), 0).await,
        User::log_in(&gateway, "ann".to_owned(), 0).await,
        User::log_in(&gateway, "ben".to_owned(), 0).await,
    ];
    let cookies = legacy.state().given.clone();
    let end = async |path: &str, user: &User| {
        let token = user.session.member("access_token");
        gateway.client().post(path).bearer(&token).send().await.assert_status(204);
    };

    end("/auth/logout-all", &users[0]).await;

    let there = || {
        let mut there = legacy.state().logged_out.clone();
        there.sort();
        there
    };
    // It happens in the background.
    while there().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(there(), cookies[..2], "and not the one of ben");
    users[2].call(&gateway).await.assert_status(200);
    // A legacy system that is down keeps nobody here.
    legacy.state().is_down = true;
    end("/auth/logout", &users[2]).await;
    users[2].call(&gateway).await.assert_status(401).assert_code("token_revoked");
}

#[tokio::test]
async fn a_token_that_is_refused_early_is_renewed_once_and_the_request_sent_again() {
    let legacy = Legacy::start().await;
    let gateway = legacy.front("datarhei").start().await;
    let user = User::log_in(&gateway, "ann".to_owned(), 0).await;
    let bearer = user.session.member("access_token");
    let post = async |body: &str| {
        gateway.client().post("/api/v3/x").bearer(&bearer).body(body.to_owned()).send().await
    };
    post("first").await.assert_status(200);
    legacy.advance(&gateway, Duration::from_secs(60));
    {
        let mut state = legacy.state();
        let first = state.given[0].clone();
        state.revoked.push(first);
    }

    let replies = join_all((0..8).map(|number| {
        let body = number.to_string();
        let post = &post;
        async move { post(&body).await }
    }))
    .await;

    for (number, reply) in replies.iter().enumerate() {
        assert_eq!((reply.status.as_u16(), reply.text()), (200, format!("ann|{number}")));
    }
    assert_eq!(legacy.state().refreshed["ann"], 1, "eight requests, one renewal");

    // While the system cannot be asked, nothing is known: nobody has to log in anew for that.
    legacy.advance(&gateway, Duration::from_secs(700));
    legacy.state().is_down = true;
    post("x").await.assert_status(503);
    legacy.state().is_down = false;
    gateway.advance(Duration::from_secs(3));
    post("x").await.assert_status(200);

    // Where it refuses, the session here is over, too.
    legacy.advance(&gateway, Duration::from_secs(700));
    legacy.state().refuses_refresh = true;
    let fresh = refresh(&gateway, &user.session).await;
    let token = fresh.assert_status(200).member("access_token");
    let served = legacy.state().served.len();
    let call = gateway.client().get("/api/v3/x").bearer(&token).send().await;
    call.assert_status(401).assert_code("token_expired");
    refresh(&gateway, &fresh).await.assert_status(401);
    assert_eq!(legacy.state().served.len(), served);
}

#[tokio::test]
async fn who_has_no_session_there_is_never_sent() {
    let legacy = Legacy::start().await;
    let url = legacy.upstream.url();
    let users = STAFF.to_owned() + &http(&url, "datarhei", "keep = true");
    let gateway = front(&users)
        .config(&format!(
            "[[upstream]]\nname = \"legacy\"\nservers = [\"{url}\"]\ncredential = \"session\"\n\
             [[route]]\npath = \"/\"\nupstream = \"legacy\"\nauth = [\"bearer\"]\nerrors = \"native\""
        ))
        .start()
        .await;
    let staff = log_in(&gateway, "bob", PASSWORD).await;
    let token = staff.assert_status(200).member("access_token");

    let call =
        gateway.client().get("/api/v3/x").bearer(&token).header("cookie", "a=1").send().await;

    call.assert_status(403).assert_code("not_permitted");
    assert!(legacy.upstream.received().iter().all(|one| one.target != "/api/v3/x"));
    // Whatever a client sends in the place of the credential, its own session's goes.
    let ann = log_in(&gateway, "ann", "pw-ann").await;
    let token = ann.assert_status(200).member("access_token");
    let call = gateway.client().get("/api/v3/x").bearer(&token).send().await;
    assert_eq!(call.assert_status(200).text(), "ann|");
}
