//! A server in front of an ACME server that keeps what it was asked, and adds what Debian's Pebble
//! does not have: information about renewals (RFC 9773). It can also refuse orders, and hold a
//! challenge back.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::client::PATIENCE;
use super::{Pebble, certs};

const RENEWAL_INFO: &str = "/renewal-info";
const NEW_ORDER: &str = "/order-plz";
/// The part of a challenge's URL that no other URL of Pebble has.
const CHALLENGE: &str = "/chalZ/";

/// The server; it stops when dropped.
pub struct AcmeRelay {
    pub port: u16,
    state: Arc<RelayState>,
    task: JoinHandle<()>,
}

struct RelayState {
    port: u16,
    pebble: u16,
    to_pebble: TlsConnector,
    /// Method and path of each request, with the payload of one that was signed.
    seen: watch::Sender<Vec<(String, Value)>>,
    /// The window that is suggested, as RFC 3339.
    window: Mutex<Option<(String, String)>>,
    /// The answer to each new order, if there are to be none.
    refusal: Mutex<Option<(u16, &'static str)>>,
    /// Challenges are not passed on while this is true.
    held: watch::Sender<bool>,
}

impl AcmeRelay {
    pub async fn start(pebble: &Pebble) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor: TlsAcceptor = pebble.authority().acceptor("localhost");
        let client = certs::trusting(&[pebble.authority().der()], &[b"http/1.1"]);
        let state = Arc::new(RelayState {
            port,
            pebble: pebble.port,
            to_pebble: TlsConnector::from(client),
            seen: watch::Sender::default(),
            window: Mutex::default(),
            refusal: Mutex::default(),
            held: watch::Sender::default(),
        });
        let serving = state.clone();
        let task = tokio::task::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), serving.clone());
                tokio::task::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        let state = state.clone();
                        async move { Ok::<_, Infallible>(state.answer(request).await) }
                    });
                    let http1 = hyper::server::conn::http1::Builder::new();
                    let _ = http1.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { port, state, task }
    }

    /// Suggests this window for every certificate from now on.
    pub fn suggest(&self, start: &str, end: &str) {
        *self.state.window.lock().unwrap() = Some((start.to_owned(), end.to_owned()));
    }

    /// Answers new orders with this status and `Retry-After`; `None`: passes them on again.
    pub fn refuse(&self, answer: Option<(u16, &'static str)>) {
        *self.state.refusal.lock().unwrap() = answer;
    }

    /// Passes no challenge on until `release`.
    pub fn hold(&self) {
        self.state.held.send_replace(true);
    }

    pub fn release(&self) {
        self.state.held.send_replace(false);
    }

    /// The payloads of the requests to place an order.
    pub fn orders(&self) -> Vec<Value> {
        self.asked(NEW_ORDER)
    }

    /// How often it was asked when to renew.
    pub fn questions(&self) -> usize {
        self.asked(RENEWAL_INFO).len()
    }

    fn asked(&self, path: &str) -> Vec<Value> {
        let seen = self.state.seen.borrow();
        let here = seen.iter().filter(|(asked, _)| asked.contains(path));
        here.map(|(_, payload)| payload.clone()).collect()
    }

    /// Waits until so many orders were placed.
    pub async fn ordered(&self, times: usize) {
        self.wait_for(NEW_ORDER, times).await;
    }

    /// Waits until it was asked so often when to renew.
    pub async fn questioned(&self, times: usize) {
        self.wait_for(RENEWAL_INFO, times).await;
    }

    /// Waits until a challenge is to be verified.
    pub async fn challenged(&self) {
        self.wait_for(CHALLENGE, 1).await;
    }

    async fn wait_for(&self, path: &str, times: usize) {
        let mut seen = self.state.seen.subscribe();
        let enough = seen.wait_for(|seen| {
            seen.iter().filter(|(asked, _)| asked.contains(path)).count() >= times
        });
        let waited = tokio::time::timeout(PATIENCE, enough).await;
        waited.unwrap_or_else(|_| panic!("{path} was not asked for {times} times")).unwrap();
    }
}

impl Drop for AcmeRelay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RelayState {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = head.uri.path().to_owned();
        let payload = payload_of(&body);
        let asked = format!("{} {path}", head.method);
        self.seen.send_modify(|seen| seen.push((asked, payload.clone())));
        if path.starts_with(RENEWAL_INFO) {
            return self.suggestion();
        }
        if let Some((status, wait)) = self.refusal.lock().unwrap().filter(|_| path == NEW_ORDER) {
            let problem = json!({ "type": "urn:ietf:params:acme:error:rateLimited",
                                  "detail": "too many certificates", "status": status });
            return answer_json(status, &problem).with_wait(wait);
        }
        if path.starts_with(CHALLENGE) {
            self.held.subscribe().wait_for(|held| !held).await.unwrap();
        }
        let answer = self.pass(Request::from_parts(head, Full::new(body))).await;
        let (mut head, body) = answer.into_parts();
        let Ok(mut document) = serde_json::from_slice::<Value>(&body) else {
            return Response::from_parts(head, Full::new(body));
        };
        let has_window = self.window.lock().unwrap().is_some();
        if path == "/dir" && has_window {
            document["renewalInfo"] =
                format!("https://localhost:{}{RENEWAL_INFO}", self.port).into();
        }
        if path == NEW_ORDER && payload["replaces"].is_string() {
            document["replaces"] = payload["replaces"].clone();
        }
        head.headers.remove("content-length");
        Response::from_parts(head, Full::new(document.to_string().into()))
    }

    fn suggestion(&self) -> Response<Full<Bytes>> {
        let window = self.window.lock().unwrap().clone();
        let (start, end) = window.expect("the directory was without it");
        let document = json!({ "suggestedWindow": { "start": start, "end": end } });
        answer_json(200, &document).with_wait("21600")
    }

    /// Passes a request on as it is. The `Host` is kept: Pebble makes its URLs of it.
    async fn pass(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let tcp = TcpStream::connect(("127.0.0.1", self.pebble)).await;
        let Ok(tcp) = tcp else {
            return Response::builder().status(502).body(Bytes::from("pebble is down")).unwrap();
        };
        let name = "localhost".try_into().unwrap();
        let stream = self.to_pebble.connect(name, tcp).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driving = tokio::task::spawn(connection);
        let answer = sender.send_request(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = tokio::time::timeout(Duration::from_secs(10), body.collect()).await;
        driving.abort();
        Response::from_parts(head, body.unwrap().unwrap().to_bytes())
    }
}

fn answer_json(status: u16, document: &Value) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(status).header("content-type", "application/json");
    answer.body(Full::new(document.to_string().into())).unwrap()
}

trait WithWait {
    fn with_wait(self, wait: &str) -> Self;
}

impl<B> WithWait for Response<B> {
    fn with_wait(mut self, wait: &str) -> Self {
        self.headers_mut().insert("retry-after", wait.parse().unwrap());
        self
    }
}

/// What was signed; `Null` if nothing was.
fn payload_of(body: &[u8]) -> Value {
    let signed = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let payload = signed["payload"].as_str().unwrap_or_default();
    let payload = URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&payload).unwrap_or_default()
}
