//! How a credential travels.

use super::{TWO_LOGINS, log_in};
use crate::harness::{Gateway, Upstream, raw_exchange};

#[tokio::test]
async fn every_401_is_a_challenge() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    let good = gateway.token("alice").await;
    for (value, why) in [
        (String::new(), "empty"),
        ("Bearer".to_owned(), "no token"),
        ("Bearer ".to_owned(), "an empty token"),
        (format!("Bearer  {good}"), "two spaces"),
        (format!("Bearer\t{good}"), "a tab"),
        (format!("Bearer {good} x"), "more after it"),
        (format!("Bearer {good},"), "a list"),
        (format!("Bearer {good}="), "padding"),
        (format!("Bearer \"{good}\""), "quotes"),
        (format!("Token {good}"), "another scheme"),
        (format!("Basic {good}"), "a password"),
        (good.clone(), "no scheme"),
        ("Bearer a.b.c".to_owned(), "no token of ours"),
        ("Bearer ..".to_owned(), "three empty parts"),
        (format!("Bearer {good}.{good}"), "five parts"),
        (format!("Bearer {}", &good[..good.len() - 2]), "cut"),
        (format!("Bearer {}", "a".repeat(9000)), "9 kB"),
    ] {
        let reply = gateway.client().get("/").header("authorization", &value).send().await;

        assert_eq!(reply.status, 401, "{why}: {}", reply.text());
        let challenge = reply.header("www-authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Bearer realm="), "{why}: {challenge}");
        reply.assert_header("cache-control", "no-store");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn the_schemes_case_does_not_matter() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    let token = gateway.token("alice").await;

    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let value = format!("{scheme} {token}");
        let reply = gateway.client().get("/").header("authorization", &value).send().await;
        reply.assert_status(200);
    }
}

#[tokio::test]
async fn a_forgers_answers_are_all_alike() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().moving().login("native").route_to(&upstream, "").start().await;
    let good = gateway.token("alice").await;
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    gateway.advance(std::time::Duration::from_secs(3600));

    let mut bodies = std::collections::BTreeSet::new();
    for forged in [
        format!("{header}.{claims}."),
        format!("{header}.{claims}.{}", "A".repeat(signature.len())),
        format!("{header}.e30.{signature}"),
        format!("eyJhbGciOiJub25lIn0.{claims}."),
        format!("eyJhbGciOiJIUzI1NiJ9.{claims}.{signature}"),
    ] {
        let reply = gateway.client().get("/").bearer(&forged).send().await;
        reply.assert_status(401);
        let mut body = reply.json();
        body.as_object_mut().unwrap().remove("request_id");
        body.as_object_mut().unwrap().remove("instance");
        bodies.insert((body.to_string(), reply.header("www-authenticate").map(str::to_owned)));
    }

    assert_eq!(bodies.len(), 1, "no word on the signature or the expiry: {bodies:?}");
    assert!(bodies.first().unwrap().0.contains("token_invalid"));
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_token_in_the_query_is_none_unless_the_route_says_so() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .login("webitel")
        .route(&upstream, "/closed", "")
        .route(&upstream, "/download", "query_credentials = true")
        .start()
        .await;
    let login = log_in(&gateway, "/login", "alice").await;
    let (token, key) = (login.member("token"), login.member("key"));
    let query = format!("a=1&access_token={token}&x_key={key}&b=2");

    gateway.client().get(&format!("/closed?{query}")).send().await.assert_status(401);
    upstream.assert_untouched();
    let reply = gateway.client().get(&format!("/download?{query}")).send().await;

    reply.assert_status(200).assert_header("cache-control", "private");
    assert_eq!(upstream.only().target, "/download?a=1&b=2");
    let logs = gateway.running().access_lines();
    assert!(!logs.contains(&token) && !logs.contains(&key), "{logs}");
    for half in [format!("access_token={token}"), format!("x_key={key}")] {
        let reply = gateway.client().get(&format!("/download?{half}")).send().await;
        reply.assert_status(401);
    }
    let twice = format!("/download?{query}");
    let reply = gateway.client().get(&twice).pair(&token, &key).send().await;
    reply.assert_status(400);
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn an_open_route_neither_reads_nor_checks_nor_forwards_a_credential() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().login("native").route_to(&upstream, "auth = []").start().await;
    let token = gateway.token("alice").await;

    for credential in [&token, "a.b.c", "\"", ""] {
        let reply = gateway.client().get("/").bearer(credential).pair("x", "y").send().await;

        reply.assert_status(200);
        let received = upstream.last();
        for name in ["authorization", "x-access-token", "x-key", "x-auth-subject", "x-auth-roles"] {
            assert_eq!(received.header(name), None, "{name} of {credential:?}");
        }
    }
}

