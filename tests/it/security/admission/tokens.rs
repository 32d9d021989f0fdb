//! Opaque tokens that a client makes up, beside good ones of others.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::strange;
use crate::harness::client::PATIENCE;
use crate::harness::gateway::START;
use crate::harness::{Gateway, GatewayBuilder, Upstream};

/// An issuer that answers some questions when the test says so, and others at once.
struct Issuer {
    address: SocketAddr,
    state: Arc<State>,
    secret: tempfile::NamedTempFile,
}

struct State {
    /// Tokens, in the order in which they were asked about.
    asked: Mutex<Vec<String>>,
    waiting: AtomicUsize,
    /// Permits for answers about tokens that begin with `slow`.
    answers: Semaphore,
}

impl Issuer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            asked: Mutex::default(),
            waiting: AtomicUsize::new(0),
            answers: Semaphore::new(0),
        });
        let served = state.clone();
        tokio::task::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = served.clone();
                let service = service_fn(move |request| answer(state.clone(), request));
                let serving = hyper::server::conn::http1::Builder::new();
                tokio::task::spawn(serving.serve_connection(TokioIo::new(stream), service));
            }
        });
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        secret.write_all(b"secret").unwrap();
        Self { address, state, secret }
    }

    fn gateway(&self, upstream: &Upstream) -> GatewayBuilder {
        Gateway::builder().login("native").route_to(upstream, "").config(&format!(
            "[[issuer]]\nname = \"slow\"\nissuer = \"https://slow.example/\"\naudience = [\"legacy\"]\n\
             allow_http = true\n\
             introspection = {{ url = \"http://{}/\", client_id = \"gateway\",\n\
             client_secret = {{ file = {:?} }}, cache = \"30s\" }}\n",
            self.address,
            self.secret.path()
        ))
    }

    /// How often it was asked about tokens that begin so.
    fn asked(&self, begins: &str) -> usize {
        let asked = self.state.asked.lock().unwrap();
        asked.iter().filter(|token| token.starts_with(begins)).count()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}"));
    }
}

/// Good tokens have `good` in them.
async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let form: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    let token = form["token"].clone();
    state.asked.lock().unwrap().push(token.clone());
    if token.starts_with("slow") {
        state.waiting.fetch_add(1, Ordering::SeqCst);
        state.answers.acquire().await.unwrap().forget();
        state.waiting.fetch_sub(1, Ordering::SeqCst);
    }
    let answer = json!({
        "active": token.contains("good"), "sub": "zoe", "aud": "legacy",
        "exp": START.secs() + 1_000_000_000,
    });
    Ok(Response::new(answer.to_string().into()))
}

/// The status of a call by the hostile client.
async fn call_strangely(gateway: &Gateway, token: &str) -> u16 {
    let io = TokioIo::new(strange(gateway.address()).await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::task::spawn(connection);
    let request = Request::get("/")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {token}"))
        .body(Empty::<Bytes>::new())
        .unwrap();
    sender.send_request(request).await.unwrap().status().as_u16()
}

async fn call(gateway: &Gateway, token: &str) -> u16 {
    gateway.client().get("/").bearer(token).send().await.status.as_u16()
}

#[tokio::test]
async fn made_up_opaque_tokens_leave_good_ones_their_calls() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let gateway = Arc::new(issuer.gateway(&upstream).start().await);

    // The issuer thinks about each of them until it is given up.
    let flood = (0..100).map(|number| {
        let gateway = gateway.clone();
        tokio::task::spawn(async move { call_strangely(&gateway, &format!("slow-{number}")).await })
    });
    let flood: Vec<_> = flood.collect();
    issuer.until("the flood arrives", |issuer| issuer.asked("slow") > 0).await;
    for number in 0..10 {
        assert_eq!(call(&gateway, &format!("good-{number}")).await, 200, "token {number}");
    }

    let waiting = issuer.state.waiting.load(Ordering::SeqCst);
    assert!(waiting <= 2, "one client has an eighth of 16 calls, and not {waiting}");
    issuer.state.answers.add_permits(1000);
    let statuses = join_all(flood).await.into_iter().map(Result::unwrap);
    assert!(statuses.into_iter().all(|status| matches!(status, 401 | 503)));
    assert_eq!(upstream.received().len(), 10);
}

#[tokio::test]
async fn tokens_that_nobody_knows_count_against_their_address() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let limit = "[login_limits]\nper_address = { attempts = 3, per = \"10m\" }";
    let gateway = issuer.gateway(&upstream).config(limit).moving().start().await;
    assert_eq!(call_strangely(&gateway, "good-before").await, 200);

    for number in 0..10 {
        assert_eq!(call_strangely(&gateway, &format!("made-up-{number}")).await, 401);
    }

    assert_eq!(issuer.asked("made-up"), 3, "over the limit nobody is asked");
    assert_eq!(call_strangely(&gateway, "good-other").await, 401, "nor about good ones");
    assert_eq!(issuer.asked("good-other"), 0);
    assert_eq!(call_strangely(&gateway, "good-before").await, 200, "what is known is known");
    assert_eq!(call(&gateway, "good-other").await, 200, "another address");
    gateway.advance(Duration::from_secs(601));
    assert_eq!(call_strangely(&gateway, "made-up-11").await, 401);
    assert_eq!(issuer.asked("made-up"), 4, "the window ended");
    assert_eq!(call_strangely(&gateway, "good-before").await, 200, "known, and asked again");
    assert_eq!(upstream.received().len(), 4);
}

#[tokio::test]
async fn a_token_that_was_tried_before_counts_once() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let limit = "[login_limits]\nper_address = { attempts = 3, per = \"10m\" }";
    let gateway = issuer.gateway(&upstream).config(limit).moving().start().await;

    // A client that does not give up on a token which has ended.
    for _ in 0..10 {
        assert_eq!(call(&gateway, "ended").await, 401);
        gateway.advance(Duration::from_secs(6));
    }

    assert_eq!(issuer.asked("ended"), 10);
    assert_eq!(call(&gateway, "good").await, 200);
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_good_token_is_asked_about_again_before_its_verdict_ends() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let gateway = issuer.gateway(&upstream).moving().start().await;
    issuer.state.answers.add_permits(1);
    assert_eq!(call(&gateway, "slow-good").await, 200);
    assert_eq!(issuer.asked("slow"), 1);

    gateway.advance(Duration::from_secs(25));
    assert_eq!(call(&gateway, "slow-good").await, 200, "by what was said before");
    issuer.until("it is asked again", |issuer| issuer.asked("slow") == 2).await;
    gateway.advance(Duration::from_secs(7));
    assert_eq!(call(&gateway, "slow-good").await, 200, "while the question is under way");

    issuer.state.answers.add_permits(1);
    issuer.until("it is answered", |issuer| issuer.state.waiting.load(Ordering::SeqCst) == 0).await;
    gateway.advance(Duration::from_secs(5));
    // The answer counts from when it was asked: nobody has waited, nor has to now.
    let answered =
        tokio::time::timeout(PATIENCE, async { while call(&gateway, "slow-good").await != 200 {} });
    answered.await.unwrap();
    assert_eq!(issuer.asked("slow"), 2);
}
