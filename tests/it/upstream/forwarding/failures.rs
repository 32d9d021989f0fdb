//! What the client is told when the upstream fails, and what the log says when the client does.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::harness::scripted_upstream::{
    GET, ScriptedUpstream, UpstreamConnection, closed_port, eventually,
};
use crate::harness::tls_gateway::{TlsGateway, route_to};
use crate::harness::{Gateway, Upstream, raw_exchange};

const OPEN: &str = "auth = []";

fn at(fake: &ScriptedUpstream) -> String {
    format!("http://{}", fake.address())
}

/// A gateway with an open route to an upstream that sends `answer` to the first request on a
/// connection and closes it.
async fn answering(answer: &'static str) -> Gateway {
    let fake = ScriptedUpstream::start().await;
    let gateway = Gateway::builder().config(&route_to("fake", &at(&fake), "/", OPEN)).start().await;
    tokio::task::spawn(async move {
        loop {
            let mut upstream = fake.accept().await;
            upstream.head().await;
            upstream.send(answer).await;
        }
    });
    gateway
}

#[tokio::test]
async fn an_upstream_that_is_down_is_502_in_the_routes_form() {
    let down = format!("http://{}", closed_port().await);
    let config = route_to("down", &down, "/", OPEN)
        + &format!(
            "[[route]]\npath = \"/api/\"\nupstream = \"down\"\nerrors = \"datarhei\"\n{OPEN}"
        );
    let gateway = Gateway::builder().login("datarhei").config(&config).start().await;

    let problem = gateway.client().get("/x").send().await;
    let datarhei = gateway.client().get("/api/x").send().await;

    problem.assert_status(502).assert_code("bad_gateway");
    problem.assert_header("content-type", "application/problem+json");
    datarhei.assert_status(502);
    assert_eq!(datarhei.json()["code"], 502, "{}", datarhei.text());
    for text in [problem.text(), datarhei.text()] {
        assert!(!text.contains("127.0.0.1"), "where the upstream is concerns nobody: {text}");
    }
    let lines = gateway.access_log();
    assert_eq!(lines[0]["upstream.address"], *down);
    assert!(lines[0]["cause"].as_str().unwrap().contains("could not connect"), "{}", lines[0]);
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_504() {
    let fake = ScriptedUpstream::start().await;
    let config = route_to("slow", &at(&fake), "/", OPEN)
        .replace("[[route]]", "timeouts = { first_byte = \"100ms\" }\n[[route]]");
    let gateway = Gateway::builder().config(&config).start().await;

    let client = gateway.client();
    let (reply, mut upstream) = tokio::join!(client.get("/").send(), fake.accept());

    reply.assert_status(504).assert_code("gateway_timeout");
    assert!(upstream.head().await.starts_with("get / "));
    assert_eq!(upstream.rest().await, b"", "let go");
}

#[tokio::test]
async fn an_upstream_that_answers_nonsense_is_502() {
    for answer in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "",
    ] {
        let gateway = answering(answer).await;

        let reply = gateway.client().get("/").send().await;

        reply.assert_status(502).assert_code("bad_gateway");
    }
}

#[tokio::test]
async fn an_answer_cut_short_is_cut_short_for_http1_and_http2() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let fake = ScriptedUpstream::start().await;
        let secure = TlsGateway::new();
        let gateway =
            secure.builder().config(&route_to("fake", &at(&fake), "/", OPEN)).start().await;
        tokio::task::spawn(async move {
            loop {
                let mut upstream = fake.accept().await;
                upstream.head().await;
                upstream.send(answer).await;
            }
        });
        let request = || Request::get("https://localhost/").header("host", "localhost");

        let io = TokioIo::new(secure.client(&gateway, false).connect().await);
        let (mut sender, connection) = http1::handshake(io).await.unwrap();
        tokio::task::spawn(connection);
        let first = sender.send_request(request().body(Empty::<Bytes>::new()).unwrap()).await;
        let io = TokioIo::new(secure.client(&gateway, true).connect().await);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::task::spawn(connection);
        let request = Request::get("https://localhost/").body(Empty::<Bytes>::new()).unwrap();
        let second = sender.send_request(request).await;

        for response in [first.unwrap(), second.unwrap()] {
            assert_eq!(response.status(), 200);
            assert!(response.into_body().collect().await.is_err(), "{answer:?}");
        }
        eventually(|| gateway.access_log().len() == 2).await;
        for line in gateway.access_log() {
            assert_eq!(line["outcome"], "aborted", "{line}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_is_499_in_the_log_and_gone_for_the_upstream() {
    let fake = ScriptedUpstream::start().await;
    let gateway = Gateway::builder().config(&route_to("fake", &at(&fake), "/", OPEN)).start().await;

    let mut client = UpstreamConnection::new(gateway.client().connect().await);
    client.send(GET).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    drop(client);

    assert_eq!(upstream.rest().await, b"");
    eventually(|| gateway.access_log().len() == 1).await;
    let line = &gateway.access_log()[0];
    assert_eq!(line["http.response.status_code"], 499);
    assert_eq!(line["outcome"], "aborted");
}

#[tokio::test]
async fn one_dead_server_of_three_costs_no_client_anything() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let dead = closed_port().await;
    let config = format!(
        "[[upstream]]\nname = \"pool\"\nbalance = \"round_robin\"\n\
         servers = [\"{}\", \"http://{dead}\", \"{}\"]\n\
         [[route]]\npath = \"/\"\nupstream = \"pool\"\nauth = []",
        first.url(),
        second.url()
    );
    let gateway = Gateway::builder().config(&config).start().await;

    for _ in 0..12 {
        gateway.client().get("/").send().await.assert_status(200);
        gateway.client().post("/").body("once").send().await.assert_status(200);
    }

    let (first, second) = (first.received().len(), second.received().len());
    assert_eq!(first + second, 24, "each exactly once");
    assert!(first >= 4 && second >= 4, "both work: {first} and {second}");
}

#[tokio::test]
async fn a_body_that_stops_in_the_middle_is_the_clients_and_never_looks_whole() {
    let fake = ScriptedUpstream::start().await;
    let timeouts = "[listener.timeouts]\nbody_idle = \"1s\"";
    let config = route_to("fake", &at(&fake), "/", OPEN);
    let gateway = Gateway::builder().listener(timeouts).config(&config).start().await;

    let ask = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n";
    let client = gateway.client();
    let (answer, mut upstream) = tokio::join!(raw_exchange(&client, ask.as_bytes()), fake.accept());

    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"request_timeout\""), "{answer}");
    let received = String::from_utf8(upstream.rest().await).unwrap();
    assert!(received.ends_with("2\r\nab\r\n"), "without the last chunk: {received}");
}
