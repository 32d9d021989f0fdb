//! Connections of clients: several requests on one, early answers, old versions, unix sockets.

use std::fmt::Write;

use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::harness::client::PATIENCE;
use crate::harness::scripted_upstream::{
    ScriptedUpstream, UpstreamConnection, accept_unix, listen_unix,
};
use crate::harness::tls_gateway::route_to;
use crate::harness::{Gateway, Upstream, raw_exchange};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

async fn native() -> (Gateway, Upstream, String) {
    let upstream = Upstream::answering(|received| {
        http::Response::new(received.target.clone().into_bytes().into())
    })
    .await;
    let gateway = Gateway::serving("native", &upstream).await;
    let token = gateway.token("alice").await;
    (gateway, upstream, token)
}

fn get(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n")
}

#[tokio::test]
async fn requests_in_turn_and_at_once_on_one_connection_are_answered_in_order() {
    let (gateway, upstream, token) = native().await;
    let mut client = UpstreamConnection::new(gateway.client().connect().await);

    for path in ["/1", "/2"] {
        client.send(get(path, &token)).await;
        assert!(client.head().await.starts_with("http/1.1 200 "));
        client.until(path).await;
    }
    let mut pipelined = String::new();
    for number in 3..9 {
        pipelined.push_str(&get(&format!("/{number}"), &token));
    }
    // One in the middle is refused, and refused alone.
    pipelined.push_str(&get("/refused", "a.b.c"));
    pipelined.push_str(&get("/9", &token).replace("Host", "Connection: close\r\nHost"));
    client.send(pipelined).await;
    let answers = String::from_utf8(client.rest().await).unwrap();

    let statuses: Vec<&str> =
        answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "200", "200", "200", "200", "200", "401", "200"], "{answers}");
    let targets: Vec<String> = upstream.received().into_iter().map(|one| one.target).collect();
    assert_eq!(targets, ["/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9"]);
}

#[tokio::test]
async fn a_body_that_was_not_read_is_never_taken_for_a_request() {
    let (gateway, upstream, token) = native().await;
    let length = SMUGGLED.len();
    let large = SMUGGLED.repeat(40_000);
    for (framing, body) in [
        (format!("Content-Length: {length}"), SMUGGLED.to_owned()),
        ("Transfer-Encoding: chunked".into(), format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n")),
        (format!("Content-Length: {}", large.len()), large),
    ] {
        let last = get("/real", &token).replace("Host", "Connection: close\r\nHost");
        let refused = format!("POST /refused HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
        let mut client = UpstreamConnection::new(gateway.client().connect().await);
        // The gateway may close at any moment: what is written then is lost.
        client.send(&refused).await;
        let answer = client.head().await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client, (body + &last).as_bytes()).await;
        let rest = String::from_utf8_lossy(&client.rest().await).into_owned();

        assert!(answer.starts_with("http/1.1 401 "), "{framing}: {answer}");
        let answered = rest.matches("HTTP/1.1 ").count();
        assert!(answered == 0 || rest.contains("HTTP/1.1 200 OK"), "{framing}: {rest}");
        assert!(answered <= 1, "{framing}: {rest}");
    }
    for received in upstream.received() {
        assert_eq!(received.target, "/real");
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks_and_the_end_by_closing() {
    let fake = ScriptedUpstream::start().await;
    let config = route_to("fake", &format!("http://{}", fake.address()), "/", "auth = []");
    let gateway = Gateway::builder().config(&config).start().await;
    let answering = async {
        let mut upstream = fake.accept().await;
        let head = upstream.head().await;
        upstream
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
            .await;
        head
    };

    let client = gateway.client();
    let (answer, asked) =
        tokio::join!(raw_exchange(&client, b"GET /a HTTP/1.0\r\nHost: a\r\n\r\n"), answering);

    assert!(asked.starts_with("get /a http/1.1\r\n"), "{asked}");
    assert!(answer.starts_with("HTTP/1.0 200 ") || answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("transfer-encoding"), "{answer}");
    assert_eq!(gateway.access_log()[0]["network.protocol.version"], "1.0");
}

#[tokio::test]
async fn unix_sockets_serve_and_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let (front, back) = (dir.path().join("front.sock"), dir.path().join("back.sock"));
    let listening = listen_unix(&back);
    let listener = format!("[[listener]]\naddress = \"unix:{}\"", front.display());
    let config = route_to("unix", &format!("unix:{}", back.display()), "/", "");
    let builder = Gateway::builder().listeners(&listener).login("native");
    let gateway = builder.config(&config).start().await;
    let connect = || async { UpstreamConnection::new(UnixStream::connect(&front).await.unwrap()) };

    let mut client = connect().await;
    let login = r#"{"username":"alice","password":"correct horse battery"}"#;
    let mut ask =
        "POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n".to_owned();
    write!(ask, "Connection: close\r\nContent-Length: {}\r\n\r\n{login}", login.len()).unwrap();
    client.send(ask).await;
    let answer = String::from_utf8(client.rest().await).unwrap();
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let token = body["access_token"].as_str().expect(&answer);

    let mut client = connect().await;
    client.send(get("/a", token)).await;
    let mut upstream = accept_unix(&listening).await;
    let asked = upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    client.until("ok").await;

    assert!(asked.contains("x-auth-username: alice"), "{asked}");
    assert!(!asked.contains("x-forwarded-for"), "a unix socket has no address: {asked}");
    drop(client);
    let logged = async {
        while gateway.access_log().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, logged).await.unwrap();
    assert_eq!(gateway.access_log()[1]["client.address"], Value::Null);
}
