//! How long a listener waits for a head, a body, the next request and a slow client.

use super::*;

// Timeouts.

#[tokio::test]
async fn a_head_that_does_not_arrive_is_not_waited_for() {
    let mut listener = plain();
    listener.timeouts.header = SHORT;
    let running = RunningListener::start(&listener, echo_path);
    let mut silent = running.connect().await;
    let mut slow = running.connect().await;
    let mut second = running.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nho").await.unwrap();
    ask(&mut second, "/").await;
    second.write_all(b"GET /again HTTP/1.1\r\nho").await.unwrap();

    for stream in [&mut silent, &mut slow, &mut second] {
        assert_eq!(read_to_end(stream).await, "");
    }
    eventually("counted", || running.stats().count(ConnectionEvent::SlowHead) == 3).await;
}

#[tokio::test]
async fn drops_of_a_head_do_not_buy_time() {
    let mut listener = plain();
    listener.timeouts.header = SHORT;
    let running = RunningListener::start(&listener, echo_path);
    let mut stream = running.connect().await;
    let started = Instant::now();

    let head = b"GET / HTTP/1.1\r\nhost: a-rather-long-name-to-drip-letter-by-letter.test\r\nx: ";
    for byte in head.iter().chain(std::iter::repeat(&b'y')) {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(started.elapsed() < PATIENCE, "still open");
    }
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_its_own_time() {
    for tls in [false, true] {
        let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
        let mut listener = if tls { with_tls(&place, &authority) } else { plain() };
        listener.timeouts.keep_alive = SHORT;
        let running = RunningListener::start_at(place, &listener, echo_path);
        let started = Instant::now();

        if tls {
            let client = TlsClient::trusting(authority.der());
            let mut stream = client.connect(&running, "localhost").await.unwrap();
            ask(&mut stream, "/").await;
            let mut rest = Vec::new();
            within(stream.read_to_end(&mut rest)).await.expect("closed in good order");
        } else {
            let mut stream = running.connect().await;
            ask(&mut stream, "/").await;
            assert_eq!(read_to_end(&mut stream).await, "");
        }

        assert!(started.elapsed() >= SHORT, "not before its time");
        assert_eq!(running.stats().count(ConnectionEvent::SlowHead), 0);
    }
}

#[tokio::test]
async fn keep_alive_may_be_longer_than_the_time_for_a_head() {
    let mut listener = plain();
    listener.timeouts.header = SHORT;
    let running = RunningListener::start(&listener, echo_path);
    let mut stream = running.connect().await;
    ask(&mut stream, "/first").await;

    // The time passing is what is tested: nothing can be waited for.
    tokio::time::sleep(SHORT * 2).await;

    assert!(ask(&mut stream, "/second").await.ends_with("/second"));
}

#[tokio::test]
async fn a_slow_answer_is_nobodys_fault() {
    let mut listener = plain();
    (listener.timeouts.header, listener.timeouts.keep_alive) = (SHORT, SHORT);
    listener.timeouts.body_idle = SHORT;
    let slow = |_, _, _| async {
        tokio::time::sleep(SHORT * 2).await;
        Response::new(Body::full("late"))
    };
    let running = RunningListener::start(&listener, slow);

    assert!(ask(&mut running.connect().await, "/").await.ends_with("late"));
}

#[tokio::test]
async fn an_idle_http_2_connection_is_told_to_go() {
    let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
    let mut listener = with_tls(&place, &authority);
    listener.timeouts.keep_alive = SHORT;
    let running = RunningListener::start_at(place, &listener, echo_path);
    let client = TlsClient::trusting(authority.der()).alpn(&["h2"]);
    let mut sender = http2(client.connect(&running, "localhost").await.unwrap()).await;

    assert_eq!(within(sender.send_request(get("/"))).await.unwrap().status(), 200);
    eventually("closed", || sender.is_closed()).await;
    eventually("the place is free", || running.stats().open() == 0).await;
    assert_eq!(
        running.stats().count(ConnectionEvent::SlowHead),
        0,
        "pings are not the start of a head"
    );
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut() {
    let mut listener = plain();
    listener.timeouts.body_idle = SHORT;
    let running = RunningListener::start(&listener, perhaps_endless);
    let mut stream = running.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();

    eventually("cut", || running.stats().count(ConnectionEvent::Stalled) == 1).await;
    eventually("the place is free", || running.stats().open() == 0).await;
}

#[tokio::test]
async fn an_http_2_stream_that_is_not_taken_is_reset_and_its_connection_lives() {
    let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
    let mut listener = with_tls(&place, &authority);
    listener.timeouts.body_idle = SHORT;
    let running = RunningListener::start_at(place, &listener, perhaps_endless);
    let client = TlsClient::trusting(authority.der()).alpn(&["h2"]);
    let mut sender = http2(client.connect(&running, "localhost").await.unwrap()).await;

    // Its body is not read, so its window is never opened again.
    let stalled = within(sender.send_request(get("/endless"))).await.unwrap();
    eventually("reset", || running.stats().count(ConnectionEvent::Stalled) == 1).await;

    let other = within(sender.send_request(get("/other"))).await.unwrap();
    assert_eq!(text(other).await, "/other");
    let mut body = stalled.into_body();
    let error = within(async {
        loop {
            match body.frame().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("the body looks complete"),
            }
        }
    })
    .await;
    assert!(format!("{error:?}").contains("CANCEL"), "{error:?}");
}

#[tokio::test]
async fn an_answer_in_the_middle_of_an_upload_arrives() {
    let refuse = |_, _, _request| async {
        let mut response = Response::new(Body::full("too much"));
        *response.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
        response
    };
    let running = RunningListener::start(&plain(), refuse);
    let mut stream = running.connect().await;
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", 64 << 20);
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.ends_with("too much"), "{answer}");
    assert_eq!(within(stream.read(&mut [0])).await.unwrap(), 0, "its side is closed");

    // What was on its way does not meet a reset, which on the way back could overtake the
    // answer in a client that has not read it yet.
    for _ in 0..16 {
        stream.write_all(&[0; 64 << 10]).await.expect("not reset while we write");
    }
}
