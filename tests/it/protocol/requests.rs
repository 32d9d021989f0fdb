//! Requests through a whole gateway: what is refused, what reaches the upstream, and how.

use http::Method;
use serde_json::json;

use crate::harness::tls_gateway::TlsGateway;
use crate::harness::{Client, Gateway, Upstream, certs, raw_exchange};

/// A native login and a protected route `/` to the upstream.
async fn native() -> (Gateway, Upstream) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    (gateway, upstream)
}

#[tokio::test]
async fn a_good_token_reaches_the_upstream_with_the_identity_and_without_the_credential() {
    let (gateway, upstream) = native().await;
    let token = gateway.token("alice").await;

    let reply = gateway.client().get("/orders?q=%20a").bearer(&token).send().await;

    reply.assert_status(200);
    let received = upstream.only();
    assert_eq!(received.target, "/orders?q=%20a", "byte for byte");
    assert_eq!(received.header("x-auth-username"), Some("alice"));
    assert_eq!(received.header("x-auth-subject"), Some("0192f0c1-0000-7000-8000-00000000000a"));
    assert_eq!(received.header("x-auth-roles"), Some("admin"));
    assert_eq!(received.header("x-auth-scopes"), Some("read,write"));
    assert_eq!(received.header("x-auth-source"), Some("staff"));
    assert!(received.header("x-auth-session").is_some());
    assert_eq!(received.header("authorization"), None);
    assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(received.header("x-forwarded-proto"), Some("http"));
    assert_eq!(received.header("via"), Some("1.1 tollhouse"));
    assert_eq!(received.header("x-request-id"), reply.header("x-request-id"));
    assert!(received.header("traceparent").is_some());
}

