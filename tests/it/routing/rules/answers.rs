//! Redirects and fixed answers: who gets them, what they hold, and what they never give away.

use http::Method;

use super::serving;
use crate::harness::tls_gateway::TlsGateway;
use crate::harness::{Gateway, raw_exchange};

/// Everything that a page of our own is asked for with.
const PAGE: &str = r#"
[[route]]
path = "=/page"
auth = []
respond = { status = 404, content_type = "text/html", body = "<p>Gone.</p>", headers = { X-Page = "1" } }
"#;

#[tokio::test]
async fn a_redirect_of_a_protected_route_is_for_those_whom_it_permits() {
    let gateway = serving(
        r#"
[[route]]
path = "/admin/"
require = { roles = ["admin"] }
redirect = { to = "https://new.example" }
"#,
    )
    .await;
    let client = gateway.client();
    let (alice, bob) = (gateway.token("alice").await, gateway.token("bob").await);

    let nobody = client.get("/admin/x").send().await;
    let refused = client.get("/admin/x").bearer(&bob).send().await;
    let sent_on = client.post("/admin/x").bearer(&alice).body("a body").send().await;

    nobody.assert_status(401);
    refused.assert_status(403);
    assert_eq!((nobody.header("location"), refused.header("location")), (None, None));
    sent_on.assert_status(308).assert_header("location", "https://new.example/admin/x");
    sent_on.assert_header("cache-control", "private");
}

#[tokio::test]
async fn every_status_of_a_redirect_is_said_as_it_stands_and_without_a_body() {
    let statuses = [301, 302, 303, 307, 308];
    let route = |status: u16| {
        format!(
            "[[route]]\npath = \"/r{status}/\"\nauth = []\n\
             redirect = {{ to = \"/new\", status = {status} }}\n"
        )
    };
    let gateway = serving(&statuses.map(route).concat()).await;

    for status in statuses {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS] {
            let path = format!("/r{status}/x?y");
            let reply = gateway.client().call(method.clone(), &path).send().await;
            reply.assert_status(status).assert_header("location", &format!("/new{path}"));
            assert_eq!(reply.text(), "", "{method}");
        }
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_a_redirect_to_another_host() {
    let gateway = serving(
        r#"
[[route]]
path = "/"
auth = []
redirect = { to = "https://new.example" }
"#,
    )
    .await;

    for target in [
        "//evil.example/",
        "/\\evil.example/",
        "/%5cevil.example",
        "/%2f%2fevil.example",
        "/%0d%0aLocation:%20https://evil.example",
        "/..//evil.example",
        "@evil.example/",
        "*",
    ] {
        for method in ["GET", "OPTIONS"] {
            let asked = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
            let asked = format!("{asked}Connection: close\r\n\r\n");
            let answer = raw_exchange(&gateway.client(), asked.as_bytes()).await;
            let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase();
            assert!(!head.contains("\r\nlocation:"), "{asked}{answer}");
        }
    }
    for (target, location) in [
        ("/.evil.example", "https://new.example/.evil.example"),
        ("/@evil.example", "https://new.example/@evil.example"),
        ("/:80@evil.example", "https://new.example/:80@evil.example"),
        ("http://localhost?q=//evil", "https://new.example/?q=//evil"),
    ] {
        let asked =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = raw_exchange(&gateway.client(), asked.as_bytes()).await;
        assert!(answer.contains(&format!("location: {location}\r\n")), "{asked}{answer}");
    }
}

#[tokio::test]
async fn a_credential_in_the_query_does_not_follow_a_redirect() {
    let gateway = Gateway::builder()
        .login("webitel")
        .config(
            r#"
[[route]]
path = "/files/"
query_credentials = true
redirect = { to = "https://files.example", status = 302 }
"#,
        )
        .start()
        .await;
    let client = gateway.client();
    let login =
        serde_json::json!({ "username": "alice", "password": crate::harness::gateway::PASSWORD });
    let pair = client.post("/login").json(login).send().await;
    let (token, key) = (pair.member("token"), pair.member("key"));

    let path = format!("/files/a?part=1&access_token={token}&x_key={key}");
    let reply = client.get(&path).send().await;

    reply.assert_status(302).assert_header("location", "https://files.example/files/a?part=1");
    client.get("/files/a?part=1").send().await.assert_status(401);
}

#[tokio::test]
async fn an_answer_to_head_says_what_get_would_and_has_no_body_over_http2_either() {
    let secure = TlsGateway::new();
    let gateway = secure.builder().login("native").config(PAGE).start().await;

    for http2 in [false, true] {
        let client = secure.client(&gateway, http2);
        for path in ["/page", "/nowhere", "/healthz", "/.well-known/jwks.json"] {
            let whole = client.get(path).send().await;
            let head = client.call(Method::HEAD, path).send().await;

            assert_eq!(head.status, whole.status, "{path}");
            assert_eq!(head.text(), "", "{path}, HTTP/2: {http2}");
            let length = whole.body.len().to_string();
            assert_eq!(head.header("content-length"), Some(&*length), "{path}, HTTP/2: {http2}");
            assert_eq!(head.header("content-type"), whole.header("content-type"), "{path}");
        }
    }
}

#[tokio::test]
async fn a_fixed_answer_comes_from_a_file_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("logo.png");
    let bytes: Vec<u8> = (0..=255).collect();
    std::fs::write(&file, &bytes).unwrap();
    let gateway = serving(&format!(
        "[[route]]\npath = \"=/logo\"\nauth = []\n\
         respond = {{ content_type = \"image/png\", file = {file:?} }}\n"
    ))
    .await;

    let reply = gateway.client().get("/logo").send().await;

    reply.assert_status(200).assert_header("content-type", "image/png");
    assert!(reply.body == bytes);
}

