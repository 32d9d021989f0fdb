//! Accepting, limits, timeouts and drain, over real sockets.

mod timeouts;

use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, Incoming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tollhouse::body::{Body, BodyError, Response};
use tollhouse::client::{Client, Scheme};
use tollhouse::listener::{self, BindError, BoundAddress, ConnectionEvent, InheritedSockets};
use tollhouse::runtime::Worker;
use tollhouse::settings::{BindAddress, ListenerSettings};

use crate::harness::certs::CertificateAuthority;
use crate::harness::listener::{
    ListenerFolder, PATIENCE, RunningListener, TlsClient, ask, echo_path, eventually, get, http2,
    plain, read_answer, read_to_end, secure, text, within,
};

/// Short enough for a test, long enough for a busy machine to do what must come before it.
const SHORT: Duration = Duration::from_millis(250);

/// A handler that answers only when told to, and says when it was asked.
#[derive(Clone)]
struct Held {
    asked: Arc<Semaphore>,
    go: Arc<Semaphore>,
}

impl Held {
    fn new() -> Self {
        Self { asked: Arc::new(Semaphore::new(0)), go: Arc::new(Semaphore::new(0)) }
    }

    async fn answer_later(self, request: http::Request<Incoming>) -> Response {
        self.asked.add_permits(1);
        self.go.acquire().await.unwrap().forget();
        Response::new(Body::full(request.uri().path().to_owned()))
    }

    async fn is_asked(&self) {
        within(self.asked.acquire()).await.unwrap().forget();
    }

    fn answer(&self) {
        self.go.add_permits(1);
    }
}

/// Pieces without end, as fast as they are taken.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16 << 10])))))
    }
}

/// `/endless` never ends; everything else is answered with its path.
async fn perhaps_endless(
    worker: Arc<Worker>,
    client: Arc<Client>,
    request: http::Request<Incoming>,
) -> Response {
    match request.uri().path() {
        "/endless" => Response::new(Body::boxed(Endless)),
        _ => echo_path(worker, client, request).await,
    }
}

fn with_tls(place: &ListenerFolder, authority: &CertificateAuthority) -> ListenerSettings {
    secure(vec![authority.write(place.dir.path(), "a", &["localhost"])])
}

// Binding.

#[test]
fn a_second_gateway_on_the_same_address_is_an_error_that_names_it() {
    let place = ListenerFolder::new();
    let first = place.bind(&plain()).unwrap();
    let mut again = plain();
    let address = first.addresses()[0].tcp().unwrap();
    (again.bind, again.name) = (BindAddress::Tcp(address), address.to_string());

    let error = place.bind(&again).unwrap_err();

    assert!(matches!(error, BindError::InUse { .. }));
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    drop(first);
    place.bind(&again).unwrap();
}

