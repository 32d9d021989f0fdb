//! Login bodies in memory: a place before the first byte, bytes that are counted, and an end.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{live_a_session, metric, strange};
use crate::harness::client::PATIENCE;
use crate::harness::{Gateway, Upstream};

const SIZE: usize = 60_000;

/// A login whose body has begun and does not end.
async fn half_a_login(gateway: &Gateway) -> TcpStream {
    let mut stream = strange(gateway.address()).await;
    let head = format!(
        "POST /auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {SIZE}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The gateway may have refused it already.
    let _ = stream.write_all(&vec![b' '; SIZE - 1]).await;
    stream
}

/// The status of an answer, once it is there.
async fn status(stream: &mut TcpStream) -> String {
    let mut head = [0; 12];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut head)).await;
    read.expect("an answer in time").unwrap();
    String::from_utf8_lossy(&head[9..]).into_owned()
}

#[tokio::test]
async fn login_bodies_wait_for_a_place_and_a_budget() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder().process("body_memory = \"8MiB\"\ndrain_timeout = \"0s\"");
    let gateway = builder.login("native").route_to(&upstream, "").start().await;

    // 3.8 MB of one client, whose eighth is one MiB.
    let (sender, mut refused) = tokio::sync::mpsc::unbounded_channel();
    let mut held = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (mut stream, sender) = (half_a_login(&gateway).await, sender.clone());
        held.spawn(async move { sender.send(status(&mut stream).await) });
    }
    for _ in 0..40 {
        assert_eq!(refused.recv().await.unwrap(), "429");
    }
    let bytes = metric(&gateway, "tollhouse_body_memory_bytes").await;
    assert!(bytes > 0 && bytes <= 1 << 20, "{bytes} bytes are held");
    live_a_session(&gateway.client(), "", "alice").await;

    held.shutdown().await;
    tokio::time::timeout(PATIENCE, async {
        while metric(&gateway, "tollhouse_body_memory_bytes").await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("what is gone is not counted any more");
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_login_body_that_trickles_is_given_up() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    let mut stream = half_a_login(&gateway).await;

    // A byte from time to time: longer than the pause that is allowed between two of them is none.
    let (mut reading, mut writing) = stream.split();
    let trickle = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if writing.write_all(b"").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut head = [0; 12];
    let answer = async { reading.read_exact(&mut head).await.map(drop) };
    tokio::select! {
        () = trickle => {}
        read = tokio::time::timeout(PATIENCE, answer) => read.expect("an end in time").unwrap(),
    }

    assert_eq!(&head[9..], b"408");
    upstream.assert_untouched();
}
