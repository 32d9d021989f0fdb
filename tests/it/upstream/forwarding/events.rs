//! Server-sent events: each arrives before there is another one, whatever both sides speak.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::harness::client::{PATIENCE, Stream};
use crate::harness::tls_gateway::TlsGateway;
use crate::harness::{Client, Service, ServiceProtocol};

/// An event for each permit.
async fn serve(stream: Box<dyn Stream>, http2: bool, go_on: Arc<Semaphore>) {
    let service = service_fn(move |_: Request<Incoming>| {
        let events = stream::unfold((go_on.clone(), 0), |(go_on, number)| async move {
            go_on.acquire().await.unwrap().forget();
            let event = Bytes::from(format!("data: {number}\n\n"));
            Some((Ok::<_, Infallible>(Frame::data(event)), (go_on, number + 1)))
        });
        let answer = Response::builder().header("content-type", "text/event-stream");
        let answer = answer.body(StreamBody::new(Box::pin(events))).unwrap();
        async move { Ok::<_, Infallible>(answer) }
    });
    let io = TokioIo::new(stream);
    if http2 {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(io, service).await;
    } else {
        let server = hyper::server::conn::http1::Builder::new();
        let _ = server.serve_connection(io, service).await;
    }
}

async fn listen(client: &Client) -> Response<Incoming> {
    let io = TokioIo::new(client.connect().await);
    let request = Request::get("https://localhost/events").header("host", "localhost");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    if client.http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::task::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::task::spawn(connection);
        sender.send_request(request).await.unwrap()
    }
}

#[tokio::test]
async fn an_event_arrives_before_the_next_one_is_sent() {
    for over in [ServiceProtocol::Http1, ServiceProtocol::Http2, ServiceProtocol::Plain] {
        for http2 in [false, true] {
            let go_on = Arc::new(Semaphore::new(0));
            let permits = go_on.clone();
            let service =
                Service::start(over, move |stream, http2| serve(stream, http2, permits.clone()));
            let (service, secure) = (service.await, TlsGateway::new());
            let builder = secure.builder().config(&service.config("", "auth = []"));
            let gateway = builder.start().await;
            let client = secure.client(&gateway, http2);
            let mut answer =
                timeout(PATIENCE, listen(&client)).await.expect("the head before any event");

            for number in 0..5 {
                go_on.add_permits(1);
                let frame = timeout(PATIENCE, answer.frame()).await.expect("the event in time");
                let event = frame.unwrap().unwrap().into_data().unwrap();
                assert_eq!(event, format!("data: {number}\n\n"), "{over:?} {http2}");
            }
        }
    }
}
