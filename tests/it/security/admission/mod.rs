//! One hostile client beside everybody else: what it may have, and what the others still get.

mod bodies; // login bodies in memory: places, bytes, time
mod hostile; // floods of logins on many connections and streams
mod places; // places at logins and at the sources of users
mod tokens; // made-up opaque tokens

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::gateway::PASSWORD;
use crate::harness::{Client, Gateway, Reply};

/// The address of the hostile client; all others come from 127.0.0.1.
const STRANGER: [u8; 4] = [127, 0, 0, 2];

/// Two logins: `/file` of the users in a file, `/dir` of those in a directory.
const TWO_LOGINS: &str = "[[login]]\ndialect = \"native\"\nname = \"file\"\nprefix = \"/file\"\n\
     users = [\"staff\"]\n\
     [[login]]\ndialect = \"native\"\nname = \"dir\"\nprefix = \"/dir\"\nusers = [\"directory\"]\n";

/// A connection of the hostile client.
async fn strange(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((STRANGER, 0).into()).unwrap();
    let stream = socket.connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// What sends requests on one connection.
enum Sender {
    Http1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Http2(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn http1(to: SocketAddr) -> Self {
        let io = TokioIo::new(strange(to).await);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::task::spawn(connection);
        Self::Http1(sender)
    }

    async fn http2(to: SocketAddr, tls: Arc<rustls::ClientConfig>) -> Self {
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let connector = tokio_rustls::TlsConnector::from(tls);
        let io = TokioIo::new(connector.connect(name, strange(to).await).await.unwrap());
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::task::spawn(connection);
        Self::Http2(sender)
    }

    /// Another stream of the same HTTP/2 connection.
    fn again(&self) -> Self {
        match self {
            Self::Http1(_) => panic!("a connection of HTTP/1.1 has one stream"),
            Self::Http2(sender) => Self::Http2(sender.clone()),
        }
    }

    /// Posts JSON; `None` where the connection was closed.
    async fn post(&mut self, path: &str, body: &Value) -> Option<StatusCode> {
        let request = |path: String| {
            Request::post(path)
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(body.to_string())))
        };
        let mut answer = match self {
            Self::Http1(sender) => {
                let mut request = request(path.to_owned()).unwrap();
                request.headers_mut().insert("host", "localhost".parse().unwrap());
                sender.ready().await.ok()?;
                sender.send_request(request).await.ok()?
            }
            Self::Http2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await.ok()?;
                let request = request(format!("https://localhost{path}")).unwrap();
                sender.send_request(request).await.ok()?
            }
        };
        while let Some(frame) = answer.body_mut().frame().await {
            frame.ok()?;
        }
        Some(answer.status())
    }
}

/// A guess at the password of somebody.
fn guess(name: &str) -> Value {
    json!({ "username": name, "password": "a guess" })
}

/// Logs in, refreshes and logs out at a `native` login below `prefix`, as everybody else does.
async fn live_a_session(client: &Client, prefix: &str, name: &str) {
    let login = json!({ "username": name, "password": PASSWORD });
    let login = client.post(&format!("{prefix}/auth/login")).json(login).send().await;
    let token = login.assert_status(200).member("refresh_token");
    let refresh = json!({ "refresh_token": token });
    let refreshed = client.post(&format!("{prefix}/auth/refresh")).json(refresh).send().await;
    let token = refreshed.assert_status(200).member("access_token");
    let logout: Reply = client.post(&format!("{prefix}/auth/logout")).bearer(&token).send().await;
    assert!(logout.status.is_success(), "{logout:?}");
}

/// A value of the metrics.
pub(crate) async fn metric(gateway: &Gateway, name: &str) -> u64 {
    let admin = Client::plain(gateway.running().admin_address().unwrap());
    let text = admin.get("/metrics").send().await.assert_status(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}
