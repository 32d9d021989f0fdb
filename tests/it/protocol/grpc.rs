//! gRPC through a whole gateway, with a real client and a real server, and TLS on the way.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::client::Grpc as Client;
use tonic::metadata::MetadataMap;
use tonic::server::Grpc as Server;
use tonic::server::{
    ClientStreamingService, ServerStreamingService, StreamingService, UnaryService,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::harness::client::{PATIENCE, Stream as Io};
use crate::harness::gateway::PASSWORD;
use crate::harness::scripted_upstream::{closed_port, eventually};
use crate::harness::tls_gateway::TlsGateway;
use crate::harness::{Client as Plain, Gateway, Service, ServiceProtocol};

#[derive(Clone, PartialEq, prost::Message)]
struct Word {
    #[prost(string, tag = "1")]
    text: String,
}

fn word(text: &str) -> Word {
    Word { text: text.to_owned() }
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;
type Words = Pin<Box<dyn Stream<Item = Result<Word, Status>> + Send>>;

/// The service, and what it has seen.
#[derive(Clone)]
struct Speech {
    seen: Arc<Mutex<Vec<HeaderMap>>>,
    /// A permit for every word that a stream of the server's may go on with.
    go_on: Arc<Semaphore>,
    /// Closed when a stream of the server's was dropped before its end.
    dropped: Arc<Semaphore>,
}

impl Speech {
    fn new() -> Self {
        let empty = || Arc::new(Semaphore::new(0));
        Self { seen: Arc::default(), go_on: empty(), dropped: empty() }
    }

    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// Says the word again, or fails in every way there is.
impl UnaryService<Word> for Speech {
    type Response = Word;
    type Future = Answer<Word>;

    fn call(&mut self, request: Request<Word>) -> Self::Future {
        Box::pin(async move {
            let word = request.into_inner();
            match word.text.as_str() {
                "fail" => {
                    let mut more = MetadataMap::new();
                    more.insert("x-hint", "try later".parse().unwrap());
                    let details = Bytes::from_static(b"\x08\x01details");
                    let message = "100% wrong: \u{2603}";
                    Err(Status::with_details_and_metadata(
                        Code::FailedPrecondition,
                        message,
                        details,
                        more,
                    ))
                }
                _ => Ok(Response::new(word)),
            }
        })
    }
}

/// Says the word again each time that it may.
impl ServerStreamingService<Word> for Speech {
    type Response = Word;
    type ResponseStream = Words;
    type Future = Answer<Words>;

    fn call(&mut self, request: Request<Word>) -> Self::Future {
        let (word, guard) = (request.into_inner(), Dropped(self.dropped.clone()));
        let go_on = self.go_on.clone();
        let words = stream::unfold((go_on, guard), move |(go_on, guard)| {
            let word = word.clone();
            async move {
                go_on.acquire().await.unwrap().forget();
                Some((Ok(word), (go_on, guard)))
            }
        });
        Box::pin(async move { Ok(Response::new(Box::pin(words) as Words)) })
    }
}

struct Dropped(Arc<Semaphore>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Says all the words as one.
impl ClientStreamingService<Word> for Speech {
    type Response = Word;
    type Future = Answer<Word>;

    fn call(&mut self, request: Request<Streaming<Word>>) -> Self::Future {
        Box::pin(async move {
            let mut words = request.into_inner();
            let mut all = String::new();
            while let Some(word) = words.message().await? {
                all.push_str(&word.text);
            }
            Ok(Response::new(word(&all)))
        })
    }
}

/// Says every word again as soon as it comes.
impl StreamingService<Word> for Speech {
    type Response = Word;
    type ResponseStream = Words;
    type Future = Answer<Words>;

    fn call(&mut self, request: Request<Streaming<Word>>) -> Self::Future {
        let words = Box::pin(request.into_inner()) as Words;
        Box::pin(async move { Ok(Response::new(words)) })
    }
}

impl Speech {
    async fn start(&self, over: ServiceProtocol) -> Service {
        let speech = self.clone();
        Service::start(over, move |stream, http2| {
            assert!(http2);
            speech.clone().serve(stream)
        })
        .await
    }

    async fn serve(self, stream: Box<dyn Io>) {
        let service = service_fn(move |request| {
            let speech = self.clone();
            async move { speech.answer(request).await }
        });
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn answer(
        self,
        request: http::Request<Incoming>,
    ) -> Result<http::Response<Body>, Status> {
        self.seen.lock().unwrap().push(request.headers().clone());
        let mut server = Server::new(ProstCodec::<Word, Word>::default());
        Ok(match request.uri().path() {
            "/test.Speech/Say" => server.unary(self, request).await,
            "/test.Speech/Repeat" => server.server_streaming(self, request).await,
            "/test.Speech/Join" => server.client_streaming(self, request).await,
            "/test.Speech/Talk" => server.streaming(self, request).await,
            // Hyper resets the stream of a service that fails.
            _ => return Err(Status::internal("reset")),
        })
    }
}

/// Connections of the gateway's clients as tonic wants them.
#[derive(Clone)]
struct Connector(Plain);

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move { Ok(TokioIo::new(client.connect().await)) })
    }
}

/// A gateway that ends TLS, before whatever `config` says.
struct Front {
    gateway: Gateway,
    client: Plain,
}

impl Front {
    async fn before(config: &str) -> Self {
        let secure = TlsGateway::new();
        let gateway = secure.builder().login("native").config(config).start().await;
        let client = secure.client(&gateway, true);
        Self { gateway, client }
    }

    async fn call(&self) -> Client<Channel> {
        let origin = Uri::from_static("https://localhost");
        let endpoint = Endpoint::from_static("http://localhost").origin(origin);
        let channel = endpoint.connect_with_connector(Connector(self.client.clone()));
        let mut client = Client::new(channel.await.unwrap());
        client.ready().await.unwrap();
        client
    }

    async fn token(&self, name: &str) -> String {
        let login = serde_json::json!({ "username": name, "password": PASSWORD });
        let reply = self.client.post("/auth/login").json(login).send().await;
        reply.assert_status(200).member("access_token")
    }

    async fn say(&self, token: Option<&str>, text: &str) -> Result<Response<Word>, Status> {
        let request = with(token, word(text));
        let saying = async { self.call().await.unary(request, path("Say"), codec()).await };
        timeout(PATIENCE, saying).await.expect("an answer in time")
    }
}

fn with<T>(token: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

fn path(method: &str) -> PathAndQuery {
    format!("/test.Speech/{method}").parse().unwrap()
}

fn codec() -> ProstCodec<Word, Word> {
    ProstCodec::default()
}

/// The next word.
async fn next(words: &mut Streaming<Word>) -> String {
    let next = timeout(PATIENCE, words.message()).await.expect("a word in time");
    next.unwrap().expect("another word").text
}

#[tokio::test]
async fn every_kind_of_call_passes_with_and_without_tls_to_the_upstream() {
    for over in [ServiceProtocol::Http2, ServiceProtocol::Plain] {
        let speech = Speech::new();
        let service = speech.start(over).await;
        let front = Front::before(&service.config("", "")).await;
        let token = front.token("alice").await;
        let token = Some(token.as_str());

        let said = front.say(token, "hello").await.unwrap();
        assert_eq!(said.get_ref().text, "hello", "{over:?}");
        assert_eq!(said.metadata().get("grpc-status").unwrap(), "0", "the trailers: {over:?}");

        speech.go_on.add_permits(1);
        let words = with(token, word("again"));
        let words = front.call().await.server_streaming(words, path("Repeat"), codec()).await;
        let mut words = words.unwrap().into_inner();
        assert_eq!(next(&mut words).await, "again", "before there is another one");
        speech.go_on.add_permits(1);
        assert_eq!(next(&mut words).await, "again");

        let parts = stream::iter(["a", "b", "c"].map(word));
        let joined =
            front.call().await.client_streaming(with(token, parts), path("Join"), codec()).await;
        assert_eq!(joined.unwrap().into_inner().text, "abc", "{over:?}");

        let (say, said) = mpsc::channel(1);
        let talk = with(token, ReceiverStream::new(said));
        say.send(word("0")).await.unwrap();
        let talk = front.call().await.streaming(talk, path("Talk"), codec()).await;
        let mut heard = talk.unwrap().into_inner();
        assert_eq!(next(&mut heard).await, "0");
        for number in 1..20 {
            say.send(word(&number.to_string())).await.unwrap();
            assert_eq!(next(&mut heard).await, number.to_string(), "word for word");
        }
        drop(say);
        assert_eq!(timeout(PATIENCE, heard.message()).await.unwrap().unwrap(), None);

        let seen = speech.seen.lock().unwrap().clone();
        assert!(seen.iter().all(|fields| fields["te"] == "trailers"), "{seen:?}");
        assert!(seen.iter().all(|fields| fields["x-auth-username"] == "alice"), "{seen:?}");
        assert!(seen.iter().all(|fields| !fields.contains_key("authorization")), "{seen:?}");
    }
}

#[tokio::test]
async fn an_error_of_the_service_arrives_with_its_details() {
    let speech = Speech::new();
    let service = speech.start(ServiceProtocol::Http2).await;
    let front = Front::before(&service.config("", "")).await;
    let token = front.token("alice").await;

    let status = front.say(Some(&token), "fail").await.unwrap_err();

    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.message(), "100% wrong: \u{2603}");
    assert_eq!(status.details(), b"\x08\x01details");
    assert_eq!(status.metadata().get("x-hint").unwrap(), "try later");
}

#[tokio::test]
async fn a_deadline_is_passed_on_as_it_is() {
    let speech = Speech::new();
    let service = speech.start(ServiceProtocol::Http2).await;
    let front = Front::before(&service.config("", "auth = []")).await;
    let mut request = with(None, word("soon"));
    request.metadata_mut().insert("grpc-timeout", "4321m".parse().unwrap());

    front.call().await.unary(request, path("Say"), codec()).await.unwrap();

    assert_eq!(speech.seen.lock().unwrap()[0]["grpc-timeout"], "4321m");
}

#[tokio::test]
async fn a_call_that_the_client_gives_up_ends_at_the_upstream() {
    let speech = Speech::new();
    let service = speech.start(ServiceProtocol::Http2).await;
    let front = Front::before(&service.config("", "auth = []")).await;
    speech.go_on.add_permits(1);
    let mut client = front.call().await;
    let words = client.server_streaming(with(None, word("x")), path("Repeat"), codec()).await;
    let mut words = words.unwrap().into_inner();
    next(&mut words).await;

    drop(words);

    let closed = async { assert!(speech.dropped.acquire().await.is_err()) };
    timeout(PATIENCE, closed).await.expect("the upstream is told");
}

#[tokio::test]
async fn a_stream_that_the_upstream_resets_is_unavailable() {
    let speech = Speech::new();
    let service = speech.start(ServiceProtocol::Http2).await;
    let front = Front::before(&service.config("", "auth = []")).await;

    let reset = front.call().await.unary(with(None, word("x")), path("Reset"), codec()).await;

    assert_eq!(reset.unwrap_err().code(), Code::Unavailable);
}

/// The refusal as gRPC has it, and nothing of HTTP's.
#[track_caller]
fn assert_refused(refused: Result<Response<Word>, Status>, code: Code, reason: &str) {
    let status = refused.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().starts_with(&format!("{reason}: ")), "{status:?}");
    assert!(status.metadata().get("x-request-id").is_some(), "{status:?}");
    assert!(status.metadata().get("www-authenticate").is_none(), "{status:?}");
}

#[tokio::test]
async fn a_refusal_is_a_status_of_grpc_and_the_upstream_sees_nothing() {
    let speech = Speech::new();
    let service = speech.start(ServiceProtocol::Http2).await;
    let rule = "errors = \"datarhei\"\nrequire = { roles = [\"admin\"] }\nbody_limit = \"64B\"";
    let front = Front::before(&service.config("", rule)).await;
    let (alice, bob) = (front.token("alice").await, front.token("bob").await);

    assert_refused(front.say(None, "x").await, Code::Unauthenticated, "credential_missing");
    assert_refused(front.say(Some("a.b.c"), "x").await, Code::Unauthenticated, "token_invalid");
    assert_refused(front.say(Some(&bob), "x").await, Code::PermissionDenied, "not_permitted");
    assert_eq!(speech.seen(), 0, "the upstream saw nothing");
    let long = front.say(Some(&alice), &"x".repeat(100)).await;
    assert_refused(long, Code::ResourceExhausted, "body_too_large");

    eventually(|| front.gateway.access_log().len() == 6).await;
    let line = &front.gateway.access_log()[2];
    assert_eq!(line["http.response.status_code"], 200, "{line}");
    assert_eq!(
        (&line["outcome"], &line["reason"]),
        (&"refused".into(), &"credential_missing".into())
    );
}

#[tokio::test]
async fn a_method_that_no_route_takes_is_unimplemented() {
    let speech = Speech::new();
    let service = speech.start(ServiceProtocol::Http2).await;
    let front = Front::before(&service.config("", "methods = [\"GET\"]")).await;

    let refused = front.say(None, "x").await;

    assert_refused(refused, Code::Unimplemented, "method_not_allowed");
    assert_eq!(speech.seen(), 0, "the upstream saw nothing");
}

#[tokio::test]
async fn an_upstream_that_is_down_is_unavailable_and_one_that_is_slow_is_late() {
    let down = format!(
        "[[upstream]]\nname = \"down\"\nservers = [\"http://{}\"]\nhttp2 = true\n\
         [[route]]\npath = \"/\"\nupstream = \"down\"\nauth = []",
        closed_port().await
    );
    let front = Front::before(&down).await;
    assert_refused(front.say(None, "x").await, Code::Unavailable, "bad_gateway");

    // Accepts, and says nothing at all.
    let silent = Service::start(ServiceProtocol::Plain, |stream, _| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let config = silent.config("timeouts = { first_byte = \"200ms\" }", "auth = []");
    let front = Front::before(&config).await;
    assert_refused(front.say(None, "x").await, Code::DeadlineExceeded, "gateway_timeout");
}

#[tokio::test]
async fn a_login_endpoint_and_other_clients_are_answered_in_their_own_form() {
    let speech = Speech::new();
    let service = speech.start(ServiceProtocol::Http2).await;
    let front = Front::before(&service.config("", "")).await;

    let login = front.client.post("/auth/login").header("content-type", "application/grpc");
    let login = login.body("x").send().await;
    assert!(login.status.is_client_error() && login.header("grpc-status").is_none(), "{login:?}");

    let other = front.client.post("/test.Speech/Say").header("content-type", "application/json");
    other.send().await.assert_status(401).assert_code("credential_missing");
    assert_eq!(speech.seen(), 0, "the upstream saw nothing");
}
