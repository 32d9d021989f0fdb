//! How much of a signed request is read and remembered.

use super::super::{assert_refused, metric};
use super::signer::{SignedCall, Signer};
use super::{TAKES, taking};
use crate::harness::client::raw_exchange;
use crate::harness::{Client, Upstream};

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_a_large_one_arrives_whole() {
    let upstream = Upstream::start().await;
    let signer = Signer::p384("robot");
    let (_folder, builder) = taking(&[&signer], "");
    let gateway =
        builder.route_to(&upstream, &format!("{TAKES}\nbody_limit = \"300KiB\"")).start().await;
    let client = gateway.client();
    let large: Vec<u8> = (0..300 << 10).map(|number: u32| number.to_le_bytes()[1]).collect();
    let larger = [&large[..], b"x"].concat();

    let reply = SignedCall::post("/", &larger).send(&client, &signer).await;
    assert_refused(&reply, 413, "body_too_large", "a declared length");
    let call = SignedCall::post("/", &larger);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nX-API-Key: robot\r\n\
         X-API-Timestamp: {}\r\nX-API-Signature: {}\r\n\r\n{:x}\r\n",
        call.time,
        call.signature(&signer),
        larger.len()
    );
    let answer = raw_exchange(&client, &[head.as_bytes(), &larger, b"\r\n"].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    upstream.assert_untouched();

    SignedCall::post("/", &large).send(&client, &signer).await.assert_status(200);
    assert_eq!(upstream.only().body, large);
    let mut changed = large.clone();
    changed[200 << 10] ^= 1;
    let signed = SignedCall::post("/", &large).after(1);
    let sent = SignedCall { body: changed, ..signed.clone() };
    let reply = sent.with(&client, "robot", &signed.signature(&signer)).send().await;
    assert_refused(&reply, 401, "token_invalid", "one bit of a large body");
    assert_eq!(upstream.received().len(), 1);
    assert_eq!(metric(&gateway, "tollhouse_body_memory_bytes").await, 0);
}

#[tokio::test]
async fn a_key_that_signs_too_much_is_held_up_alone() {
    let upstream = Upstream::start().await;
    let busy = Signer::hs256("busy");
    let quiet = Signer::hs256("quiet");
    let (_folder, builder) = taking(&[&busy, &quiet], "");
    let gateway = builder
        .config("[api_keys]\nremembered_signatures = 1000")
        .route_to(&upstream, TAKES)
        .start()
        .await;
    let client = gateway.client();
    let call = |number| SignedCall::get("/").after(number);

    for number in 0..125 {
        call(number).send(&client, &busy).await.assert_status(200);
    }
    let reply = call(125).send(&client, &busy).await;
    assert_refused(&reply, 429, "rate_limited", "its share is an eighth");
    assert_refused(
        &call(0).send(&client, &busy).await,
        401,
        "token_invalid",
        "nothing is forgotten",
    );
    call(0).send(&client, &quiet).await.assert_status(200);
    assert_eq!(upstream.received().len(), 126);
    assert_eq!(metric(&gateway, "tollhouse_remembered_signatures").await, 126);

    gateway.advance(std::time::Duration::from_secs(40));
    call(40_000).send(&client, &busy).await.assert_status(200);
}

#[tokio::test]
async fn a_signed_request_may_ask_for_a_tunnel() {
    let upstream = crate::protocol::streams::EchoWebSocket::start().await;
    let signer = Signer::ed25519("robot");
    let (_folder, builder) = taking(&[&signer], "");
    let gateway = builder.config(&upstream.config(TAKES)).start().await;
    let client: Client = gateway.client();
    let call = SignedCall::get("/");
    let head = |signature: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             X-API-Key: robot\r\nX-API-Timestamp: {}\r\nX-API-Signature: {signature}\r\n\r\n",
            call.time
        )
    };

    for (signature, status) in [
        (call.after(1).signature(&signer), "401"),
        (call.signature(&signer), "101"),
        (call.signature(&signer), "401"),
    ] {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = client.connect().await;
        stream.write_all(head(&signature).as_bytes()).await.unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&line), format!("HTTP/1.1 {status}"));
    }
}
