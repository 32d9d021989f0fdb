//! The user's own credential at the upstream, where a system refuses, fails, or is another one.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use serde_json::{Value, json};
use tollhouse::clock::TestClock;

use super::{http, log_in};
use crate::harness::upstream::ReceivedRequest;
use crate::harness::{Client, Gateway, GatewayBuilder, Reply, Upstream};

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
    /// The answer to a refresh.
    refresh: u16,
    refreshes: usize,
    /// Moved on by three seconds by each refresh: so long it takes.
    slow: Option<TestClock>,
}

impl Old {
    async fn start() -> Self {
        let (token, refresh) = (String::new(), 200);
        let state = State { token, given: 0, refresh, refreshes: 0, slow: None };
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
                reply(403, json!("it has ended"))
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
