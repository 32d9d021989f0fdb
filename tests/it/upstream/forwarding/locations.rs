//! `Location` fields of upstreams that build them from the `Host` they are passed.

use std::process::{Command, Stdio};

use http::Response;

use crate::harness::tls_gateway::TlsGateway;
use crate::harness::{Gateway, Upstream};

/// Redirects to what the client says in `X-Self`.
async fn redirecting() -> Upstream {
    Upstream::answering(|received| {
        let location = received.header("x-self").unwrap_or_default().to_owned();
        Response::builder().status(302).header("location", location).body("".into()).unwrap()
    })
    .await
}

#[tokio::test]
async fn a_location_of_the_clients_own_host_gets_its_scheme_and_keeps_the_routes_prefix() {
    let upstream = redirecting().await;
    let secure = TlsGateway::new();
    let gateway = secure
        .builder()
        .route(&upstream, "/api/", "auth = []\nstrip_prefix = \"/api\"")
        .route(&upstream, "/new/", "auth = []\nreplace_prefix = \"/old\"")
        .route(&upstream, "/", "auth = []")
        .start()
        .await;
    let client = secure.client(&gateway, false);

    for (path, host, said, expected, why) in [
        (
            "/api/x",
            "localhost",
            "http://localhost/a?b#c",
            "https://localhost/api/a?b#c",
            "stripped",
        ),
        ("/api/x", "localhost", "https://localhost/a", "https://localhost/api/a", "right scheme"),
        ("/api/x", "localhost", "http://localhost/api/a", "https://localhost/api/a", "told twice"),
        ("/api/x", "localhost", "http://localhost", "https://localhost/api/", "no path"),
        ("/new/x", "localhost", "http://localhost/old/a", "https://localhost/new/a", "replaced"),
        ("/new/x", "localhost", "http://localhost/new/a", "https://localhost/new/a", "as it is"),
        ("/x", "localhost", "http://LOCALHOST/a", "https://localhost/a", "another case"),
        ("/x", "localhost", "http://localhost:80/a", "https://localhost/a", "the default port"),
        ("/x", "localhost:8443", "http://localhost:8443/a", "https://localhost:8443/a", "a port"),
        ("/x", "localhost:8443", "http://localhost:8080/a", "http://localhost:8080/a", "another"),
        ("/x", "localhost", "http://else.example/a", "http://else.example/a", "another host"),
        ("/x", "localhost", "/a", "/a", "relative"),
    ] {
        let reply = client.get(path).host(host).header("x-self", said).send().await;
        reply.assert_status(302);
        assert_eq!(reply.header("location"), Some(expected), "{path} {said}: {why}");
    }
}

#[tokio::test]
async fn an_upstream_that_sends_people_to_https_is_not_contradicted() {
    let upstream = redirecting().await;
    let gateway = Gateway::builder().route_to(&upstream, "auth = []").start().await;

    let reply = gateway.client().get("/").header("x-self", "https://localhost/a").send().await;

    reply.assert_status(302).assert_header("location", "https://localhost/a");
}

/// What Kill Bill's own client for node does after it has made something.
const SCRIPT: &str = r#"
const kb = require("killbill"), axios = require("axios");
const http = axios.create();
http.interceptors.response.use(kb.followLocationHeaderInterceptor);
const config = new kb.Configuration({ basePath: process.env.GATEWAY, username: "admin",
  password: "password", apiKey: kb.apiKey("bob", "lazar") });
new kb.AccountApi(config, undefined, http).createAccount({ name: "Ann" }, "me")
  .then(answer => console.log(answer.data.accountId))
  .catch(error => { console.error(String(error)); process.exit(1); });
"#;

/// Needs npm and its registry, and is skipped where one of them is missing; the test above is the
/// same without them.
#[tokio::test(flavor = "multi_thread")]
// A test that is skipped says so.
#[allow(clippy::print_stderr)]
async fn the_npm_client_of_kill_bill_follows_the_location_of_what_it_made() {
    let dir = tempfile::tempdir().unwrap();
    let install = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=10000"])
        .arg("killbill@0.24.0")
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !install.is_ok_and(|status| status.success()) {
        eprintln!("skipped: npm or its registry is not there");
        return;
    }
    let upstream = Upstream::answering(|received| {
        let host = received.header("host").unwrap();
        let answer = Response::builder().header("content-type", "application/json");
        match received.method.as_str() {
            "POST" => {
                let made = format!("http://{host}{}/7", received.target);
                answer.status(201).header("location", made).body("".into()).unwrap()
            }
            _ => answer.body("{\"accountId\":\"7\"}".into()).unwrap(),
        }
    })
    .await;
    let secure = TlsGateway::new();
    let gateway = secure.builder().route_to(&upstream, "auth = []").start().await;
    std::fs::write(dir.path().join("make.js"), SCRIPT).unwrap();

    let told = Command::new("node")
        .arg("make.js")
        .current_dir(dir.path())
        .env("NODE_EXTRA_CA_CERTS", secure.chain())
        .env("GATEWAY", format!("https://localhost:{}", gateway.address().port()))
        .output()
        .unwrap();

    let (out, error) =
        (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert_eq!(out.trim(), "7", "{error}");
    assert_eq!(upstream.last().target, "/1.0/kb/accounts/7");
}