#[tokio::test]
async fn kinds_that_a_route_does_not_take_are_removed_and_not_counted() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .login("native")
        .route(&upstream, "/bearer", "auth = [\"bearer\"]\nforward_credential = true")
        .route(&upstream, "/pair", "auth = [\"token_key\"]")
        .start()
        .await;
    let token = gateway.token("alice").await;

    let reply = gateway.client().get("/bearer").bearer(&token).pair("x", "y").send().await;
    reply.assert_status(200);
    let received = upstream.only();
    assert_eq!(received.header("authorization"), Some(format!("Bearer {token}").as_str()));
    assert_eq!(received.header("x-access-token"), None, "it was not verified");
    assert_eq!(received.header("x-key"), None);

    let reply = gateway.client().get("/pair").bearer(&token).send().await;
    reply.assert_status(401).assert_code("credential_missing");
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_route_of_one_login_refuses_the_tokens_of_another() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .config(TWO_LOGINS)
        .route_to(&upstream, "logins = [\"two\"]")
        .start()
        .await;
    let one = log_in(&gateway, "/one/auth/login", "alice").await.member("access_token");
    let two = log_in(&gateway, "/two/auth/login", "alice").await.member("access_token");

    let reply = gateway.client().get("/").bearer(&one).send().await;
    reply.assert_status(401).assert_code("token_invalid");
    upstream.assert_untouched();
    gateway.client().get("/").bearer(&two).send().await.assert_status(200);
}

#[tokio::test]
async fn no_header_opens_a_door() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .login("native")
        .route(&upstream, "/public", "auth = []")
        .route(&upstream, "/", "")
        .start()
        .await;
    for (name, value) in [
        ("user-agent", "GoogleHC/1.0"),
        ("user-agent", "kube-probe/1.30"),
        ("x-forwarded-uri", "/public"),
        ("x-original-url", "/public"),
        ("x-rewrite-url", "/public"),
        ("x-forwarded-prefix", "/public"),
        ("x-forwarded-host", "public"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("x-http-method-override", "OPTIONS"),
        ("x-middleware-subrequest", "middleware"),
        ("x-auth-subject", "0192f0c1-0000-7000-8000-00000000000a"),
        ("x_auth_subject", "0192f0c1-0000-7000-8000-00000000000a"),
        ("cookie", "session=0192f0c1-0000-7000-8000-00000000000a"),
    ] {
        let reply = gateway.client().get("/private").header(name, value).send().await;
        assert_eq!(reply.status, 401, "{name}: {value}");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_route_that_observes_keeps_what_is_ours_and_refuses_what_is_ambiguous() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .moving()
        .login("webitel")
        .route_to(&upstream, "enforce = false")
        .start()
        .await;
    let login = log_in(&gateway, "/login", "alice").await;
    let (token, key) = (login.member("token"), login.member("key"));

    let reply = gateway.client().get("/").bearer(&token).pair(&token, &key).send().await;
    reply.assert_status(400);
    upstream.assert_untouched();
    // Refused here for want of its key, but good elsewhere.
    gateway.client().get("/").bearer(&token).send().await.assert_status(200);

    let received = upstream.only();
    assert_eq!(received.header("authorization"), None, "ours goes nowhere");
    assert_eq!(received.header("x-auth-subject"), None, "nothing was proved");
}

#[tokio::test]
async fn an_upload_meets_its_refusal_before_its_body() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    // The body never comes: an answer that waited for it would never come either.
    let request =
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n";

    let answer = raw_exchange(&gateway.client(), request).await;

    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    upstream.assert_untouched();
}
