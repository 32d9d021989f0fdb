//! An upstream whose connections are served by the test itself, over whatever can carry HTTP.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::certs::CertificateAuthority;
use super::client::Stream;

/// What the upstream and the gateway speak to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceProtocol {
    /// HTTP/1.1 within TLS.
    Http1,
    /// HTTP/2 within TLS; the server has nothing else.
    Http2,
    /// HTTP/2 within TLS; the server has both.
    Both,
    /// HTTP/2 with prior knowledge, without TLS.
    Plain,
}

/// The upstream.
pub struct Service {
    address: SocketAddr,
    over: ServiceProtocol,
    dir: TempDir,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Service {
    /// Gives every connection to `serve`, with whether it is to be one of HTTP/2.
    pub async fn start<S, F>(over: ServiceProtocol, serve: S) -> Self
    where
        S: Fn(Box<dyn Stream>, bool) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (authority, dir) = (CertificateAuthority::new(), tempfile::tempdir().unwrap());
        std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        let acceptor = match over {
            ServiceProtocol::Http1 => Some(authority.speaking("localhost", &[b"http/1.1"])),
            ServiceProtocol::Http2 => Some(authority.speaking("localhost", &[b"h2"])),
            ServiceProtocol::Both => Some(authority.speaking("localhost", &[b"h2", b"http/1.1"])),
            ServiceProtocol::Plain => None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let task = tokio::task::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                stream.set_nodelay(true).unwrap();
                let (serve, acceptor) = (serve.clone(), acceptor.clone());
                tokio::task::spawn(async move {
                    let Some(acceptor) = acceptor else {
                        return serve(Box::new(stream), true).await;
                    };
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    serve(Box::new(stream), http2).await;
                });
            }
        });
        Self { address, over, dir, accepted, task }
    }

    /// An upstream and a route `/` to it, each with further keys.
    pub fn config(&self, upstream: &str, route: &str) -> String {
        let port = self.address.port();
        let (server, tls) = match self.over {
            ServiceProtocol::Plain => (format!("http://127.0.0.1:{port}"), String::new()),
            _ => (format!("https://localhost:{port}"), format!("tls = {{ ca = {:?} }}", self.ca())),
        };
        format!(
            "[[upstream]]\nname = \"service\"\nservers = [\"{server}\"]\nhttp2 = {http2}\n{tls}\n\
             {upstream}\n[[route]]\nname = \"service\"\npath = \"/\"\nupstream = \"service\"\n{route}",
            http2 = self.over != ServiceProtocol::Http1,
        )
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The CA that signed its certificate.
    pub fn ca(&self) -> Box<Path> {
        self.dir.path().join("ca.pem").into()
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}