#[tokio::test]
async fn every_worker_accepts_on_the_one_port_that_was_free() {
    let running = RunningListener::start(&plain(), echo_path);

    // Far more than one socket's share; each must be answered, whichever socket it lands on.
    for _ in 0..32 {
        let mut stream = running.connect().await;
        assert!(ask(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
    }
    assert_ne!(running.address().port(), 0);
    assert_eq!(running.stats().count(ConnectionEvent::Accepted), 32);
}

#[tokio::test]
async fn a_unix_socket_serves_and_is_removed() {
    let place = ListenerFolder::new();
    let path = place.path("gateway.sock");
    let listener = ListenerSettings { bind: BindAddress::Unix(path.clone()), ..plain() };
    let describe = |_, client: Arc<Client>, _| async move {
        assert_eq!((client.address, client.peer, client.local), (None, None, None));
        assert_eq!(client.scheme, Scheme::Http);
        Response::new(Body::full("here"))
    };
    let running = RunningListener::start_at(place, &listener, describe);

    let mut stream = UnixStream::connect(&path).await.unwrap();
    assert!(ask(&mut stream, "/").await.ends_with("here"));
    assert_eq!(running.listening.addresses(), [BoundAddress::Unix(path.clone())]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let second = running.place.bind(&listener).unwrap_err();
    assert!(matches!(second, BindError::InUse { .. }), "somebody answers there: {second}");

    running.listening.drain().start();
    within(running.listening.drain().stopped_accepting()).await;
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced_and_anything_else_is_left_alone() {
    let place = ListenerFolder::new();
    let path = place.path("gateway.sock");
    let listener = ListenerSettings { bind: BindAddress::Unix(path.clone()), ..plain() };
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind by a gateway that was killed");

    let bound = place.bind(&listener).unwrap();
    drop(bound);
    assert!(!path.exists(), "closed without ever serving");

    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(place.bind(&listener), Err(BindError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_unix_socket_whose_queue_is_full_is_in_use() {
    let place = ListenerFolder::new();
    let path = place.path("gateway.sock");
    let listener = ListenerSettings { bind: BindAddress::Unix(path.clone()), ..plain() };
    let address = socket2::SockAddr::unix(&path).unwrap();
    let socket =
        || socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let stuck = socket();
    stuck.bind(&address).unwrap();
    stuck.listen(0).unwrap();
    let waiting: Vec<_> = std::iter::repeat_with(|| {
        let waiting = socket();
        waiting.set_nonblocking(true).unwrap();
        waiting.connect(&address).map(|()| waiting)
    })
    .take_while(Result::is_ok)
    .collect();
    assert!(!waiting.is_empty() && waiting.len() < 100, "the queue is full");

    // Without a time limit of its own, a regression would hang here.
    let (said, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let is_in_use = matches!(place.bind(&listener), Err(BindError::InUse { .. }));
        // Looked at here: the folder goes with `place`.
        let _ = said.send((is_in_use, path.exists()));
    });
    assert_eq!(told.recv_timeout(PATIENCE), Ok((true, true)));
}

#[tokio::test]
async fn a_socket_that_was_handed_over_is_served() {
    let handed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut place = ListenerFolder::new();
    let file = std::fs::File::open(place.dir.path()).unwrap();
    place.options.descriptors = InheritedSockets::named([
        ("web".to_owned(), handed.as_raw_fd()),
        ("disk".to_owned(), file.as_raw_fd()),
    ]);
    let named =
        |name: &str| ListenerSettings { bind: BindAddress::Descriptor(name.to_owned()), ..plain() };
    assert!(matches!(place.bind(&named("disk")), Err(BindError::NotListening { .. })));
    let unknown = place.bind(&named("wbe")).unwrap_err();
    assert!(unknown.to_string().contains("only web, disk"), "{unknown}");

    let running = RunningListener::start_at(place, &named("web"), echo_path);

    assert_eq!(running.address(), handed.local_addr().unwrap());
    let mut stream = running.connect().await;
    assert!(ask(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
}

// Who is at the other end.

#[tokio::test]
async fn trusted_proxies_are_known_as_such() {
    for (net, trusted) in [("127.0.0.0/8", true), ("10.0.0.0/8", false)] {
        let listener = ListenerSettings {
            trusted_proxies: vec![net.parse().unwrap()],
            redirect_to_https: true,
            ..plain()
        };
        let describe = |_, client: Arc<Client>, _| async move {
            let text = format!("{} {}", client.trusted_proxy, client.redirect);
            Response::new(Body::full(text))
        };
        let running = RunningListener::start(&listener, describe);
        let answer = ask(&mut running.connect().await, "/").await;
        assert!(answer.ends_with(&format!("{trusted} true")), "{net}: {answer}");
    }
}

// Limits.

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once_and_places_come_back() {
    let mut listener = plain();
    listener.limits.connections = 2;
    let running = RunningListener::start(&listener, echo_path);
    let mut first = running.connect().await;
    let mut second = running.connect().await;
    ask(&mut first, "/").await;
    ask(&mut second, "/").await;

    assert_eq!(read_to_end(&mut running.connect().await).await, "");
    assert_eq!(running.stats().count(ConnectionEvent::RefusedFull), 1);
    assert!(ask(&mut second, "/still").await.ends_with("/still"));

    drop(first);
    eventually("a place is free", || running.stats().open() == 1).await;
    assert!(ask(&mut running.connect().await, "/").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn one_address_gets_its_share_and_no_more() {
    let mut listener = plain();
    listener.limits.connections_per_address = 1;
    let running = RunningListener::start(&listener, echo_path);
    let mut first = running.connect().await;
    ask(&mut first, "/").await;

    assert_eq!(read_to_end(&mut running.connect().await).await, "");
    assert_eq!(running.stats().count(ConnectionEvent::RefusedAddress), 1);

    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(running.address()).await.unwrap();
    assert!(ask(&mut other, "/").await.starts_with("HTTP/1.1 200"), "another address has its own");
}

#[tokio::test]
async fn shared_addresses_and_proxies_have_no_share_to_use_up() {
    let net = || vec!["127.0.0.1/32".parse().unwrap()];
    for mut listener in [
        ListenerSettings { shared_addresses: net(), ..plain() },
        ListenerSettings { trusted_proxies: net(), ..plain() },
    ] {
        listener.limits.connections_per_address = 1;
        let running = RunningListener::start(&listener, echo_path);
        let (mut first, mut second) = (running.connect().await, running.connect().await);
        assert!(ask(&mut first, "/").await.starts_with("HTTP/1.1 200"));
        assert!(ask(&mut second, "/").await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn heads_that_are_too_large_get_431() {
    let mut listener = plain();
    listener.limits.header_count = 10;
    listener.limits.header_bytes = 2000;
    let running = RunningListener::start(&listener, echo_path);
    let lines = |count: usize| (1..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    for (more, status, why) in [
        (lines(10), "200", "as many lines as are allowed"),
        (lines(11), "431", "one too many"),
        (format!("x: {}\r\n", "y".repeat(1900)), "200", "long, but not too long"),
        (format!("x: {}\r\n", "y".repeat(2000)), "431", "too long"),
        (format!("x: {}", "y".repeat(1 << 20)), "431", "too long and far from its end"),
    ] {
        let mut stream = running.connect().await;
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{more}\r\n");
        // The server need not read all of it.
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{why}: {answer}");
    }
}

#[tokio::test]
async fn http_2_heads_that_are_too_large_get_431() {
    let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
    let mut listener = with_tls(&place, &authority);
    listener.limits.header_bytes = 2000;
    let running = RunningListener::start_at(place, &listener, echo_path);
    let client = TlsClient::trusting(authority.der()).alpn(&["h2"]);
    let mut sender = http2(client.connect(&running, "localhost").await.unwrap()).await;
    let with = |length: usize| {
        let mut request = get("/");
        request.headers_mut().insert("x", "y".repeat(length).parse().unwrap());
        request
    };

    let large = within(sender.send_request(with(4000))).await;
    // A client that respects the setting refuses by itself.
    assert!(large.map_or(true, |response| response.status() == 431));
    assert_eq!(within(sender.send_request(with(1000))).await.unwrap().status(), 200);
}

/// An HTTP/2 frame (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [kind, flags];
    [&length[..], &head, &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn floods_of_http_2_frames_end_their_connection() {
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    const GOAWAY: u8 = 7;
    const CALM: [u8; 4] = [0, 0, 0, 11];
    // GET, https, /, and :authority `a` by HPACK's static table.
    let head = [0x82, 0x87, 0x84, 0x41, 1, b'a'];
    let resets = (0..500).flat_map(|n| {
        let stream = 2 * n + 1;
        [frame(HEADERS, 5, stream, &head), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    });
    let line = [&[0x40, 1, b'x', 0x7f, 0x81, 7][..], &[b'y'; 1024]].concat();
    let heads = (0..500).flat_map(|_| frame(CONTINUATION, 0, 1, &line));
    let heads = frame(HEADERS, 1, 1, &head).into_iter().chain(heads);
    for (flood, why) in [
        (resets.collect::<Vec<_>>(), "streams opened and reset at once"),
        (heads.collect(), "a head without an end"),
    ] {
        let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
        let listener = with_tls(&place, &authority);
        let running = RunningListener::start_at(place, &listener, echo_path);
        let client = TlsClient::trusting(authority.der()).alpn(&["h2"]);
        let mut stream = client.connect(&running, "localhost").await.unwrap();

        let opening = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])];
        stream.write_all(&opening.concat()).await.unwrap();
        // It may be cut in the middle.
        let _ = stream.write_all(&flood).await;

        let last = within(async {
            loop {
                let mut head = [0; 9];
                if stream.read_exact(&mut head).await.is_err() {
                    break None;
                }
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; usize::try_from(length).unwrap()];
                stream.read_exact(&mut payload).await.unwrap();
                if head[3] == GOAWAY {
                    break Some(payload[4..8].to_vec());
                }
            }
        });
        assert_eq!(last.await.as_deref(), Some(&CALM[..]), "{why}");
        drop(stream);
        eventually("the place is free", || running.stats().open() == 0).await;
    }
}

// Drain.

#[tokio::test]
async fn a_drain_finishes_what_was_begun() {
    let held = Held::new();
    let asked = held.clone();
    let handler = move |_, _, request| asked.clone().answer_later(request);
    let running = RunningListener::start(&plain(), handler);
    let mut stream = running.connect().await;
    stream.write_all(b"GET /begun HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    held.is_asked().await;

    running.listening.drain().start();
    within(running.listening.drain().stopped_accepting()).await;

    let refused = tokio::net::TcpStream::connect(running.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    held.answer();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.ends_with("/begun"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    running.idle().await;
    assert_eq!(running.stats().open(), 0);
}

#[tokio::test]
async fn a_drain_closes_idle_connections() {
    let (place, authority) = (ListenerFolder::new(), CertificateAuthority::new());
    let listener = with_tls(&place, &authority);
    let running = RunningListener::start_at(place, &listener, echo_path);
    let client = TlsClient::trusting(authority.der());
    let mut one = client.connect(&running, "localhost").await.unwrap();
    ask(&mut one, "/").await;
    let client = client.alpn(&["h2"]);
    let mut two = http2(client.connect(&running, "localhost").await.unwrap()).await;
    assert_eq!(within(two.send_request(get("/"))).await.unwrap().status(), 200);

    running.listening.drain().start();

    let mut rest = Vec::new();
    within(one.read_to_end(&mut rest)).await.expect("closed in good order");
    assert!(rest.is_empty());
    eventually("closed", || two.is_closed()).await;
    running.idle().await;
}

/// A client may send its next request in the moment in which the drain begins.
#[tokio::test]
async fn a_drain_answers_the_next_request_of_an_idle_connection_and_says_that_it_is_the_last() {
    let running = RunningListener::start(&plain(), echo_path);
    let mut idle = Vec::new();
    for _ in 0..8 {
        let mut stream = running.connect().await;
        ask(&mut stream, "/first").await;
        idle.push(stream);
    }

    running.listening.drain().start();
    within(running.listening.drain().stopped_accepting()).await;

    for stream in &mut idle {
        stream.write_all(b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    }
    for stream in &mut idle {
        let answer = read_to_end(stream).await;
        assert!(answer.ends_with("/next"), "{answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    }
    running.idle().await;
}

#[tokio::test]
async fn a_drain_lets_http_2_streams_finish() {
    let (place, authority, held) =
        (ListenerFolder::new(), CertificateAuthority::new(), Held::new());
    let listener = with_tls(&place, &authority);
    let asked = held.clone();
    let handler = move |_, _, request| asked.clone().answer_later(request);
    let running = RunningListener::start_at(place, &listener, handler);
    let client = TlsClient::trusting(authority.der()).alpn(&["h2"]);
    let mut sender = http2(client.connect(&running, "localhost").await.unwrap()).await;
    let begun = tokio::task::spawn(sender.send_request(get("/begun")));
    held.is_asked().await;

    running.listening.drain().start();
    within(running.listening.drain().stopped_accepting()).await;
    held.answer();

    assert_eq!(text(within(begun).await.unwrap().unwrap()).await, "/begun");
    running.idle().await;
}

#[tokio::test]
async fn clients_that_were_waiting_when_the_drain_began_are_answered() {
    let place = ListenerFolder::new();
    let bound = place.bind(&plain()).unwrap();
    let address = bound.addresses()[0].tcp().unwrap();
    // Complete for the kernel, but nobody has accepted them.
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /waiting HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        waiting.push(stream);
    }
    let threads = tollhouse::runtime::GatewayThreads::start(2, 1).unwrap();

    // The workers are kept busy until the drain has begun.
    let busy = Arc::new(std::sync::Barrier::new(3));
    for worker in threads.workers() {
        let busy = busy.clone();
        worker.spawn(async move {
            busy.wait();
        });
    }

    let listening = listener::serve(bound, &threads, echo_path);
    listening.drain().start();
    busy.wait();

    for stream in &mut waiting {
        let answer = read_to_end(stream).await;
        assert!(answer.ends_with("/waiting"), "{answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    }
    within(threads.idle()).await;
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_client_that_says_nothing() {
    let running = RunningListener::start(&plain(), echo_path);
    let _silent = running.connect().await;
    eventually("accepted", || running.stats().open() == 1).await;

    running.listening.drain().start();

    running.idle().await;
}

// Load.

#[tokio::test]
async fn a_worker_with_much_more_to_do_hands_connections_over() {
    let which = |worker: Arc<Worker>, _, _| async move {
        Response::new(Body::full(worker.index.to_string()))
    };
    let running = RunningListener::start(&plain(), which);
    let busy = &running.threads.workers()[0];
    busy.connections.fetch_add(100, Ordering::Relaxed);

    let mut streams = Vec::new();
    for _ in 0..32 {
        let mut stream = running.connect().await;
        assert!(ask(&mut stream, "/").await.ends_with('1'));
        streams.push(stream);
    }

    // Which of the two sockets the kernel chose is its own affair, but never one 32 times.
    assert!(running.stats().count(ConnectionEvent::HandedOver) > 0);
    assert_eq!(busy.connections.load(Ordering::Relaxed), 100);
    drop(streams);
    eventually("all loads given back", || {
        running.threads.workers()[1].connections.load(Ordering::Relaxed) == 0
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_counts_as_a_connection_until_it_ends() {
    let tunnel = |worker: Arc<Worker>, _, mut request: http::Request<Incoming>| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        worker.spawn(async move {
            let mut tunnel = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
            let mut byte = [0];
            while let Ok(1) = tunnel.read(&mut byte).await {
                tunnel.write_all(&byte).await.unwrap();
            }
        });
        let response = http::Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "echo");
        response.body(Body::empty()).unwrap()
    };
    let mut listener = plain();
    // A tunnel has timeouts of its own: these are over with the request.
    (listener.timeouts.header, listener.timeouts.keep_alive) = (SHORT, SHORT);
    let running = RunningListener::start(&listener, tunnel);
    let mut stream = running.connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await
        .unwrap();
    assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 101"));

    tokio::time::sleep(SHORT * 2).await;
    stream.write_all(b"!").await.unwrap();
    assert_eq!(within(stream.read_u8()).await.unwrap(), b'!');
    assert_eq!(running.stats().open(), 1);

    drop(stream);
    eventually("the place is free", || running.stats().open() == 0).await;
}

/// Runs this test alone in a process of its own, because it uses up the process's descriptors.
const ALONE: &str = "TOLLHOUSE_TEST_WITHOUT_DESCRIPTORS";

#[tokio::test]
async fn accepting_survives_a_lack_of_descriptors() {
    if std::env::var_os(ALONE).is_none() {
        let name = "protocol::listener::accepting_survives_a_lack_of_descriptors";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        // A name that fits no test would pass as well.
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{name} ran");
        return;
    }
    let running = RunningListener::start(&plain(), echo_path);
    let mut kept = running.connect().await;
    ask(&mut kept, "/").await;
    let client = tokio::net::TcpSocket::new_v4().unwrap();

    let mut hoard = Vec::new();
    limit_descriptors(256);
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    let mut waiting = client.connect(running.address()).await.unwrap();
    eventually("accepting has failed", || running.stats().count(ConnectionEvent::AcceptFailed) > 1)
        .await;
    assert!(ask(&mut kept, "/kept").await.ends_with("/kept"), "the others go on");

    // What the gateway does at its start is a remedy too.
    listener::raise_nofile().unwrap();
    assert!(ask(&mut waiting, "/late").await.ends_with("/late"));
    assert!(running.stats().count(ConnectionEvent::AcceptFailed) < 100, "it did not spin");
    drop(hoard);
}

fn limit_descriptors(descriptors: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), maximum }).unwrap();
}
