//! The time for a whole exchange, besides the times for its parts.

use std::time::{Duration, Instant};

use tollhouse::upstream::ForwardError;

use crate::harness::Gateway;
use crate::harness::scripted_upstream::{GET, ScriptedUpstream, UpstreamConnection, settings_to};
use crate::harness::tls_gateway::route_to;

const MOMENT: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_millis(400);

#[tokio::test]
async fn all_tries_together_have_the_total() {
    let (one, other) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let mut settings = settings_to(vec![one.server(), other.server()]);
    settings.upstream.timeouts.first_byte = LIMIT * 3 / 4;
    settings.upstream.timeouts.total = Some(LIMIT);
    let gate = settings.start().await;

    let began = Instant::now();
    let mut client = gate.ask(GET).await;
    let _silent = tokio::join!(one.accept(), other.accept());

    assert!(client.head().await.starts_with("http/1.1 504"));
    assert!((LIMIT..LIMIT * 3 / 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    let errors = gate.errors.lock().unwrap();
    assert!(matches!(errors[..], [ForwardError::Overdue { limit: LIMIT, .. }]), "{errors:?}");
}

#[tokio::test]
async fn an_answer_that_drips_is_cut_at_the_total() {
    let fake = ScriptedUpstream::start().await;
    let config = route_to("drip", &format!("http://{}", fake.address()), "/", "auth = []")
        .replace("[[route]]", "timeouts = { total = \"400ms\", idle = \"10s\" }\n[[route]]");
    let gateway = Gateway::builder().config(&config).start().await;

    let mut client = UpstreamConnection::new(gateway.client().connect().await);
    client.send(GET).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await;
    let dripping = async {
        loop {
            upstream.send("x").await;
            if !upstream.is_silent(MOMENT / 5).await {
                break;
            }
        }
    };
    let (answer, ()) = tokio::join!(client.rest(), dripping);

    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.len() < 1000, "{answer}");
    let lines = gateway.access_log();
    assert!(lines[0]["cause"].as_str().unwrap().contains("400ms"), "{}", lines[0]);
}

#[tokio::test]
async fn an_answer_that_stops_is_cut_at_the_total() {
    let fake = ScriptedUpstream::start().await;
    let mut settings = settings_to(vec![fake.server()]);
    settings.upstream.timeouts.total = Some(LIMIT);
    let gate = settings.start().await;

    let mut client = gate.ask(GET).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;

    assert!(client.rest().await.ends_with(b"half"));
    assert_eq!(upstream.rest().await, b"", "let go");
}

#[tokio::test]
async fn a_tunnel_has_no_total() {
    let fake = ScriptedUpstream::start().await;
    let mut settings = settings_to(vec![fake.server()]);
    settings.upstream.timeouts.total = Some(MOMENT * 2);
    let gate = settings.start().await;
    let upgrade =
        "GET /a HTTP/1.1\r\nHost: gateway\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

    let mut client = gate.ask(upgrade).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .await;
    client.head().await;

    assert!(client.is_silent(MOMENT * 4).await);
    upstream.send("late").await;
    assert_eq!(client.until("late").await, "late");
}