#[tokio::test]
async fn no_credential_is_challenged_without_an_error_code() {
    let (gateway, upstream) = native().await;

    let reply = gateway.client().get("/orders").send().await;

    reply.assert_status(401).assert_code("credential_missing");
    reply.assert_header("www-authenticate", r#"Bearer realm="https://gateway.example""#);
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_bad_token_is_challenged_as_invalid() {
    let (gateway, upstream) = native().await;

    let reply = gateway.client().get("/orders").bearer("a.b.c").send().await;

    reply.assert_status(401).assert_code("token_invalid");
    let challenge = r#"Bearer realm="https://gateway.example", error="invalid_token""#;
    reply.assert_header("www-authenticate", challenge);
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_missing_role_is_forbidden() {
    let upstream = Upstream::start().await;
    let keys = "require = { roles = [\"admin\"], scopes = [\"read\"] }";
    let gateway = Gateway::builder().login("native").route_to(&upstream, keys).start().await;
    let token = gateway.token("bob").await;

    let reply = gateway.client().get("/orders").bearer(&token).send().await;

    reply.assert_status(403).assert_code("not_permitted");
    assert!(reply.header("www-authenticate").unwrap().contains("insufficient_scope"));
    upstream.assert_untouched();
}

#[tokio::test]
async fn two_kinds_of_credentials_are_a_bad_request() {
    let (gateway, upstream) = native().await;
    let token = gateway.token("alice").await;

    let reply = gateway.client().get("/").bearer(&token).pair(&token, "key").send().await;

    reply.assert_status(400).assert_code("ambiguous_credential");
    assert!(reply.header("www-authenticate").unwrap().contains("invalid_request"));
    upstream.assert_untouched();
}

#[tokio::test]
async fn identity_that_a_client_claims_never_arrives_in_any_spelling_on_any_route() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .login("native")
        .route(
            &upstream,
            "/closed",
            "request_headers = { set = { X-Tenant = \"$claims.tenant\" } }",
        )
        .route(&upstream, "/open", "auth = []")
        .start()
        .await;
    let token = gateway.token("bob").await;

    for path in ["/open", "/closed"] {
        let mut call = gateway.client();
        call.http2 = false;
        let reply = call
            .get(path)
            .bearer(&token)
            .header("x-auth-subject", "forged")
            .header("X_Auth_Roles", "forged")
            .header("x_auth-Username", "forged")
            .header("x-auth-scopes", "forged")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-original-url", "/forged")
            .header("x-http-method-override", "DELETE")
            .header("connection", "x-request-id, x-forwarded-for")
            .send()
            .await;
        reply.assert_status(200);
        let received = upstream.last();
        for (name, value) in &received.headers {
            assert!(!value.to_str().unwrap().contains("forged"), "{path}: {name}");
        }
        assert_eq!(received.header("x-http-method-override"), None);
        assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"), "set after the client's");
        assert!(received.header("x-request-id").is_some(), "not to be taken away");
        assert_eq!(received.header("authorization"), None, "removed on open routes too");
    }
    assert_eq!(upstream.last().header("x-tenant"), None, "bob has no such claim");
    let token = gateway.token("alice").await;
    gateway.client().get("/closed").bearer(&token).header("x-tenant", "forged").send().await;
    assert_eq!(upstream.last().header("x-tenant"), Some("acme"), "alice has");
}

#[tokio::test]
async fn ambiguous_targets_are_refused_before_anything_else() {
    let (gateway, upstream) = native().await;
    let token = gateway.token("alice").await;
    for (target, why) in [
        ("/a%2fb", "an encoded slash"),
        ("/a%5cb", "an encoded backslash"),
        ("/a%00b", "NUL"),
        ("/a/../b", "raw dots"),
        ("/a/%2e%2e/b", "encoded dots"),
        ("//a", "a double slash"),
        ("/a;x/b", "a parameter"),
        ("/a%252e%252e/b", "dots encoded twice"),
        ("/a%ff", "no UTF-8"),
        ("/a%zz", "half an escape"),
    ] {
        let reply = gateway.client().get(target).bearer(&token).send().await;
        assert_eq!(reply.status, 400, "{target}: {why}");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn malformed_and_ambiguous_messages_never_reach_the_upstream() {
    let (gateway, upstream) = native().await;
    let token = gateway.token("alice").await;
    for (head, status, why) in [
        ("GET / HTTP/1.1\r\n", 400, "no Host"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", 400, "two Hosts"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n", 400, "a malformed Host"),
        ("GET http://other/ HTTP/1.1\r\nHost: localhost\r\n", 400, "another host in the target"),
        ("GET / HTTP/1.0\r\n", 400, "HTTP/1.0 without Host"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n",
            501,
            "another coding",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
            400,
            "two lengths",
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n", 400, "a signed length"),
        ("GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n", 400, "a space in a name"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n", 400, "NUL in a value"),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n", 405, "CONNECT"),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n", 405, "TRACE"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: tea\r\n",
            417,
            "an expectation",
        ),
    ] {
        let request = format!("{head}Authorization: Bearer {token}\r\nConnection: close\r\n\r\n");
        let answer = raw_exchange(&gateway.client(), request.as_bytes()).await;
        assert!(answer.contains(&format!(" {status} ")), "{why}: {answer}");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_credential_given_twice_is_refused() {
    let (gateway, upstream) = native().await;
    let token = gateway.token("alice").await;
    for name in ["Authorization", "X-Access-Token", "X-Key"] {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{name}: Bearer {token}\r\n{name}: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw_exchange(&gateway.client(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn an_upload_is_not_invited_before_the_decision() {
    let (gateway, upstream) = native().await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";

    let answer = raw_exchange(&gateway.client(), request.as_bytes()).await;

    assert!(answer.starts_with("HTTP/1.1 401 "), "no 100 before: {answer}");
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_body_over_the_routes_limit_is_refused() {
    let upstream = Upstream::start().await;
    let keys = "auth = []\nbody_limit = \"1KiB\"";
    let gateway = Gateway::builder().login("native").route_to(&upstream, keys).start().await;

    let reply = gateway.client().post("/").body(vec![b'x'; 2048]).send().await;

    reply.assert_status(413).assert_code("body_too_large");
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_route_that_only_observes_lets_through_and_writes_down() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::builder().login("native").route_to(&upstream, "enforce = false").start().await;

    gateway.client().get("/").send().await.assert_status(200);
    gateway.client().get("/").bearer("legacy").send().await.assert_status(200);

    let received = upstream.last();
    assert_eq!(received.header("authorization"), Some("Bearer legacy"), "not ours: it goes along");
    assert_eq!(received.header("x-auth-subject"), None, "nothing was proved");
    let lines = gateway.access_log();
    assert_eq!(lines[0]["outcome"], "observed");
    assert_eq!(lines[0]["reason"], "credential_missing");
}

#[tokio::test]
async fn a_token_of_ours_does_not_go_along_where_a_route_only_observes() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::builder().login("native").route_to(&upstream, "enforce = false").start().await;
    let token = gateway.token("alice").await;
    gateway.client().post("/auth/logout").bearer(&token).send().await.assert_status(204);

    gateway.client().get("/").bearer(&token).send().await.assert_status(200);

    assert_eq!(upstream.only().header("authorization"), None, "revoked, but still ours");
}

#[tokio::test]
async fn a_preflight_for_the_upstream_goes_bare_and_stays_a_preflight() {
    let upstream = Upstream::start().await;
    let more = "cors = \"upstream\"\nallow_method_override = true";
    let gateway = Gateway::builder().login("native").route_to(&upstream, more).start().await;

    let reply = gateway
        .client()
        .call(Method::OPTIONS, "/orders")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "DELETE")
        .header("x-http-method-override", "DELETE")
        .bearer("legacy")
        .send()
        .await;

    reply.assert_status(200);
    let received = upstream.only();
    assert_eq!(received.header("x-http-method-override"), None);
    assert_eq!(received.header("authorization"), None);
}

#[tokio::test]
async fn a_plain_listener_sends_readers_to_the_port_of_the_encrypted_one_and_refuses_credentials() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let upstream = Upstream::start().await;
    let listeners = format!(
        r#"
[[listener]]
address = "127.0.0.1:0"
redirect_to_https = true
[[listener]]
address = "{free}"
[listener.tls]
self_signed = ["localhost"]
"#
    );
    let gateway = Gateway::builder().listeners(&listeners).route_to(&upstream, "").start().await;
    let client = Client::plain(gateway.running().addresses()[0]);

    let reply = client.get("/orders?q=%20a").send().await;
    let refused = client.get("/orders").bearer("secret").send().await;

    let location = format!("https://localhost:{}/orders?q=%20a", free.port());
    reply.assert_status(308).assert_header("location", &location);
    refused.assert_status(403).assert_code("tls_required");
    upstream.assert_untouched();
}

#[tokio::test]
async fn wrong_paths_and_methods_say_so() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .login("native")
        .route(&upstream, "/api/", "methods = [\"GET\"]\nauth = []")
        .start()
        .await;
    let client = gateway.client();

    client.get("/nowhere").send().await.assert_status(404).assert_code("not_found");
    let reply = client.post("/api/x").send().await;
    reply.assert_status(405).assert_header("allow", "GET");
    let reply = client.get("/auth/login").send().await;
    reply.assert_status(405).assert_header("allow", "POST");
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_prefix_is_stripped_and_the_rest_is_checked_again() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .login("native")
        .route(&upstream, "/api/", "strip_prefix = \"/api\"\nauth = []")
        .start()
        .await;

    gateway.client().get("/api/v1/x?y=1").send().await.assert_status(200);

    let received = upstream.only();
    assert_eq!(received.target, "/v1/x?y=1");
    assert_eq!(received.header("x-forwarded-prefix"), Some("/api"));
}

#[tokio::test]
async fn health_is_answered_without_host_and_says_nothing_else() {
    let (gateway, upstream) = native().await;

    let answer = raw_exchange(&gateway.client(), b"GET /healthz HTTP/1.0\r\n\r\n").await;

    assert!(answer.contains(" 200 "), "{answer}");
    assert!(answer.ends_with("ok\n"), "{answer}");
    upstream.assert_untouched();
}

#[tokio::test]
async fn the_public_keys_verify_and_hold_nothing_private() {
    let (gateway, _upstream) = native().await;

    let reply = gateway.client().get("/.well-known/jwks.json").send().await;

    reply.assert_status(200).assert_header("content-type", "application/jwk-set+json");
    let keys = reply.json();
    assert_eq!(keys["keys"][0]["alg"], "ES256");
    assert_eq!(keys["keys"][0]["use"], "sig");
    assert!(keys["keys"][0].get("d").is_none());
}

/// A gateway with TLS for `a.example` and `b.example`, a certificate each.
async fn two_certificates(upstream: &Upstream) -> (Gateway, Client) {
    let dir = tempfile::tempdir().unwrap();
    let a = certs::Certificate::make(dir.path(), "a", &["a.example"]);
    let b = certs::Certificate::make(dir.path(), "b", &["b.example"]);
    let listener = format!(
        "[listener.tls]\n\
         certificates = [{{ chain = {:?}, key = {:?} }}, {{ chain = {:?}, key = {:?} }}]",
        a.chain, a.key, b.chain, b.key
    );
    let gateway = Gateway::builder()
        .listener(&listener)
        .login("native")
        .route_to(upstream, "auth = []")
        .start()
        .await;
    let config = certs::trusting(&[a.der, b.der], &[b"http/1.1"]);
    let client = Client {
        address: gateway.address(),
        tls: Some((config, "a.example".into())),
        http2: false,
    };
    drop(dir);
    (gateway, client)
}

#[tokio::test]
async fn a_host_of_another_certificate_is_misdirected() {
    let upstream = Upstream::start().await;
    let (_gateway, client) = two_certificates(&upstream).await;

    client.get("/").host("a.example").send().await.assert_status(200);
    client.get("/").host("b.example").send().await.assert_status(421).assert_code("misdirected");

    assert_eq!(upstream.received().len(), 1);
    assert_eq!(upstream.only().header("x-forwarded-proto"), Some("https"));
}

#[tokio::test]
async fn http2_clients_are_served_over_tls() {
    let upstream = Upstream::start().await;
    let secure = TlsGateway::new();
    let gateway = secure.builder().login("native").route_to(&upstream, "").start().await;
    let client = secure.client(&gateway, true);

    let login = json!({ "username": "alice", "password": crate::harness::gateway::PASSWORD });
    let token = client.post("/auth/login").json(login).send().await.member("access_token");
    let reply = client.get("/orders").bearer(&token).send().await;

    reply.assert_status(200);
    assert_eq!(upstream.only().header("host"), Some("localhost"));
    client.call(Method::GET, "/orders").send().await.assert_status(401);
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn every_request_is_one_access_line_without_a_credential() {
    let (gateway, _upstream) = native().await;
    let token = gateway.token("alice").await;
    gateway.client().get("/orders?access_token=sesame").bearer(&token).send().await;
    gateway.client().get("/orders").bearer("a.b.c").send().await;

    let lines = gateway.access_log();

    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1]["http.route"], "/");
    assert_eq!(lines[1]["outcome"], "forwarded");
    assert_eq!(lines[1]["url.path"], "/orders");
    assert_eq!(lines[1]["user.id"], "0192f0c1-0000-7000-8000-00000000000a");
    assert_eq!(lines[2]["outcome"], "refused");
    assert_eq!(lines[2]["reason"], "token_invalid");
    let text = gateway.running().access_lines() + &gateway.running().audit_lines();
    for secret in [token.as_str(), "sesame", crate::harness::gateway::PASSWORD] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// A dialect that only the operator knows.
const ACME: &str = r#"
[[dialect]]
name = "acme"
[[dialect.endpoint]]
step = "login"
request = "POST /signin"
credential = [{ json = { username = "who", password = "word" } }]
reply = { status = 201, json = { ticket = "$access.token", name = "$user.name" } }
[[dialect.endpoint]]
step = "logout"
request = "POST /signout"
credential = [{ bearer = "access" }]
reply = { status = 200, json = { bye = true } }
[dialect.error.default]
json = { fault = "$code", at = "$path" }
"#;

#[tokio::test]
async fn a_dialect_of_the_operators_own_needs_no_code() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .config(ACME)
        .login("acme")
        .route_to(&upstream, "errors = \"acme\"")
        .start()
        .await;
    let client = gateway.client();
    let password = crate::harness::gateway::PASSWORD;

    let refused = client.post("/signin").json(json!({ "who": "alice", "word": "no" })).send().await;
    let login = json!({ "who": "alice", "word": password });
    let ticket = client.post("/signin").json(login).send().await;
    let token = ticket.assert_status(201).member("ticket");
    client.get("/x").bearer(&token).send().await.assert_status(200);
    client.post("/signout").bearer(&token).send().await.assert_status(200);
    let after = client.get("/x").bearer(&token).send().await;

    assert_eq!(refused.json(), json!({ "fault": "invalid_credentials", "at": "/signin" }));
    assert_eq!(ticket.member("name"), "alice");
    after.assert_status(401);
    assert_eq!(after.json(), json!({ "fault": "token_revoked", "at": "/x" }));
    assert_eq!(upstream.received().len(), 1);
}

/// HAProxy's `option httpchk /healthz` asks with OPTIONS, in HTTP/1.0 and without Host.
#[tokio::test]
async fn a_load_balancer_that_asks_for_health_with_options_is_answered() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().login("native").route_to(&upstream, "").start().await;

    for method in ["OPTIONS", "GET", "HEAD"] {
        let ask = format!("{method} /healthz HTTP/1.0\r\n\r\n");
        let answer = raw_exchange(&gateway.client(), ask.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.0 200 OK"), "{method}: {answer}");
    }
    let answer = raw_exchange(&gateway.client(), b"POST /healthz HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 400"), "nothing else is taken without a Host: {answer}");
    upstream.assert_untouched();
}

#[tokio::test]
async fn health_checks_fill_the_access_log_only_where_that_is_asked_for() {
    let upstream = Upstream::start().await;
    for (keys, expected) in [("", 1), ("[log]\nhealth = true", 2)] {
        let gateway = Gateway::builder().config(keys).route_to(&upstream, "").start().await;

        gateway.client().get("/healthz").send().await.assert_status(200);
        gateway.client().get("/other").send().await.assert_status(401);

        let paths: Vec<_> =
            gateway.access_log().iter().map(|line| line["url.path"].to_string()).collect();
        assert_eq!(paths.len(), expected, "{paths:?}");
        assert!(paths.contains(&"\"/other\"".to_owned()), "{paths:?}");
    }
    upstream.assert_untouched();
}
