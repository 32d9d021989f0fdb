//! What is written down, what is said, and to whom.

use serde_json::{Value, json};

use super::{NO_MAIL, attempt, log_in, refresh};
use crate::harness::gateway::PASSWORD;
use crate::harness::{Client, Gateway, Smtp, Upstream, raw_exchange};

#[tokio::test]
async fn no_token_answer_of_any_dialect_may_be_stored() {
    let (upstream, smtp) = (Upstream::start().await, Smtp::plain().await);
    let mail = format!(
        "[mail]\nserver = \"127.0.0.1:{}\"\ntls = \"none\"\nfrom = \"gateway@example.com\"",
        smtp.port
    );
    let gateway = Gateway::builder()
        .config(&mail)
        .login("native")
        .login("webitel")
        .login("datarhei")
        .login("aviate")
        .login("nomic")
        .login("avenia")
        .route_to(&upstream, "")
        .start()
        .await;
    let client = gateway.client();
    let login = json!({ "username": "alice", "password": PASSWORD });
    let mailed = json!({ "email": "alice@example.com", "password": PASSWORD });

    let native = client.post("/auth/login").json(login.clone()).send().await;
    let renewed = refresh(&gateway, "/auth/refresh", &native.member("refresh_token")).await;
    let webitel = client.post("/login").json(login.clone()).send().await;
    let datarhei = client.post("/api/login").json(login).send().await;
    let bearer = datarhei.member("refresh_token");
    let again = client.get("/api/login/refresh").bearer(&bearer).send().await;
    let aviate = client.post("/plugins/aviate-plugin/v1/auth").basic("alice@example.com", PASSWORD);
    let nomic = client.post("/api/auth/token").basic("alice", PASSWORD);
    let sent = client.post("/v2/auth/login").json(mailed).send().await;
    let code = json!({ "email": "alice@example.com", "emailToken": smtp.code(1) });
    let avenia = client.post("/v2/auth/validate-login").json(code).send().await;
    let renewal = json!({ "refreshToken": avenia.member("refreshToken") });
    let replies = [
        native,
        renewed,
        webitel,
        datarhei,
        again,
        aviate.send().await,
        nomic.send().await,
        sent,
        avenia,
        client.post("/v2/auth/refresh").json(renewal).send().await,
    ];

    for (number, reply) in replies.iter().enumerate() {
        reply.assert_status(200);
        let kept = reply.header("cache-control").unwrap_or_default();
        assert!(kept.contains("no-store"), "answer {number}: {:?}", reply.headers);
        let headers = format!("{:?}", reply.headers);
        assert!(!headers.contains("eyJ"), "a token in a header: {headers}");
    }
    let logs = gateway.running().access_lines() + &gateway.running().audit_lines();
    assert!(!logs.contains("eyJ") && !logs.contains(PASSWORD), "{logs}");
}

#[tokio::test]
async fn nobody_can_write_a_line_of_his_own() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    let names = [
        "x\n{\"event\":\"logged_in\",\"user.name\":\"alice\"}",
        "x\r\nforged",
        "x\",\"event\":\"logged_in\",\"y\":\"",
        "x\\\",\"event\":\"logged_in",
        "x\u{2028}forged\u{85}forged\u{0}",
        "\u{1b}[2Jforged",
        "\u{202e}forged",
    ];
    for name in names {
        attempt(&gateway, name, "wrong").await;
    }
    let raw = "GET /a%0aforged%22%2c HTTP/1.1\r\nHost: localhost\r\nUser-Agent: \"},{\"a\":\"\r\n\
               X-Request-Id: \",\"outcome\":\"forged\r\nConnection: close\r\n\r\n";
    raw_exchange(&gateway.client(), raw.as_bytes()).await;

    // Each line is an object by itself, or `audit_log` would not return.
    let audit = gateway.audit_log();
    assert_eq!(audit.len(), names.len(), "{audit:?}");
    for line in &audit {
        assert_eq!(line["event"], "login_failed", "{line}");
    }
    let access = gateway.access_log();
    assert_eq!(access.len(), names.len() + 1);
    assert_ne!(access.last().unwrap()["outcome"], "forged");
    let text = gateway.running().audit_lines() + &gateway.running().access_lines();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    upstream.assert_untouched();
}

