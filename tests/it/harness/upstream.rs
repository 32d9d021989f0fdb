//! An upstream service on port 0 that records what it saw.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    pub method: Method,
    /// Path and query, byte for byte.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl ReceivedRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

type Answer = Arc<dyn Fn(&ReceivedRequest) -> Response<Bytes> + Send + Sync>;

/// The service.
pub struct Upstream {
    pub address: SocketAddr,
    journal: Arc<Mutex<Vec<ReceivedRequest>>>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Answers everything with 200 and `{"upstream":true}`.
    pub async fn start() -> Self {
        Self::answering(|_| {
            Response::builder()
                .header("content-type", "application/json")
                .body(Bytes::from_static(b"{\"upstream\":true}"))
                .unwrap()
        })
        .await
    }

    /// Answers as told.
    pub async fn answering<F>(answer: F) -> Self
    where
        F: Fn(&ReceivedRequest) -> Response<Bytes> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let journal = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::task::spawn(accept(listener, journal.clone(), Arc::new(answer)));
        Self { address, journal, task }
    }

    /// The `http://` URL of this service.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What arrived so far.
    pub fn received(&self) -> Vec<ReceivedRequest> {
        self.journal.lock().unwrap().clone()
    }

    /// The one request that arrived.
    #[track_caller]
    pub fn only(&self) -> ReceivedRequest {
        let received = self.received();
        assert_eq!(received.len(), 1, "exactly one request: {received:?}");
        received.into_iter().next().unwrap()
    }

    /// The latest request.
    #[track_caller]
    pub fn last(&self) -> ReceivedRequest {
        self.received().pop().expect("a request arrived")
    }

    /// Nothing arrived.
    #[track_caller]
    pub fn assert_untouched(&self) {
        let received = self.received();
        assert!(received.is_empty(), "the upstream saw {received:?}");
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, journal: Arc<Mutex<Vec<ReceivedRequest>>>, answer: Answer) {
    while let Ok((stream, _)) = listener.accept().await {
        let (journal, answer) = (journal.clone(), answer.clone());
        tokio::task::spawn(async move {
            let service = service_fn(move |request: http::Request<Incoming>| {
                let (journal, answer) = (journal.clone(), answer.clone());
                async move { Ok::<_, Infallible>(record(request, &journal, &answer).await) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn record(
    request: http::Request<Incoming>,
    journal: &Mutex<Vec<ReceivedRequest>>,
    answer: &Answer,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("", |target| target.as_str()).to_owned();
    let received = ReceivedRequest {
        method: head.method,
        target,
        headers: head.headers,
        body: body.collect().await.map(|body| body.to_bytes()).unwrap_or_default(),
    };
    let response = answer(&received);
    journal.lock().unwrap().push(received);
    response.map(Full::new)
}
