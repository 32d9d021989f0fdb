//! Copies of a route's requests for its mirror: what is in them, and what they never do to the
//! request itself.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::credentials::metric;
use crate::harness::client::raw_exchange;
use crate::harness::scripted_upstream::{
    ScriptedUpstream, UpstreamConnection, closed_port, eventually,
};
use crate::harness::tls_gateway::route_to;
use crate::harness::{Gateway, GatewayBuilder, Upstream};

/// A route to `main` with its mirror at `shadow`.
fn mirrored(main: &str, shadow: &str, keys: &str) -> GatewayBuilder {
    let shadow = format!("[[upstream]]\nname = \"shadow\"\nservers = [\"{shadow}\"]\n");
    Gateway::builder().login("native").config(&shadow).config(&route_to("main", main, "/", keys))
}

async fn until_mirrored(gateway: &Gateway, result: &str, count: u64) {
    let series = format!("tollhouse_mirrored_total{{route=\"main\",result=\"{result}\"}}");
    let reached = async {
        while metric(gateway, &series).await != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = crate::harness::client::PATIENCE;
    tokio::time::timeout(limit, reached).await.expect("so many in time");
}

#[tokio::test]
async fn a_copy_has_all_that_the_request_has_but_its_credentials() {
    let (main, shadow) = (Upstream::start().await, Upstream::start().await);
    let keys = "auth = [\"token_key\", \"bearer\"]\nforward_credential = true\n\
                strip_prefix = \"/\"\nmirror = \"shadow\"\n\
                request_headers = { set = { X-Tenant = \"$claims.tenant\" } }";
    let gateway = mirrored(&main.url(), &shadow.url(), keys).start().await;
    let token = gateway.token("alice").await;

    let client = gateway.client();
    let call = client.post("/a%20b?x=1&access_token=secret&y=2").bearer(&token);
    let call = call.header("cookie", "sid=secret").header("x-custom", "7");
    call.body("the body").send().await.assert_status(200);

    eventually(|| !shadow.received().is_empty()).await;
    let (original, copy) = (main.only(), shadow.only());
    assert_eq!(copy.method, original.method);
    assert_eq!(copy.target, "/a%20b?x=1&y=2");
    assert_eq!(copy.body, "the body");
    assert_eq!(original.header("authorization"), Some(&*format!("Bearer {token}")));
    for name in ["x-custom", "x-tenant", "x-auth-subject", "x-request-id", "x-forwarded-for"] {
        assert!(copy.header(name).is_some(), "{name} is there");
        assert_eq!(copy.header(name), original.header(name), "{name}");
    }
    for name in ["authorization", "cookie", "x-access-token", "x-key", "x-api-key"] {
        assert_eq!(copy.header(name), None, "{name}");
    }
    let said = format!("{:?}", copy.headers);
    assert!(!said.contains(&token) && !said.contains("secret"), "{said}");
}

#[tokio::test]
async fn each_upstream_sees_its_own_credential_alone() {
    let (main, shadow) = (Upstream::start().await, Upstream::start().await);
    let dir = tempfile::tempdir().unwrap();
    let upstream = |name: &str, url: &str| {
        let file = dir.path().join(name);
        std::fs::write(&file, format!("for-{name}")).unwrap();
        format!(
            "[[upstream]]\nname = \"{name}\"\nservers = [\"{url}\"]\n\
             credential = {{ headers = {{ X-{name} = {{ file = {file:?} }} }} }}\n"
        )
    };
    let route = "[[route]]\npath = \"/\"\nupstream = \"main\"\nauth = []\nmirror = \"shadow\"";
    let gateway = Gateway::builder()
        .config(&upstream("main", &main.url()))
        .config(&upstream("shadow", &shadow.url()))
        .config(route)
        .start()
        .await;

    let client = gateway.client();
    let call = client.get("/x").header("x-main", "forged").header("x_shadow", "forged");
    call.send().await.assert_status(200);

    eventually(|| !shadow.received().is_empty()).await;
    let (main, shadow) = (main.only(), shadow.only());
    assert_eq!((main.header("x-main"), main.header("x-shadow")), (Some("for-main"), None));
    assert_eq!((shadow.header("x-main"), shadow.header("x-shadow")), (None, Some("for-shadow")));
    assert_eq!((main.header("x_shadow"), shadow.header("x_shadow")), (None, None));
}

#[tokio::test]
async fn a_token_of_ours_for_the_upstream_is_not_copied() {
    let (main, shadow) = (Upstream::start().await, Upstream::start().await);
    let keys = "identity = \"jwt\"\nidentity_header = \"X-Caller\"\nmirror = \"shadow\"";
    let gateway = mirrored(&main.url(), &shadow.url(), keys).start().await;
    let token = gateway.token("alice").await;

    gateway.client().get("/x").bearer(&token).send().await.assert_status(200);

    eventually(|| !shadow.received().is_empty()).await;
    assert!(main.only().header("x-caller").is_some());
    assert_eq!(shadow.only().header("x-caller"), None);
}

#[tokio::test]
async fn what_is_refused_is_not_copied() {
    let (main, shadow) = (Upstream::start().await, Upstream::start().await);
    let keys = "require = { roles = [\"admin\"] }\nmirror = \"shadow\"\n\
                rate_limit = { requests = 1, per = \"1h\" }";
    let gateway = mirrored(&main.url(), &shadow.url(), keys).start().await;
    let bob = gateway.token("bob").await;

    gateway.client().get("/x").send().await.assert_status(401);
    gateway.client().get("/x").bearer(&bob).send().await.assert_status(403);
    gateway.client().get("/x").bearer(&bob).send().await.assert_status(429);

    // A copy would have been sent before the answer; one that is wanted comes through.
    let alice = gateway.token("alice").await;
    gateway.client().get("/wanted").bearer(&alice).send().await.assert_status(200);
    eventually(|| !shadow.received().is_empty()).await;
    assert_eq!(shadow.only().target, "/wanted");
    assert_eq!(main.only().target, "/wanted");
}

#[tokio::test]
async fn a_mirror_that_stalls_is_not_waited_for_and_costs_no_more_than_its_places() {
    let (main, stalled) = (Upstream::start().await, ScriptedUpstream::start().await);
    let shadow = format!("http://{}", stalled.address());
    let keys = "auth = []\nmirror = \"shadow\"";
    let gateway = mirrored(&main.url(), &shadow, keys).start().await;
    let client = gateway.client();

    for _ in 0..80 {
        client.get("/x").send().await.assert_status(200);
    }

    assert_eq!(main.received().len(), 80);
    until_mirrored(&gateway, "too_many", 80 - 64).await;
    let mut peer = stalled.accept().await;
    assert!(peer.head().await.starts_with("get /x http/1.1"));
    peer.send("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n").await;
    until_mirrored(&gateway, "answered", 1).await;
}

#[tokio::test]
async fn a_mirror_that_is_down_is_counted_and_nothing_else() {
    let main = Upstream::start().await;
    let shadow = format!("http://{}", closed_port().await);
    let gateway = mirrored(&main.url(), &shadow, "auth = []\nmirror = \"shadow\"").start().await;

    gateway.client().get("/x").send().await.assert_status(200);
    gateway.client().post("/x").body("abc").send().await.assert_status(200);

    until_mirrored(&gateway, "failed", 2).await;
    assert_eq!(main.received().len(), 2);
}

#[tokio::test]
async fn large_bodies_pass_without_a_copy_whether_their_length_is_known_or_not() {
    let (main, shadow) = (Upstream::start().await, Upstream::start().await);
    let keys = "auth = []\nmirror = { upstream = \"shadow\", body_limit = \"1KiB\" }";
    let gateway = mirrored(&main.url(), &shadow.url(), keys).start().await;
    let client = gateway.client();

    client.post("/known").body(vec![b'x'; 1025]).send().await.assert_status(200);
    let piece = format!("400\r\n{}\r\n", "y".repeat(1024));
    let chunked = "POST /chunked HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
                   Transfer-Encoding: chunked\r\n\r\n";
    let large = format!("{chunked}{piece}1\r\nz\r\n0\r\n\r\n");
    assert!(raw_exchange(&client, large.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let small = format!("{chunked}{piece}0\r\n\r\n");
    assert!(raw_exchange(&client, small.as_bytes()).await.starts_with("HTTP/1.1 200"));
    client.post("/known").body(vec![b'x'; 1024]).send().await.assert_status(200);

    until_mirrored(&gateway, "answered", 2).await;
    until_mirrored(&gateway, "too_large", 2).await;
    let mut copied: Vec<_> = shadow.received().into_iter().collect();
    copied.sort_by_key(|copy| copy.target.clone());
    assert_eq!(copied[0].target, "/chunked");
    assert_eq!(copied[0].body, "y".repeat(1024));
    assert_eq!(copied[1].target, "/known");
    assert_eq!(main.received().len(), 4);
}

#[tokio::test]
async fn a_request_that_breaks_off_is_not_copied() {
    let (main, shadow) = (ScriptedUpstream::start().await, Upstream::start().await);
    let keys = "auth = []\nmirror = \"shadow\"";
    let main_url = format!("http://{}", main.address());
    let gateway = mirrored(&main_url, &shadow.url(), keys).start().await;
    let mut client = UpstreamConnection::new(gateway.client().connect().await);
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").await;
    let mut upstream = main.accept().await;
    upstream.head().await;

    client.shutdown().await.unwrap();
    drop(client);
    upstream.rest().await;

    // The next copy is the only one.
    let answered = async {
        let mut upstream = main.accept().await;
        upstream.head().await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    };
    let client = gateway.client();
    tokio::join!(
        async {
            client.get("/next").send().await.assert_status(200);
        },
        answered
    );
    eventually(|| !shadow.received().is_empty()).await;
    assert_eq!(shadow.only().target, "/next");
}

#[tokio::test]
async fn what_becomes_a_tunnel_is_not_copied() {
    let parrot = crate::protocol::streams::EchoWebSocket::start().await;
    let shadow = Upstream::start().await;
    let section = format!("[[upstream]]\nname = \"shadow\"\nservers = [\"{}\"]\n", shadow.url());
    let config = parrot.config("auth = []\nmirror = \"shadow\"");
    let gateway = Gateway::builder().config(&section).config(&config).start().await;

    let mut socket = crate::protocol::streams::open_with(&gateway.client(), None).await.unwrap();
    let message = tokio_tungstenite::tungstenite::Message::text("hello");
    crate::protocol::streams::assert_echo(&mut socket, message).await;

    shadow.assert_untouched();
}

#[tokio::test]
async fn so_many_of_a_hundred_are_copied() {
    let (main, shadow) = (Upstream::start().await, Upstream::start().await);
    let keys = "auth = []\nmirror = { upstream = \"shadow\", percent = 50 }";
    let gateway = mirrored(&main.url(), &shadow.url(), keys).start().await;

    for _ in 0..60 {
        gateway.client().get("/x").send().await.assert_status(200);
    }

    // Outside of these once in a hundred million runs.
    eventually(|| shadow.received().len() >= 8).await;
    assert!(shadow.received().len() <= 52);
    assert_eq!(main.received().len(), 60);
}