#[tokio::test]
async fn an_own_answer_keeps_to_the_limits_origins_and_fields_of_its_route() {
    let gateway = serving(
        r#"
[[route]]
path = "/own/"
auth = ["bearer"]
body_limit = "1KiB"
errors = "datarhei"
cors = { origins = ["https://app.example"] }
response_headers = { set = { X-Who = "$username", X-Page = "2" }, remove = ["X-Secret"] }
respond = { body = "ok", headers = { X-Page = "1", X-Secret = "1" } }
"#,
    )
    .await;
    let client = gateway.client();
    let token = gateway.token("alice").await;

    let asked = client.post("/own/x").bearer(&token).header("origin", "https://app.example");
    let reply = asked.send().await;
    let large = client.post("/own/x").bearer(&token).body(vec![b'x'; 2048]).send().await;
    let preflight = client.call(Method::OPTIONS, "/own/x").header("origin", "https://app.example");
    let preflight = preflight.header("access-control-request-method", "POST").send().await;

    reply.assert_status(200).assert_header("x-who", "alice").assert_header("x-page", "2");
    reply.assert_header("access-control-allow-origin", "https://app.example");
    reply.assert_header("cache-control", "private");
    assert_eq!((reply.header("x-secret"), &*reply.text()), (None, "ok"));
    large.assert_status(413);
    preflight
        .assert_status(204)
        .assert_header("access-control-allow-origin", "https://app.example");
    let refused = client.get("/own/x").header("origin", "https://app.example").send().await;
    refused.assert_status(401).assert_header("access-control-allow-origin", "https://app.example");
    assert_eq!(refused.header("x-page"), None, "a refusal is not the route's answer");
}

#[tokio::test]
async fn a_body_that_a_fixed_answer_did_not_read_is_never_taken_for_a_request() {
    let gateway = serving(PAGE).await;
    let smuggled = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let length = smuggled.len();
    let asked = format!("POST /page HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n");
    let asked = format!("{asked}Connection: close\r\n\r\n{smuggled}");

    let answer = raw_exchange(&gateway.client(), asked.as_bytes()).await;

    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn a_route_that_only_observes_is_said_to_in_the_log_where_it_answers_itself() {
    let gateway =
        serving("[[route]]\npath = \"/\"\nenforce = false\nrespond = { body = \"ok\" }\n").await;

    gateway.client().get("/x").send().await.assert_status(200);

    let lines = gateway.access_log();
    assert_eq!(lines[0]["outcome"], "observed");
    assert_eq!(lines[0]["reason"], "credential_missing");
}
