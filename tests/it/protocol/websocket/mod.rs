//! WebSockets through a whole gateway, by `Upgrade` and by extended CONNECT, on either side.

mod ends;
mod passing;
mod refused;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use crate::harness::client::{PATIENCE, Stream};
use crate::harness::gateway::PASSWORD;
use crate::harness::tls_gateway::TlsGateway;
use crate::harness::{Client, Gateway, GatewayBuilder, Service, ServiceProtocol};
use crate::protocol::streams::Socket;

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Upgrade,
    Connect,
}

const BOTH: [By; 2] = [By::Upgrade, By::Connect];

/// A gateway that ends TLS.
struct Front {
    gateway: Gateway,
    http1: Client,
    http2: Client,
}

impl Front {
    async fn before(config: &str) -> Self {
        let secure = TlsGateway::new();
        Self::start(&secure, secure.builder().config(config)).await
    }

    async fn start(secure: &TlsGateway, builder: GatewayBuilder) -> Self {
        let gateway = builder.login("native").start().await;
        let (http1, http2) = (secure.client(&gateway, false), secure.client(&gateway, true));
        Self { gateway, http1, http2 }
    }

    async fn token(&self) -> String {
        let login = serde_json::json!({ "username": "alice", "password": PASSWORD });
        let reply = self.http1.post("/auth/login").json(login).send().await;
        reply.assert_status(200).member("access_token")
    }

    /// A WebSocket of whoever has `token`, or the status that there is none with.
    async fn open(&self, by: By, token: Option<&str>) -> Result<Socket, StatusCode> {
        let opening = async {
            match by {
                By::Upgrade => self.upgrade(token).await,
                By::Connect => {
                    let answer = self.connect(Some("websocket"), "/socket?a=b", token).await;
                    opened(answer).await
                }
            }
        };
        timeout(PATIENCE, opening).await.expect("an answer in time")
    }

    async fn upgrade(&self, token: Option<&str>) -> Result<Socket, StatusCode> {
        let mut request = "wss://localhost/socket?a=b".into_client_request().unwrap();
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        match client_async(request, self.http1.connect().await).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(answer)) => Err(answer.status()),
            Err(other) => panic!("{other}"),
        }
    }

    /// The answer to a CONNECT on a connection of its own.
    async fn connect(
        &self,
        protocol: Option<&'static str>,
        path: &str,
        token: Option<&str>,
    ) -> Response<Incoming> {
        let io = TokioIo::new(self.http2.connect().await);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (mut sender, mut connection) = handshake.await.unwrap();
        while !connection.is_extended_connect_protocol_enabled() {
            tokio::select! {
                ended = &mut connection => panic!("{ended:?}"),
                () = tokio::time::sleep(Duration::from_millis(1)) => (),
            }
        }
        tokio::task::spawn(connection);
        let target = match protocol {
            Some(_) => format!("https://localhost{path}"),
            None => "localhost:443".to_owned(),
        };
        let mut request = Request::connect(target).header("sec-websocket-version", "13");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(protocol) = protocol {
            request = request.extension(Protocol::from_static(protocol));
        }
        sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap()
    }
}

/// The WebSocket that a CONNECT has opened.
async fn opened(mut answer: Response<Incoming>) -> Result<Socket, StatusCode> {
    if !answer.status().is_success() {
        return Err(answer.status());
    }
    for name in ["upgrade", "connection", "sec-websocket-accept"] {
        assert!(!answer.headers().contains_key(name), "{name} is the other way's");
    }
    let upgraded = hyper::upgrade::on(&mut answer).await.unwrap();
    let stream: Box<dyn Stream> = Box::new(TokioIo::new(upgraded));
    Ok(WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
}

/// What a parrot was asked with.
type Asked = Arc<Mutex<Vec<(Method, HeaderMap)>>>;

/// Repeats what it is told, and closes at "bye".
struct EchoWebSocket {
    service: Service,
    asked: Asked,
}

impl EchoWebSocket {
    /// Over HTTP/2 it lets WebSockets be opened only if it `opens` them.
    async fn start(over: ServiceProtocol, opens: bool) -> Self {
        let asked = Asked::default();
        let seen = asked.clone();
        let service = Service::start(over, move |stream, http2| {
            let seen = seen.clone();
            async move {
                match http2 {
                    true => serve_http2(stream, opens, seen).await,
                    false => serve_http1(stream, seen).await,
                }
            }
        });
        Self { service: service.await, asked }
    }

    fn only(&self) -> (Method, HeaderMap) {
        let asked = self.asked.lock().unwrap();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked[0].clone()
    }
}

async fn serve_http1(stream: Box<dyn Stream>, asked: Asked) {
    // The size of the error is tungstenite's affair.
    #[allow(clippy::result_large_err)]
    let note = |request: &Request<()>, answer| {
        let seen = (request.method().clone(), request.headers().clone());
        asked.lock().unwrap().push(seen);
        Ok(answer)
    };
    if let Ok(socket) = accept_hdr_async(stream, note).await {
        converse(socket).await;
    }
}

async fn serve_http2(stream: Box<dyn Stream>, opens: bool, asked: Asked) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        let seen = (request.method().clone(), request.headers().clone());
        asked.lock().unwrap().push(seen);
        let protocol = request.extensions().get::<Protocol>().map(|p| p.as_str().to_owned());
        let mut answer = Response::new(Empty::<Bytes>::new());
        if opens && protocol.as_deref() == Some("websocket") {
            let upgrading = hyper::upgrade::on(&mut request);
            tokio::task::spawn(async move {
                let Ok(upgraded) = upgrading.await else { return };
                let stream = TokioIo::new(upgraded);
                converse(WebSocketStream::from_raw_socket(stream, Role::Server, None).await).await;
            });
        } else {
            *answer.status_mut() = StatusCode::UPGRADE_REQUIRED;
        }
        async move { Ok::<_, std::convert::Infallible>(answer) }
    });
    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    if opens {
        server.enable_connect_protocol();
    }
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    while let Some(Ok(message)) = socket.next().await {
        let done = match message {
            Message::Text(text) if text.as_str() == "bye" => {
                let frame = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
                socket.close(Some(frame)).await
            }
            Message::Text(_) | Message::Binary(_) => socket.send(message).await,
            _ => Ok(()),
        };
        if done.is_err() {
            return;
        }
    }
}

/// Every kind of upstream that a WebSocket can reach.
const UPSTREAMS: [(ServiceProtocol, bool); 4] = [
    (ServiceProtocol::Http1, false),
    (ServiceProtocol::Http2, true),
    (ServiceProtocol::Plain, true),
    (ServiceProtocol::Both, false),
];
