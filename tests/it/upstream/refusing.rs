//! HTTP/2 servers that refuse a request unseen: frame by frame, as a server says it.

use tokio::io::AsyncReadExt;

use crate::harness::http2_frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, frame,
};
use crate::harness::scripted_upstream::{
    PoolGateway, ScriptedUpstream, UpstreamConnection, settings_to,
};

/// `:status: 200` of the static table (RFC 7541 appendix A).
const STATUS_200: u8 = 0x88;
const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
const INTERNAL_ERROR: [u8; 4] = [0, 0, 0, 2];

const REQUESTS: [&str; 2] = [
    "GET /a HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\nhi",
];

/// A gateway that speaks HTTP/2 to `fake`.
async fn gate(fake: &ScriptedUpstream) -> PoolGateway {
    let mut settings = settings_to(vec![fake.server()]);
    settings.upstream.http2 = true;
    settings.start().await
}

/// Takes a connection, reads a request and its body to the end, and tells its stream.
async fn receive(fake: &ScriptedUpstream) -> (UpstreamConnection, u32) {
    let mut peer = fake.accept().await;
    let mut preface = [0; 24];
    peer.read_exact(&mut preface).await.unwrap();
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    peer.send(frame(SETTINGS, 0, 0, &[])).await;
    let stream = request(&mut peer).await;
    (peer, stream)
}

async fn request(peer: &mut UpstreamConnection) -> u32 {
    loop {
        let mut head = [0; 9];
        peer.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        peer.read_exact(&mut payload).await.unwrap();
        if matches!(head[3], DATA | HEADERS) && head[4] & END_STREAM != 0 {
            return u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        }
    }
}

fn answer(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &[STATUS_200])
}

/// `GOAWAY` that names no stream as seen.
fn goaway() -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[0; 8])
}

#[tokio::test]
async fn whatever_is_refused_unseen_is_sent_again() {
    for request in REQUESTS {
        for goes_away in [false, true] {
            let fake = ScriptedUpstream::start().await;
            let gate = gate(&fake).await;

            let mut client = gate.ask(request).await;
            let (mut upstream, stream) = receive(&fake).await;
            let refusal = frame(RST_STREAM, 0, stream, &REFUSED_STREAM);
            upstream.send(if goes_away { goaway() } else { refusal }).await;
            let (mut again, stream) = receive(&fake).await;
            again.send(answer(stream)).await;

            let head = client.head().await;
            assert!(head.starts_with("http/1.1 200"), "{request}, goes away: {goes_away}: {head}");
            assert_eq!(gate.pool.snapshot().retries, 1);
        }
    }
}

#[tokio::test]
async fn what_was_seen_and_broke_is_not_sent_again() {
    let fake = ScriptedUpstream::start().await;
    let gate = gate(&fake).await;

    let mut client = gate.ask(REQUESTS[1]).await;
    let (mut upstream, stream) = receive(&fake).await;
    upstream.send(frame(RST_STREAM, 0, stream, &INTERNAL_ERROR)).await;

    assert!(client.head().await.starts_with("http/1.1 502"));
    assert_eq!(gate.pool.snapshot().retries, 0);
}

#[tokio::test]
async fn a_request_that_a_leaving_server_has_seen_is_answered() {
    let fake = ScriptedUpstream::start().await;
    let gate = gate(&fake).await;

    let mut client = gate.ask(REQUESTS[1]).await;
    let (mut upstream, stream) = receive(&fake).await;
    let last = [stream.to_be_bytes(), [0; 4]].concat();
    upstream.send(frame(GOAWAY, 0, 0, &last)).await;
    upstream.send(answer(stream)).await;

    assert!(client.head().await.starts_with("http/1.1 200"));
    assert_eq!(gate.pool.snapshot().retries, 0);
}
