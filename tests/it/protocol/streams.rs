//! What outlives its request: WebSockets, long downloads, and when they have to end.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{Method, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};
use tollhouse::admin::client as admin;
use tollhouse::config;

use crate::harness::client::{PATIENCE, Stream};
use crate::harness::gateway::users;
use crate::harness::scripted_upstream::{ScriptedUpstream, UpstreamConnection, eventually};
use crate::harness::tls_gateway::{TlsGateway, route_to};
use crate::harness::{Client, Gateway};

/// The life of a token, and a bit.
const TOKEN_OVER: Duration = Duration::from_secs(16 * 60);

pub(crate) type Socket = WebSocketStream<Box<dyn Stream>>;

/// A WebSocket service that answers with what it is told.
pub(crate) struct EchoWebSocket {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl EchoWebSocket {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::task::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn(async move {
                    let Ok(mut socket) = accept_async(stream).await else { return };
                    while let Some(Ok(message)) = socket.next().await {
                        if (message.is_text() || message.is_binary())
                            && socket.send(message).await.is_err()
                        {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, task }
    }

    pub(crate) fn config(&self, keys: &str) -> String {
        self.config_at("/", keys)
    }

    /// The same on another path.
    pub(crate) fn config_at(&self, path: &str, keys: &str) -> String {
        route_to("parrot", &format!("http://{}", self.address), path, keys)
    }
}

impl Drop for EchoWebSocket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn protected() -> (Gateway, EchoWebSocket) {
    let parrot = EchoWebSocket::start().await;
    let builder = Gateway::builder().moving().login("native").config(&parrot.config(""));
    (builder.start().await, parrot)
}

/// A WebSocket to the gateway, or why there is none.
async fn open(client: &Client, token: Option<&str>) -> Result<Socket, Error> {
    let value = token.map(|token| format!("Bearer {token}"));
    open_with(client, value.as_deref().map(|value| ("authorization", value))).await
}

/// `Authorization` of a name and a password.
pub(crate) fn basic(name: &str, password: &str) -> String {
    use base64::Engine;
    let pair = format!("{name}:{password}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

/// A WebSocket with this field.
pub(crate) async fn open_with(
    client: &Client,
    field: Option<(&'static str, &str)>,
) -> Result<Socket, Error> {
    let mut request = "ws://localhost/socket?a=b".into_client_request().unwrap();
    if let Some((name, value)) = field {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let opened = client_async(request, client.connect().await);
    let (socket, _) = timeout(PATIENCE, opened).await.expect("an answer in time")?;
    Ok(socket)
}

async fn opened(gateway: &Gateway, token: &str) -> Socket {
    let mut socket = open(&gateway.client(), Some(token)).await.unwrap();
    assert_echo(&mut socket, Message::text("first")).await;
    socket
}

pub(crate) async fn assert_echo(socket: &mut Socket, message: Message) {
    socket.send(message.clone()).await.unwrap();
    let answer = timeout(PATIENCE, socket.next()).await.expect("an answer in time");
    assert!(answer.unwrap().unwrap() == message, "the same comes back");
}

/// The socket is closed with 1008 and nothing comes before that.
pub(crate) async fn assert_closed(mut socket: Socket, why: &str) {
    let next = timeout(PATIENCE, socket.next()).await.expect(why);
    match next {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Policy, "{why}"),
        other => panic!("{why}: {other:?}"),
    }
}

async fn revoke(gateway: &Gateway, path: &str) {
    let socket = gateway.running().admin_socket();
    let (status, answer) = admin::call(socket, Method::DELETE, path, None).await.unwrap();
    assert_eq!((status, &answer["ended"]), (StatusCode::OK, &1.into()), "{answer}");
}

/// What the gateway counts as open at the moment.
async fn streams(gateway: &Gateway) -> String {
    let client = Client::plain(gateway.running().admin_address().unwrap());
    let text = client.get("/metrics").send().await.assert_status(200).text();
    let line = text.lines().find(|line| line.starts_with("tollhouse_streams"));
    line.unwrap_or_else(|| panic!("no such gauge in {text}")).to_owned()
}

async fn until_streams(gateway: &Gateway, count: usize) {
    let reached = async {
        while !streams(gateway).await.ends_with(&format!(" {count}")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect("so many streams in time");
}

#[tokio::test]
async fn a_web_socket_passes_both_ways_with_and_without_tls() {
    let parrot = EchoWebSocket::start().await;
    let secure = TlsGateway::new();
    let config = parrot.config("");
    let plain = Gateway::builder().login("native").config(&config).start().await;
    let tls = secure.builder().login("native").config(&config).start().await;

    for (gateway, client) in [(&plain, plain.client()), (&tls, secure.client(&tls, false))] {
        let login = serde_json::json!({
            "username": "alice", "password": crate::harness::gateway::PASSWORD
        });
        let token = client.post("/auth/login").json(login).send().await.member("access_token");
        let mut socket = open(&client, Some(&token)).await.unwrap();

        assert_echo(&mut socket, Message::text("hello")).await;
        assert_echo(&mut socket, Message::binary(vec![7; 1024 * 1024])).await;
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}

        eventually(|| gateway.access_log().len() == 2).await;
        assert_eq!(gateway.access_log()[1]["http.response.status_code"], 101);
    }
}

#[tokio::test]
async fn nothing_passes_before_the_upstream_has_agreed() {
    let fake = ScriptedUpstream::start().await;
    let config = route_to("fake", &format!("http://{}", fake.address()), "/", "");
    let gateway = Gateway::builder().login("native").config(&config).start().await;
    let token = gateway.token("alice").await;
    let ask = format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );

    let mut client = UpstreamConnection::new(gateway.client().connect().await);
    client.send(format!("{ask}early")).await;
    let mut upstream = fake.accept().await;
    let head = upstream.head().await;
    assert!(!head.contains("authorization") && head.contains("x-auth-username: alice"), "{head}");
    assert!(upstream.is_silent(Duration::from_millis(100)).await, "nothing before the 101");
    assert!(client.is_silent(Duration::ZERO).await, "no 101 before the upstream's");
    upstream
        .send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await;

    assert!(client.head().await.starts_with("http/1.1 101 "));
    upstream.until("early").await;
}

#[tokio::test]
async fn an_upgrade_without_a_credential_is_401_and_never_leaves() {
    let fake = ScriptedUpstream::start().await;
    let config = route_to("fake", &format!("http://{}", fake.address()), "/", "");
    let gateway = Gateway::builder().login("native").config(&config).start().await;

    for token in [None, Some("a.b.c")] {
        match open(&gateway.client(), token).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 401),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("opened with {token:?}"),
        }
    }

    assert!(fake.is_untouched(Duration::from_millis(100)).await);
}

#[tokio::test]
async fn a_logout_closes_this_sessions_web_sockets_and_no_others() {
    let (gateway, _parrot) = protected().await;
    let (ended, other) = (gateway.token("alice").await, gateway.token("alice").await);
    let (first, second) = (opened(&gateway, &ended).await, opened(&gateway, &ended).await);
    let mut stays = opened(&gateway, &other).await;

    gateway.client().post("/auth/logout").bearer(&ended).send().await.assert_status(204);

    assert_closed(first, "logged out").await;
    assert_closed(second, "logged out").await;
    assert_echo(&mut stays, Message::text("still here")).await;
    until_streams(&gateway, 1).await;
}

#[tokio::test]
async fn an_operator_closes_web_sockets_by_session_and_by_user() {
    let (gateway, _parrot) = protected().await;
    let (alice, bob) = (gateway.token("alice").await, gateway.token("bob").await);
    let (by_session, by_user) = (opened(&gateway, &alice).await, opened(&gateway, &bob).await);
    let audit = gateway.access_log();
    let session = audit.iter().find(|line| line["url.path"] == "/auth/login").unwrap();

    revoke(&gateway, &format!("/sessions/{}", session["session.id"].as_str().unwrap())).await;
    assert_closed(by_session, "the session was revoked").await;
    revoke(&gateway, "/sessions?user=bob").await;
    assert_closed(by_user, "the user was revoked").await;
}

#[tokio::test]
async fn a_user_who_is_disabled_loses_his_web_sockets() {
    let (gateway, _parrot) = protected().await;
    let socket = opened(&gateway, &gateway.token("alice").await).await;
    let mut stays = opened(&gateway, &gateway.token("bob").await).await;
    // The file is looked at by the gateway's clock, some seconds apart.
    let looks = async {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            gateway.advance(Duration::from_secs(1));
        }
    };

    let text = users().replace("name = \"alice\"", "name = \"alice\"\ndisabled = true");
    std::fs::write(gateway.dir().join("users.toml"), text).unwrap();

    tokio::select! {
        () = assert_closed(socket, "the user was disabled") => (),
        () = looks => (),
    }
    assert_echo(&mut stays, Message::text("still here")).await;
}

#[tokio::test]
async fn a_web_socket_ends_with_its_token() {
    let (gateway, _parrot) = protected().await;
    let socket = opened(&gateway, &gateway.token("alice").await).await;

    gateway.advance(TOKEN_OVER);

    assert_closed(socket, "the token expired").await;
    until_streams(&gateway, 0).await;
}

#[tokio::test]
async fn a_web_socket_on_an_open_route_stays() {
    let parrot = EchoWebSocket::start().await;
    let config = parrot.config("auth = []");
    let gateway = Gateway::builder().moving().login("native").config(&config).start().await;
    let mut socket = open(&gateway.client(), None).await.unwrap();

    gateway.advance(Duration::from_secs(90 * 24 * 3600));

    assert_echo(&mut socket, Message::text("still here")).await;
    assert!(streams(&gateway).await.ends_with(" 0"), "it belongs to no session");
}

/// A download of `alice`'s that has begun, and the upstream's end of it.
async fn download(
    gateway: &Gateway,
    fake: &ScriptedUpstream,
) -> (UpstreamConnection, UpstreamConnection) {
    let token = gateway.token("alice").await;
    let mut client = UpstreamConnection::new(gateway.client().connect().await);
    let ask =
        format!("GET /big HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    client.send(ask).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n").await;
    client.until("ab\r\n").await;
    (client, upstream)
}

/// It goes on past its token.
async fn assert_flows((client, upstream): &mut (UpstreamConnection, UpstreamConnection)) {
    upstream.send("2\r\ncd\r\n").await;
    client.until("cd\r\n").await;
}

/// It breaks off: without the last chunk.
async fn assert_cut((mut client, mut upstream): (UpstreamConnection, UpstreamConnection)) {
    assert_eq!(client.rest().await, b"", "no last chunk");
    assert_eq!(upstream.rest().await, b"", "nobody reads on");
}

#[tokio::test]
async fn a_long_download_outlives_its_token_but_not_its_revoked_session() {
    let fake = ScriptedUpstream::start().await;
    let config = route_to("fake", &format!("http://{}", fake.address()), "/", "");
    let gateway = Gateway::builder().moving().login("native").config(&config).start().await;
    let mut late = download(&gateway, &fake).await;
    let mut early = download(&gateway, &fake).await;

    gateway.advance(TOKEN_OVER);
    assert_flows(&mut late).await;
    assert_flows(&mut early).await;

    // Once before it is known to be long, once after.
    let line = gateway.access_log().pop().unwrap();
    assert_eq!(line["url.path"], "/auth/login", "of the second download");
    revoke(&gateway, &format!("/sessions/{}", line["session.id"].as_str().unwrap())).await;
    assert_cut(early).await;
    until_streams(&gateway, 1).await;
    assert_flows(&mut late).await;
    revoke(&gateway, "/sessions?user=alice").await;
    assert_cut(late).await;

    eventually(|| gateway.access_log().len() == 4).await;
    let line = gateway.access_log().pop().unwrap();
    assert_eq!(line["outcome"], "aborted");
    assert_eq!(line["cause"], "the session of this stream ended");
    until_streams(&gateway, 0).await;
}

#[tokio::test]
async fn a_long_download_ends_with_its_session_at_the_latest() {
    let fake = ScriptedUpstream::start().await;
    let config = route_to("fake", &format!("http://{}", fake.address()), "/", "");
    let login = "[[login]]\ndialect = \"native\"\nrefresh_ttl = \"2h\"";
    let gateway = Gateway::builder().moving().config(login).config(&config).start().await;
    let mut flows = download(&gateway, &fake).await;
    until_streams(&gateway, 1).await;

    gateway.advance(Duration::from_secs(2 * 3600 - 1));
    assert_flows(&mut flows).await;
    gateway.advance(Duration::from_secs(1));

    assert_cut(flows).await;
}

/// A gateway on a clock of its own, with `keys` of the route to a fake upstream.
async fn streaming(login: &str, keys: &str) -> (Gateway, ScriptedUpstream) {
    let fake = ScriptedUpstream::start().await;
    let config = route_to("fake", &format!("http://{}", fake.address()), "/", keys);
    let login = format!("[[login]]\ndialect = \"native\"\n{login}");
    let gateway = Gateway::builder().moving().config(&login).config(&config).start().await;
    (gateway, fake)
}

#[tokio::test]
async fn a_stream_of_events_that_says_nothing_ends_with_a_logout() {
    let (gateway, fake) = streaming("", "").await;
    let token = gateway.token("alice").await;
    let mut client = UpstreamConnection::new(gateway.client().connect().await);
    let ask = format!(
        "GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    client.send(ask).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    let begun = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                 Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
    upstream.send(begun).await;
    client.until("data: 1\n\n\r\n").await;
    until_streams(&gateway, 1).await;

    gateway.client().post("/auth/logout").bearer(&token).send().await.assert_status(204);

    assert_cut((client, upstream)).await;
    until_streams(&gateway, 0).await;
}

#[tokio::test]
async fn close_at_says_what_a_stream_does_not_outlive() {
    let (gateway, fake) = streaming("", "close_at = \"token\"").await;
    let flows = download(&gateway, &fake).await;
    until_streams(&gateway, 1).await;
    gateway.advance(TOKEN_OVER);
    assert_cut(flows).await;

    let parrot = EchoWebSocket::start().await;
    let config = parrot.config("close_at = \"session\"");
    let login = "[[login]]\ndialect = \"native\"\nrefresh_ttl = \"2h\"";
    let gateway = Gateway::builder().moving().config(login).config(&config).start().await;
    let mut socket = opened(&gateway, &gateway.token("alice").await).await;
    gateway.advance(TOKEN_OVER);
    assert_echo(&mut socket, Message::text("still here")).await;
    gateway.advance(Duration::from_secs(2 * 3600));
    assert_closed(socket, "the session is over").await;
}

#[tokio::test]
async fn a_download_ends_when_nobody_refreshes_its_session_any_more() {
    let (gateway, fake) = streaming("refresh_idle = \"1h\"", "").await;
    let mut flows = download(&gateway, &fake).await;
    until_streams(&gateway, 1).await;

    gateway.advance(Duration::from_secs(59 * 60));
    assert_flows(&mut flows).await;
    // Sessions are looked at a minute apart; one look may still be under way.
    let looks = async {
        for _ in 0..20 {
            gateway.advance(Duration::from_secs(61));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::join!(assert_cut(flows), looks);

    until_streams(&gateway, 0).await;
}

#[tokio::test]
async fn a_reload_ends_what_routes_have_open_whose_rule_it_changed_and_nothing_else() {
    let parrot = EchoWebSocket::start().await;
    let address = parrot.address;
    let route = |name: &str, keys: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\npath = \"/{name}/\"\nupstream = \"parrot\"\n{keys}\n"
        )
    };
    let routes: Vec<String> = [
        ("gone", "auth = []"),
        ("ruled", ""),
        ("closed", "auth = []"),
        ("moved", ""),
        ("observed", "enforce = false"),
        ("same", "response_headers = { remove = [\"Server\"] }"),
        ("open", "auth = []"),
        ("cut", "auth = []"),
        ("split", "auth = []"),
    ]
    .iter()
    .map(|(name, keys)| route(name, keys))
    .collect();
    let upstream =
        |name| format!("[[upstream]]\nname = \"{name}\"\nservers = [\"http://{address}\"]\n");
    let builder = Gateway::builder().login("native").config(&upstream("parrot"));
    let gateway = builder.config(&upstream("other")).config(&routes.concat()).start().await;
    let token = gateway.token("alice").await;
    let value = format!("Bearer {token}");
    let mut sockets = Vec::new();
    for name in ["gone", "ruled", "closed", "moved", "observed", "same", "open", "cut", "split"] {
        let uri = format!("ws://localhost/{name}/x");
        let mut request = uri.into_client_request().unwrap();
        request.headers_mut().insert("authorization", value.parse().unwrap());
        let opening = client_async(request, gateway.client().connect().await);
        let (mut socket, _) = timeout(PATIENCE, opening).await.unwrap().unwrap();
        assert_echo(&mut socket, Message::text(name)).await;
        sockets.push((name, socket));
    }

    let path = gateway.dir().join("gateway.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    let after = before
        .replace(&routes[0], "")
        .replace(&routes[1], &route("ruled", "require = { roles = [\"admin\"] }"))
        .replace(&routes[2], &route("closed", ""))
        .replace(&routes[3], &routes[3].replace("\"parrot\"", "\"other\""))
        .replace(&routes[4], &route("observed", ""))
        .replace(&routes[5], &route("same", "body_limit = \"1MiB\""));
    // A part of a route is another's from now on: by another rule, and by the same one.
    let after = after
        + "[[route]]\npath = \"=/cut/x\"\nupstream = \"parrot\"\n"
        + "[[route]]\npath = \"=/split/x\"\nupstream = \"parrot\"\nauth = []\n";
    std::fs::write(&path, after).unwrap();
    let read = || config::load(&path, &|_| None).map(|loaded| loaded.config);
    gateway.running().reload(|| read().map_err(|issues| issues.to_string())).unwrap();

    for (name, mut socket) in sockets {
        match name {
            "same" | "open" | "split" => {
                assert_echo(&mut socket, Message::text("still here")).await
            }
            _ => assert_closed(socket, name).await,
        }
    }
}

#[tokio::test]
async fn a_reload_ends_a_running_download_of_a_route_that_is_gone() {
    let (gateway, fake) = streaming("", "").await;
    let flows = download(&gateway, &fake).await;
    until_streams(&gateway, 1).await;

    crate::credentials::exchange::reload(&gateway, "path = \"/\"", "path = \"/elsewhere\"");

    assert_cut(flows).await;
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Asks for a tunnel with `token`.
async fn ask_tunnel(gateway: &Gateway, path: &str, token: &str) -> UpstreamConnection {
    let mut client = UpstreamConnection::new(gateway.client().connect().await);
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n");
    client.send(head + UPGRADE).await;
    client
}

async fn tunnel(
    gateway: &Gateway,
    fake: &ScriptedUpstream,
    path: &str,
    token: &str,
) -> (UpstreamConnection, UpstreamConnection) {
    let mut client = ask_tunnel(gateway, path, token).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    let agree =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    upstream.send(agree).await;
    assert!(client.head().await.starts_with("http/1.1 101 "));
    (client, upstream)
}

#[tokio::test]
async fn a_session_has_so_many_tunnels_on_all_routes_together() {
    let fake = ScriptedUpstream::start().await;
    let url = format!("http://{}", fake.address());
    let first = route_to("first", &url, "/one/", "max_tunnels = 2");
    let second = route_to("second", &url, "/two/", "max_tunnels = 2\nerrors = \"datarhei\"");
    let builder = Gateway::builder().login("native").config(&first).config(&second);
    let gateway = builder.start().await;
    let (alice, again) = (gateway.token("alice").await, gateway.token("alice").await);
    let held = tunnel(&gateway, &fake, "/one/", &alice).await;
    let _other = tunnel(&gateway, &fake, "/two/", &alice).await;

    for (path, shape) in [("/one/", "\"code\":\"rate_limited\""), ("/two/", "\"code\":429")] {
        let mut refused = ask_tunnel(&gateway, path, &alice).await;
        let head = refused.head().await;
        assert!(head.starts_with("http/1.1 429 ") && head.contains("retry-after: 5"), "{head}");
        refused.until(shape).await;
    }
    assert!(fake.is_untouched(Duration::from_millis(100)).await);
    let _session_of_its_own = tunnel(&gateway, &fake, "/one/", &again).await;

    drop(held);
    until_streams(&gateway, 2).await;
    tunnel(&gateway, &fake, "/one/", &alice).await;
}
