//! The user's own credential at the upstream, where a system refuses, fails, or is another one.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Response};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tollhouse::clock::TestClock;

use super::{http, log_in};
use crate::harness::scripted_upstream::{ScriptedUpstream, UpstreamConnection};
use crate::harness::upstream::ReceivedRequest;
use crate::harness::{Client, Gateway, GatewayBuilder, Reply, Upstream};
use crate::login::totp;

/// Calls carry the token in a field, and the API takes it in a cookie and in the query, too. It
/// answers 403 to a token that has ended, and to a user who may not do this.
const DIALECT: &str = "[[dialect]]\nname = \"old\"\n\
    [[dialect.endpoint]]\nstep = \"login\"\nrequest = \"POST /old/login\"\n\
    credential = [{ json = { username = \"u\", password = \"p\" } }]\n\
    reply = { json = { t = \"$access.token\", r = \"$refresh.token\" } }\n\
    [[dialect.endpoint]]\nstep = \"refresh\"\nrequest = \"POST /old/refresh\"\n\
    credential = [{ token = { json = \"r\" }, use = \"refresh\" }]\n\
    reply = { json = { t = \"$access.token\" } }\n\
    [dialect.call]\n\
    carriers = [{ field = \"X-Old-Token\" }, { cookie = \"old\" }, { query = \"old\" }]\n\
    [dialect.error]\ndefault = { json = { no = \"$code\" } }\ntoken_expired = { status = 403 }\n";

/// A legacy system with an API of its own. Every user's password is `pw`.
struct Old {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The token that counts, and how many there were.
    token: String,
    given: usize,
    /// The answer to another token.
    status: u16,
    /// The answer to a refresh.
    refresh: u16,
    refreshes: usize,
    /// Moved on by three seconds by each refresh: so long it takes.
    slow: Option<TestClock>,
}