#[tokio::test]
async fn every_outcome_is_written_with_when_where_who_and_what() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .moving()
        .config("[login_limits]\nper_account = { attempts = 1, per = \"10m\" }")
        .login("native")
        .route_to(&upstream, "")
        .start()
        .await;
    let login = log_in(&gateway, "/auth/login", "alice").await;
    let renewal = login.member("refresh_token");
    let renewed = refresh(&gateway, "/auth/refresh", &renewal).await;
    let other = gateway.token("alice").await;
    gateway.client().post("/auth/logout").bearer(&other).send().await.assert_status(204);
    gateway.advance(std::time::Duration::from_secs(60));
    renewed.assert_status(200);
    refresh(&gateway, "/auth/refresh", &renewal).await.assert_status(401);
    attempt(&gateway, "bob", "wrong").await.assert_status(401);
    attempt(&gateway, "bob", "wrong").await.assert_status(429);

    let audit = gateway.audit_log();
    let events: Vec<&str> = audit.iter().map(|line| line["event"].as_str().unwrap()).collect();
    for wanted in
        ["logged_in", "refreshed", "logged_out", "reuse_detected", "login_failed", "lockout"]
    {
        assert!(events.contains(&wanted), "{wanted}: {events:?}");
    }
    for line in &audit {
        for field in ["timestamp", "client.address", "request_id", "login"] {
            assert!(line[field].is_string(), "{field} of {line}");
        }
        let who = ["user.id", "user.name", "session.id", "account"];
        assert!(who.iter().any(|field| line[*field].is_string()), "{line}");
    }
}

#[tokio::test]
async fn a_password_typed_into_the_name_is_not_kept() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    let long = "correct horse battery staple ".repeat(6);

    attempt(&gateway, &long, "").await;
    attempt(&gateway, &long, "x").await;

    assert!(!gateway.running().audit_lines().contains(long.trim()));
}

#[tokio::test]
async fn causes_are_for_the_log_alone() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .login("native")
        .config(
            "[[upstream]]\nname = \"gone\"\nservers = [\"http://127.0.0.1:9\"]\n\
             [[route]]\npath = \"/gone\"\nupstream = \"gone\"\nauth = []",
        )
        .route_to(&upstream, "")
        .start()
        .await;

    let gone = gateway.client().get("/gone").send().await;
    let forged = gateway.client().get("/").bearer("a.b.c").send().await;

    gone.assert_status(502);
    forged.assert_status(401);
    for reply in [&gone, &forged] {
        let text = reply.text();
        for word in ["127.0.0.1", "onnect", "ase64", "ignature", "panick", "src/", "os error"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        assert_eq!(reply.json()["request_id"].as_str(), reply.header("x-request-id"));
    }
    let lines = gateway.access_log();
    assert!(lines.iter().all(|line| line["cause"].is_string()), "{lines:?}");
    upstream.assert_untouched();
}

#[tokio::test]
async fn operators_pages_are_not_on_the_clients_listener() {
    let gateway = Gateway::builder().login("native").start().await;
    let client = gateway.client();
    for path in ["/metrics", "/livez", "/readyz", "/readyz?verbose", "/sessions", "/v1/sessions"] {
        let reply = client.get(path).send().await;
        reply.assert_status(404);
        assert!(!reply.text().contains("tollhouse_"), "{path}");
    }

    let admin = Client::plain(gateway.running().admin_address().unwrap());
    admin.get("/livez").send().await.assert_status(200);
    for path in ["/sessions", "/session/revoke", "/reload", "/sessions/revoke", "/token"] {
        admin.get(path).send().await.assert_status(404);
        admin.post(path).json(Value::Null).send().await.assert_status(404);
    }
    let metrics = admin.get("/metrics").send().await;
    assert!(!metrics.assert_status(200).text().contains("alice"));
}

#[tokio::test]
async fn the_socket_that_takes_commands_is_the_owners() {
    use std::os::unix::fs::PermissionsExt;
    let gateway = Gateway::builder().login("native").start().await;

    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;

    assert_eq!(mode(gateway.running().admin_socket()), 0o600);
    assert_eq!(mode(&gateway.dir().join("state")), 0o700);
    assert_eq!(mode(&gateway.dir().join("state/store.redb")), 0o600);
}

#[tokio::test]
async fn what_cannot_be_found_out_is_no_leave() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::builder().config(NO_MAIL).login("avenia").route_to(&upstream, "").start().await;
    let login = json!({ "email": "alice@example.com", "password": PASSWORD });

    // Nobody answers at the mail server: no code, no session.
    let reply = gateway.client().post("/v2/auth/login").json(login).send().await;

    reply.assert_status(503);
    assert!(!reply.text().contains("ccessToken"));
    upstream.assert_untouched();
}
