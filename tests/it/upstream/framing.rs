//! Where messages begin and end, on both sides.

use std::time::Duration;

use tollhouse::upstream::{ForwardError, RequestFault};

use crate::harness::scripted_upstream::{
    GET, OK, PoolGateway, ScriptedUpstream, UpstreamConnection, settings_to,
};

const MOMENT: Duration = Duration::from_millis(100);

async fn gate() -> (ScriptedUpstream, PoolGateway) {
    let fake = ScriptedUpstream::start().await;
    let gate = settings_to(vec![fake.server()]).start().await;
    (fake, gate)
}

/// The upstream's answer to a GET, and everything the client gets of it.
async fn answered(answer: &str) -> String {
    let (fake, gate) = gate().await;
    let request = "GET /a HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n";
    let mut client = gate.ask(request).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send(answer).await;
    drop(upstream);
    String::from_utf8(client.rest().await).unwrap()
}

async fn sent(request: &str) -> (UpstreamConnection, String) {
    let (fake, gate) = gate().await;
    let mut client = gate.ask(request).await;
    let mut upstream = fake.accept().await;
    let head = upstream.head().await;
    upstream.send(OK).await;
    client.until("ok").await;
    (upstream, head)
}

#[tokio::test]
async fn a_length_stays_a_length() {
    let request = "POST /a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 5\r\n\r\nhello";
    let (mut upstream, head) = sent(request).await;

    assert!(head.contains("\r\ncontent-length: 5\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    upstream.until("hello").await;
}

#[tokio::test]
async fn chunks_stay_chunks_whatever_the_method() {
    for method in ["POST", "GET", "DELETE"] {
        let request = format!(
            "{method} /a HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n"
        );
        let (mut upstream, head) = sent(&request).await;

        assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
        assert!(!head.contains("content-length"), "{head}");
        assert_eq!(upstream.until("0\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
    }
}

#[tokio::test]
async fn of_a_length_and_chunks_only_the_chunks_go_on() {
    let request = "POST /a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 3\r\n\
                   Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (_, head) = sent(request).await;

    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
}

#[tokio::test]
async fn targets_go_on_byte_for_byte() {
    for (target, sent_on) in [
        ("/a%2Fb/%7e//;x=1?", "/a%2Fb/%7e//;x=1?"),
        ("/?a=%zz&&b=[]|{}", "/?a=%zz&&b=[]|{}"),
        ("http://gateway/a?b", "/a?b"),
        ("http://gateway", "/"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: gateway\r\n\r\n");
        let (_, head) = sent(&request).await;

        let expected = format!("get {} http/1.1\r\n", sent_on.to_ascii_lowercase());
        assert!(head.starts_with(&expected), "{head}");
    }
    let (_, head) = sent("OPTIONS * HTTP/1.1\r\nHost: gateway\r\n\r\n").await;
    assert!(head.starts_with("options * http/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn cookies_cut_into_lines_are_joined() {
    let request = "GET /a HTTP/1.1\r\nHost: gateway\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n";
    let (_, head) = sent(request).await;

    assert!(head.contains("\r\ncookie: a=1; b=2\r\n"), "{head}");
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_is_the_clients_fault() {
    let fake = ScriptedUpstream::start().await;
    let mut settings = settings_to(vec![fake.server()]);
    settings.body_limit = 4;
    let gate = settings.start().await;

    let mut client = gate
        .ask(
            "POST /a HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
        )
        .await;
    let received = fake.accept().await.rest().await;

    assert!(client.head().await.starts_with("http/1.1 400"));
    assert!(!String::from_utf8_lossy(&received).contains("\r\n0\r\n"), "it looks cut short");
    let errors = gate.errors.lock().unwrap();
    let fault = RequestFault::TooLarge { limit: 4 };
    assert!(matches!(&errors[..], [ForwardError::RequestBody(found)] if *found == fault));
}

#[tokio::test]
async fn an_expectation_is_met_here_and_not_passed_on() {
    let (fake, gate) = gate().await;

    let mut client = gate
        .ask("POST /a HTTP/1.1\r\nHost: gateway\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .await;
    client.until("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send("hi").await;
    let mut upstream = fake.accept().await;
    let head = upstream.head().await;
    upstream.until("hi").await;
    upstream.send(OK).await;
    client.until("ok").await;

    assert!(!head.contains("expect"), "{head}");
}

#[tokio::test]
async fn trailers_pass_both_ways_but_not_identity_in_them() {
    let (fake, gate) = gate().await;

    let mut client = gate
        .ask(
            "POST /a HTTP/1.1\r\nHost: gateway\r\nTE: trailers\r\nConnection: TE\r\n\
             Trailer: X-Sum, X-Auth-Subject\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nhi\r\n0\r\nX-Sum: 7\r\nX-Auth-Subject: root\r\n\r\n",
        )
        .await;
    let mut upstream = fake.accept().await;
    let head = upstream.head().await;
    let body = upstream.head().await;
    upstream
        .send(
            "HTTP/1.1 200 OK\r\nTrailer: X-Check\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\nX-Check: 9\r\n\r\n",
        )
        .await;
    client.head().await;
    let answer = client.head().await;

    assert!(head.contains("\r\nte: trailers\r\n"), "{head}");
    assert!(body.contains("x-sum: 7") && !body.contains("x-auth"), "{body}");
    assert!(answer.contains("x-check: 9"), "{answer}");
}

#[tokio::test]
async fn an_answer_before_the_requests_end_is_passed_on() {
    let (fake, gate) = gate().await;

    let mut client =
        gate.ask("POST /a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100\r\n\r\nhi").await;
    let mut upstream = fake.accept().await;
    upstream.until("hi").await;
    upstream
        .send("HTTP/1.1 413 Too Much\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
        .await;

    assert!(client.until("no").await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn answers_that_are_not_http_or_ambiguous_are_502() {
    for (answer, why) in [
        ("garbage\r\n\r\n", "no status line"),
        ("HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n", "a space in a name"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "both",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "a lost coding"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok", "no coding of HTTP/1.1"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "two lengths"),
        ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", "a sign"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            "unasked",
        ),
        ("", "no answer at all"),
        ("HTTP/1.1 200 O", "half a head"),
    ] {
        let answer = answered(answer).await;

        assert!(answer.starts_with("HTTP/1.1 502"), "{why}: {answer}");
    }
}

#[tokio::test]
async fn an_answer_cut_short_looks_cut_short() {
    let counted = answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel").await;
    let chunked =
        answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n").await;

    assert!(counted.contains("content-length: 5") && !counted.ends_with("hello"), "{counted}");
    assert!(chunked.contains("3\r\nhel") && !chunked.contains("\r\n0\r\n"), "{chunked}");
}

#[tokio::test]
async fn an_answer_that_stalls_is_cut_off() {
    let fake = ScriptedUpstream::start().await;
    let mut settings = settings_to(vec![fake.server()]);
    settings.upstream.timeouts.idle = MOMENT;
    let gate = settings.start().await;

    let mut client = gate.ask(GET).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n").await;

    let answer = String::from_utf8(client.rest().await).unwrap();
    assert!(answer.ends_with("2\r\nhe\r\n"), "{answer}");
    assert_eq!(upstream.rest().await, b"", "its connection is not used again");
}

#[tokio::test]
async fn interim_answers_are_swallowed() {
    let answer = answered(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.0 200 Fine\r\n\r\nok",
    )
    .await;

    assert!(answer.starts_with("HTTP/1.1 200 Fine\r\n"), "{answer}");
    assert!(answer.contains("ok") && !answer.contains("link"), "{answer}");
}