impl Old {
    async fn start() -> Self {
        let (token, status, refresh) = (String::new(), 403, 200);
        let state = State { token, given: 0, status, refresh, refreshes: 0, slow: None };
        let state = Arc::new(Mutex::new(state));
        let held = state.clone();
        let upstream =
            Upstream::answering(move |request| held.lock().unwrap().answer(request)).await;
        Self { upstream, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Its users, of this name, and an upstream of the same name below `/NAME/`.
    fn section(&self, name: &str, credential: &str) -> String {
        let url = self.upstream.url();
        let users = http(&url, "old", "keep = true").replace("\"legacy\"", &format!("{name:?}"));
        format!(
            "{users}[[upstream]]\nname = \"{name}\"\nservers = [\"{url}\"]\n\
             credential = {credential}\n\
             [[route]]\npath = \"/{name}/\"\nupstream = \"{name}\"\nauth = [\"bearer\"]\n\
             errors = \"native\"\n"
        )
    }

    fn front(&self) -> GatewayBuilder {
        let sections = self.section("a", "\"session\"") + DIALECT;
        super::front(&sections).moving()
    }

    /// The calls that the API saw.
    fn calls(&self) -> Vec<ReceivedRequest> {
        let mut calls = self.upstream.received();
        calls.retain(|one| !one.target.starts_with("/old/"));
        calls
    }
}

fn reply(status: u16, body: Value) -> Response<Bytes> {
    Response::builder().status(status).body(body.to_string().into()).unwrap()
}

impl State {
    fn renew(&mut self) -> String {
        self.given += 1;
        self.token = format!("token{}", self.given);
        self.token.clone()
    }

    fn answer(&mut self, request: &ReceivedRequest) -> Response<Bytes> {
        match request.target.as_str() {
            "/old/login" => {
                let login: Value = serde_json::from_slice(&request.body).unwrap();
                match login["p"] == "pw" {
                    true => reply(200, json!({ "t": self.renew(), "r": "again" })),
                    false => reply(401, json!({ "no": "invalid_credentials" })),
                }
            }
            "/old/refresh" => {
                self.refreshes += 1;
                if let Some(clock) = &self.slow {
                    clock.advance(Duration::from_secs(3));
                }
                match self.refresh {
                    200 => reply(200, json!({ "t": self.renew() })),
                    403 => reply(403, json!({ "no": "token_expired" })),
                    other => reply(other, json!("down")),
                }
            }
            _ if request.header("x-old-token") != Some(&self.token) => {
                reply(self.status, json!("it has ended"))
            }
            target if target.contains("forbidden") => reply(403, json!("not for you")),
            _ => reply(200, json!("yes")),
        }
    }
}

/// A user who calls.
struct Caller {
    client: Client,
    bearer: String,
}

impl Caller {
    async fn log_in(gateway: &Gateway) -> Self {
        let session = log_in(gateway, "ann", "pw").await;
        let bearer = session.assert_status(200).member("access_token");
        Self { client: gateway.client(), bearer }
    }

    async fn call(&self, method: Method, path: &str) -> Reply {
        self.client.call(method, path).bearer(&self.bearer).send().await
    }
}

#[tokio::test]
async fn a_token_goes_to_no_other_system_than_the_one_that_gave_it() {
    let (one, other) = (Old::start().await, Old::start().await);
    let sections = one.section("a", "{ session = \"a\" }")
        + &other.section("b", "{ session = \"b\" }")
        + DIALECT;
    let gateway = super::front(&sections).start().await;
    let ann = Caller::log_in(&gateway).await;
    ann.call(Method::GET, "/a/x").await.assert_status(200);

    // In memory by now, and after that from the store.
    let memory = ann.call(Method::GET, "/b/x").await;
    let fresh = Caller::log_in(&gateway).await;
    let stored = fresh.call(Method::GET, "/b/x").await;

    memory.assert_status(403).assert_code("not_permitted");
    stored.assert_status(403).assert_code("not_permitted");
    assert!(other.calls().is_empty(), "{:?}", other.calls());
    // The session goes on where it belongs.
    fresh.call(Method::GET, "/a/x").await.assert_status(200);
}

#[tokio::test]
async fn a_failure_that_takes_long_is_not_repeated_by_those_who_waited() {
    let old = Old::start().await;
    let gateway = old.front().start().await;
    let ann = Caller::log_in(&gateway).await;
    ann.call(Method::GET, "/a/x").await.assert_status(200);
    gateway.advance(Duration::from_secs(60));
    {
        let mut state = old.state();
        state.token = "another".to_owned();
        state.status = 401;
        state.refresh = 500;
        state.slow = Some(gateway.clock());
    }

    // A renewal takes three seconds, longer than the pause after it.
    ann.call(Method::GET, "/a/x").await.assert_status(503);
    let calls = (0..8).map(|_| ann.call(Method::GET, "/a/x"));
    for reply in join_all(calls).await {
        reply.assert_status(503);
    }

    assert_eq!(old.state().refreshes, 1, "the pause begins when the renewal has failed");
    {
        let mut state = old.state();
        state.slow = None;
        state.refresh = 200;
    }
    gateway.advance(Duration::from_secs(3));
    ann.call(Method::GET, "/a/x").await.assert_status(200);
}

#[tokio::test]
async fn a_post_that_may_have_been_carried_out_is_not_sent_again() {
    let old = Old::start().await;
    let gateway = old.front().start().await;
    let ann = Caller::log_in(&gateway).await;
    let posts = || old.calls().iter().filter(|one| one.method == Method::POST).count();

    // 403 may mean that the token has ended, and that the user may not do this.
    ann.call(Method::POST, "/a/x").await.assert_status(200);
    gateway.advance(Duration::from_secs(60));
    old.state().token = "another".to_owned();
    let refused = ann.call(Method::POST, "/a/x").await;

    assert_eq!(refused.assert_status(403).text(), "\"it has ended\"", "the answer as it came");
    assert_eq!((posts(), old.state().refreshes), (2, 1), "renewed for the next request");
    ann.call(Method::POST, "/a/x").await.assert_status(200);
    assert_eq!(posts(), 3);

    // What is the same twice as once is sent again, and so is whatever was answered 401.
    gateway.advance(Duration::from_secs(60));
    old.state().token = "another".to_owned();
    ann.call(Method::GET, "/a/x").await.assert_status(200);
    gateway.advance(Duration::from_secs(60));
    old.state().token = "another".to_owned();
    old.state().status = 401;
    ann.call(Method::POST, "/a/x").await.assert_status(200);
    assert_eq!(posts(), 5);
}

#[tokio::test]
async fn a_refusal_of_the_user_is_passed_on_and_ends_no_session() {
    let old = Old::start().await;
    let gateway = old.front().start().await;
    let ann = Caller::log_in(&gateway).await;

    ann.call(Method::GET, "/a/x").await.assert_status(200);

    for refresh in [200, 403, 500] {
        old.state().refresh = refresh;
        for method in [Method::GET, Method::POST] {
            gateway.advance(Duration::from_secs(60));
            let refused = ann.call(method, "/a/forbidden").await;
            assert_eq!(refused.assert_status(403).text(), "\"not for you\"", "{refresh}");
        }
        ann.call(Method::GET, "/a/x").await.assert_status(200);
    }
    assert_eq!(old.state().refreshes, 6);
}

#[tokio::test]
async fn a_client_adds_no_token_of_its_own_beside_that_of_its_session() {
    let old = Old::start().await;
    let gateway = old.front().start().await;
    let ann = Caller::log_in(&gateway).await;

    let call = ann.client.get("/a/x?old=evil&a=1&o%6cd=evil").bearer(&ann.bearer);
    let call = call.header("cookie", "b=2; old=evil").header("x-old-token", "evil");
    call.header("x_old_token", "evil").send().await.assert_status(200);

    let seen = old.calls().remove(0);
    assert_eq!(seen.target, "/a/x?a=1");
    assert_eq!(seen.header("cookie"), Some("b=2"));
    let tokens = seen.headers.get_all("x-old-token").iter().collect::<Vec<_>>();
    assert_eq!(tokens, ["token1"]);
    assert_eq!(seen.header("x_old_token"), None);
}

/// Another service of the same system, on a server of its own.
fn beside(address: std::net::SocketAddr) -> String {
    format!(
        "[[upstream]]\nname = \"chat\"\nservers = [\"http://{address}\"]\n\
         credential = {{ session = \"a\" }}\n\
         [[route]]\npath = \"/chat/\"\nupstream = \"chat\"\nauth = [\"bearer\"]\n\
         errors = \"native\"\n"
    )
}

#[tokio::test]
async fn a_web_socket_begins_with_the_token_of_its_session_and_again_where_that_has_ended() {
    let (old, chat) = (Old::start().await, ScriptedUpstream::start().await);
    let sections = old.section("a", "\"session\"") + &beside(chat.address()) + DIALECT;
    let gateway = super::front(&sections).moving().start().await;
    let ann = Caller::log_in(&gateway).await;
    ann.call(Method::GET, "/a/x").await.assert_status(200);
    gateway.advance(Duration::from_secs(60));
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let mut client = UpstreamConnection::new(stream);
    let bearer = &ann.bearer;
    client
        .send(format!(
            "GET /chat/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Old-Token: mine\r\n\
             Authorization: Bearer {bearer}\r\n\r\n"
        ))
        .await;

    let mut first = chat.accept().await;
    let asked = first.head().await;
    first.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    drop(first);
    let mut second = chat.accept().await;
    let again = second.head().await;
    second
        .send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\n\r\n",
        )
        .await;
    let agreed = client.head().await;
    client.send("hello").await;
    second.until("hello").await;

    assert!(agreed.starts_with("http/1.1 101"), "{agreed}");
    for (head, token) in [(asked, "token1"), (again, "token2")] {
        assert!(head.contains(&format!("x-old-token: {token}\r\n")), "{head}");
        assert!(!head.contains("mine") && !head.contains("authorization"), "{head}");
        assert!(head.contains("upgrade: websocket"), "{head}");
    }
    assert_eq!(old.state().refreshes, 1);
}

#[tokio::test]
async fn what_the_first_step_was_given_is_kept_until_the_code_is_right() {
    let old = Old::start().await;
    let gateway = old
        .front()
        .config("[mail]\nserver = \"127.0.0.1:1\"\ntls = \"none\"\nfrom = \"a@b.example\"")
        .start()
        .await;
    // The legacy system is asked about those alone who log in; so ann is known after that.
    Caller::log_in(&gateway).await;
    let phone = totp::given(&gateway, "ann").await;

    let first = log_in(&gateway, "ann", "pw").await;
    let ticket = first.assert_status(202).member("ticket");
    gateway.advance(Duration::from_secs(30));
    let code = totp::shown(&gateway, &phone, 0);
    let body = json!({ "username": "ann", "code": code, "ticket": ticket });
    let second = gateway.client().post("/auth/verify").json(body).send().await;

    let bearer = second.assert_status(200).member("access_token");
    let ann = Caller { client: gateway.client(), bearer };
    ann.call(Method::GET, "/a/x").await.assert_status(200);
    assert_eq!(old.calls().last().unwrap().header("x-old-token"), Some("token2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_moves_the_token_moves_it_for_sessions_that_go_on() {
    let old = Old::start().await;
    let gateway = old.front().start().await;
    let ann = Caller::log_in(&gateway).await;
    ann.call(Method::GET, "/a/x").await.assert_status(200);

    let path = gateway.dir().join("gateway.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    let field = "{ field = \"X-Old-Token\" }, { cookie = \"old\" }";
    assert!(before.contains(field));
    std::fs::write(&path, before.replace(field, "{ cookie = \"old\" }")).unwrap();
    let read = || {
        let loaded = tollhouse::config::load(&path, &|_| None);
        loaded.map(|loaded| loaded.config).map_err(|issues| issues.to_string())
    };
    tokio::task::block_in_place(|| gateway.running().reload(read)).unwrap();
    ann.call(Method::GET, "/a/x").await;

    // The API does not look for it there; what it was sent is what counts.
    let calls = old.calls();
    let sent = |name| calls.get(1).and_then(|call| call.header(name));
    assert_eq!(sent("cookie"), Some("old=token1"), "{calls:?}");
    assert_eq!(sent("x-old-token"), None);
}
