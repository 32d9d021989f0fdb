//! Clients: one connection a request, so that no test depends on another's.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::certs::{self, Certificate};

/// No answer of a test takes this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where and how to connect.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub tls: Option<(Arc<rustls::ClientConfig>, String)>,
    pub http2: bool,
}

/// A request being written.
pub struct TestRequest<'a> {
    client: &'a Client,
    request: http::request::Builder,
    body: Bytes,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Client {
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None, http2: false }
    }

    /// A client over TLS that trusts this certificate of `localhost` alone.
    pub fn trusting(address: SocketAddr, certificate: &Certificate, http2: bool) -> Self {
        let protocol: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
        let tls = certs::trusting(std::slice::from_ref(&certificate.der), &[protocol]);
        Self { address, tls: Some((tls, "localhost".into())), http2 }
    }

    pub fn get(&self, path: &str) -> TestRequest<'_> {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> TestRequest<'_> {
        self.call(Method::POST, path)
    }

    pub fn call(&self, method: Method, path: &str) -> TestRequest<'_> {
        let uri = if self.http2 { format!("https://localhost{path}") } else { path.to_owned() };
        let request = Request::builder().method(method).uri(uri);
        let request = if self.http2 { request } else { request.header("host", "localhost") };
        TestRequest { client: self, request, body: Bytes::new() }
    }

    /// Tries a TLS handshake and a request; what is answered, which is nothing after a refusal.
    pub async fn try_handshake(&self) -> Vec<u8> {
        let (config, name) = self.tls.clone().expect("a client over TLS");
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let connecting = TlsConnector::from(config).connect(name.try_into().unwrap(), tcp);
        let mut answer = Vec::new();
        // In TLS 1.3 the client learns of the refusal only when it reads.
        if let Ok(mut stream) = connecting.await {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            let _ = stream.read_to_end(&mut answer).await;
        }
        answer
    }

    /// An open connection to the gateway, TLS included.
    pub async fn connect(&self) -> Box<dyn Stream> {
        self.try_connect().await.unwrap()
    }

    async fn try_connect(&self) -> io::Result<Box<dyn Stream>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(tcp),
            Some((config, name)) => {
                let name = ServerName::try_from(name.clone()).unwrap();
                Box::new(TlsConnector::from(config.clone()).connect(name, tcp).await?)
            }
        })
    }
}

impl TestRequest<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// How many fields it has so far.
    pub fn header_count(&self) -> usize {
        self.request.headers_ref().map_or(0, HeaderMap::len)
    }

    /// Replaces the `Host` that every call has.
    pub fn host(mut self, host: &str) -> Self {
        self.request.headers_mut().unwrap().insert("host", host.parse().unwrap());
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn pair(self, token: &str, key: &str) -> Self {
        self.header("x-access-token", token).header("x-key", key)
    }

    pub fn basic(self, name: &str, password: &str) -> Self {
        use base64::Engine;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        self.header("authorization", &format!("Basic {pair}"))
    }

    pub fn json(self, body: Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub async fn send(self) -> Reply {
        let exchange = tokio::time::timeout(PATIENCE, self.exchange());
        exchange.await.expect("an answer in time").unwrap()
    }

    /// The answer, if there is a whole one: a server that ends meanwhile is expected.
    pub async fn attempt(self) -> Option<Reply> {
        tokio::time::timeout(PATIENCE, self.exchange()).await.expect("an answer in time").ok()
    }

    async fn exchange(self) -> Result<Reply, Box<dyn Error + Send + Sync>> {
        let io = TokioIo::new(self.client.try_connect().await?);
        let request = self.request.body(Full::new(self.body))?;
        let response = if self.client.http2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::task::spawn(connection);
            sender.send_request(request).await?
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::task::spawn(connection);
            sender.send_request(request).await?
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }
}

impl Reply {
    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}: {}", self.status, self.text());
        self
    }

    #[track_caller]
    pub fn assert_header(&self, name: &str, value: &str) -> &Self {
        let found = self.headers.get(name).map(|found| found.to_str().unwrap());
        assert_eq!(found, Some(value), "header {name}");
        self
    }

    /// problem+json's stable code.
    #[track_caller]
    pub fn assert_code(&self, code: &str) -> &Self {
        assert_eq!(self.json()["code"], code, "{}", self.text());
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// A text member of the JSON body.
    #[track_caller]
    pub fn member(&self, name: &str) -> String {
        match &self.json()[name] {
            Value::String(text) => text.clone(),
            other => panic!("no text member {name} but {other} in {}", self.text()),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Sends bytes as they are and reads until the other side closes or `PATIENCE` is over.
pub async fn raw_exchange(client: &Client, bytes: &[u8]) -> String {
    let mut stream = client.connect().await;
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    // A connection cut without notice has still answered what was read.
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("the connection closes in time");
    String::from_utf8_lossy(&answer).into_owned()
}
