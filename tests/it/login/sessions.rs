//! Sessions over their whole life: refresh, reuse, logout, changes of the user, restarts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tollhouse::session::InjectedFaults;

use crate::harness::gateway::{PASSWORD, users};
use crate::harness::{Gateway, Reply, Smtp, Upstream};

async fn log_in(gateway: &Gateway, name: &str) -> Reply {
    let login = json!({ "username": name, "password": PASSWORD });
    let reply = gateway.client().post("/auth/login").json(login).send().await;
    reply.assert_status(200);
    reply
}

async fn refresh(gateway: &Gateway, token: &str) -> Reply {
    let body = json!({ "refresh_token": token });
    gateway.client().post("/auth/refresh").json(body).send().await
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Asks until the answer has this status: for what happens within seconds by itself.
async fn until(gateway: &Gateway, path: &str, token: &str, status: u16) {
    let patience = Instant::now();
    loop {
        let reply = gateway.client().get(path).bearer(token).send().await;
        if reply.status == status {
            return;
        }
        assert!(patience.elapsed() < Duration::from_secs(10), "still {}", reply.status);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn parallel_refreshes_of_one_token_all_succeed_with_the_same_successor() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().moving().login("native").route_to(&upstream, "").start().await;
    let first = log_in(&gateway, "alice").await.member("refresh_token");

    let replies = join_all((0..20).map(|_| refresh(&gateway, &first))).await;

    let successors: BTreeSet<String> = replies
        .iter()
        .map(|reply| {
            reply.assert_status(200);
            claims(&reply.member("refresh_token"))["jti"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(successors.len(), 1, "one successor for all");

    let last = replies[0].member("refresh_token");
    let access = replies[0].member("access_token");
    gateway.advance(Duration::from_secs(11));
    refresh(&gateway, &first).await.assert_status(401);
    refresh(&gateway, &last).await.assert_status(401);
    gateway.client().get("/").bearer(&access).send().await.assert_status(401);
    upstream.assert_untouched();
    let audit = gateway.running().audit_lines();
    assert!(audit.contains("reuse"), "{audit}");
}

#[tokio::test]
async fn a_refresh_token_is_no_access_token_and_the_other_way_round() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    let tokens = log_in(&gateway, "alice").await;

    let reply = gateway.client().get("/").bearer(&tokens.member("refresh_token")).send().await;
    reply.assert_status(401).assert_code("token_invalid");
    refresh(&gateway, &tokens.member("access_token")).await.assert_status(401);

    upstream.assert_untouched();
}

#[tokio::test]
async fn disabling_a_user_ends_his_sessions_and_nobody_elses() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    let (alice, bob) = (gateway.token("alice").await, gateway.token("bob").await);
    gateway.client().get("/").bearer(&alice).send().await.assert_status(200);

    let text = users().replace("name = \"alice\"", "name = \"alice\"\ndisabled = true");
    std::fs::write(gateway.dir().join("users.toml"), text).unwrap();

    until(&gateway, "/", &alice, 401).await;
    gateway.client().get("/").bearer(&bob).send().await.assert_status(200);
}

#[tokio::test]
async fn a_bad_line_in_the_users_file_keeps_the_last_good_users_and_readiness_says_so() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    let alice = gateway.token("alice").await;
    let admin = crate::harness::Client::plain(gateway.running().admin_address().unwrap());

    std::fs::write(gateway.dir().join("users.toml"), "[[user]]\nnaem = \"alice\"\n").unwrap();

    let patience = Instant::now();
    loop {
        let reply = admin.get("/readyz?verbose").send().await;
        if reply.text().contains("users") && reply.text().contains("naem") {
            reply.assert_status(200);
            break;
        }
        assert!(patience.elapsed() < Duration::from_secs(10), "{}", reply.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    gateway.client().get("/").bearer(&alice).send().await.assert_status(200);
    log_in(&gateway, "bob").await;
}

#[tokio::test]
async fn sessions_and_logouts_survive_a_restart() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    let kept = log_in(&gateway, "alice").await;
    let ended = gateway.token("alice").await;
    gateway.client().post("/auth/logout").bearer(&ended).send().await.assert_status(204);
    let dir = gateway.stop().await;

    let gateway = Gateway::builder().on(dir).login("native").route_to(&upstream, "").start().await;

    gateway.client().get("/").bearer(&kept.member("access_token")).send().await.assert_status(200);
    gateway.client().get("/").bearer(&ended).send().await.assert_status(401);
    refresh(&gateway, &kept.member("refresh_token")).await.assert_status(200);
}

#[tokio::test]
async fn a_password_changed_while_nobody_looked_ends_sessions_before_the_first_request() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    let token = gateway.token("alice").await;
    let dir = gateway.stop().await;
    let text = users().replacen("roles = [\"admin\"]", "roles = [\"other\"]", 1);
    std::fs::write(dir.path().join("users.toml"), text).unwrap();

    let gateway = Gateway::builder().on(dir).login("native").route_to(&upstream, "").start().await;

    gateway.client().get("/").bearer(&token).send().await.assert_status(401);
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_lost_store_is_refused_unless_it_is_said_to_be_new() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;
    let dir = gateway.stop().await;
    std::fs::remove_file(dir.path().join("state/store.redb")).unwrap();

    let again = Gateway::builder().on(dir).login("native").route_to(&upstream, "");
    let error = again.try_start().await.err().expect("refused");
    assert!(error.contains("--new-state"), "{error}");
}

#[tokio::test]
async fn a_failing_disk_stops_logins_but_not_verification_and_recovers_by_itself() {
    let upstream = Upstream::start().await;
    let faults = Arc::new(InjectedFaults::default());
    let gateway =
        Gateway::builder().faults(&faults).login("native").route_to(&upstream, "").start().await;
    let tokens = log_in(&gateway, "alice").await;
    let admin = crate::harness::Client::plain(gateway.running().admin_address().unwrap());

    faults.fail_writes(true);
    let login = json!({ "username": "alice", "password": PASSWORD });
    let reply = gateway.client().post("/auth/login").json(login).send().await;
    reply.assert_status(503).assert_code("unavailable");
    refresh(&gateway, &tokens.member("refresh_token")).await.assert_status(503);
    let access = tokens.member("access_token");
    gateway.client().get("/").bearer(&access).send().await.assert_status(200);
    admin.get("/readyz").send().await.assert_status(503);
    // A logout that cannot be written is still a logout.
    gateway.client().post("/auth/logout").bearer(&access).send().await.assert_status(503);
    gateway.client().get("/").bearer(&access).send().await.assert_status(401);
    // One that is repeated is not done yet either.
    gateway.client().post("/auth/logout").bearer(&access).send().await.assert_status(503);
    let logged_out = |line: &Value| line["event"] == "logged_out";
    assert!(gateway.audit_log().iter().any(logged_out), "and is written down as one");

    faults.fail_writes(false);
    let patience = Instant::now();
    while admin.get("/readyz").send().await.status != 200 {
        assert!(patience.elapsed() < Duration::from_secs(15), "does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    log_in(&gateway, "alice").await;
    gateway.client().post("/auth/logout").bearer(&access).send().await.assert_status(401);
}

#[tokio::test]
async fn codes_go_out_by_starttls_to_a_server_that_is_verified() {
    let (upstream, smtp) = (Upstream::start().await, Smtp::starttls().await);
    let certificate = smtp.certificate.as_ref().unwrap();
    let mail = format!(
        "[mail]\nserver = \"localhost:{}\"\nfrom = \"Gateway <gateway@example.com>\"\nca = {:?}",
        smtp.port, certificate.chain
    );
    let gateway =
        Gateway::builder().config(&mail).login("avenia").route_to(&upstream, "").start().await;
    let login = json!({ "email": "alice@example.com", "password": PASSWORD });

    let reply = gateway.client().post("/v2/auth/login").json(login).send().await;

    reply.assert_status(200);
    assert_eq!(reply.json(), json!({}));
    let code = json!({ "email": "alice@example.com", "emailToken": smtp.code(1) });
    let reply = gateway.client().post("/v2/auth/validate-login").json(code).send().await;
    let access = reply.assert_status(200).member("accessToken");
    gateway.client().get("/").bearer(&access).send().await.assert_status(200);
}

#[tokio::test]
async fn a_mail_with_a_code_has_an_id_and_says_that_a_program_sent_it() {
    let (upstream, smtp) = (Upstream::start().await, Smtp::plain().await);
    let mail = format!(
        "[mail]\nserver = \"127.0.0.1:{}\"\ntls = \"none\"\nfrom = \"Gateway <gateway@example.com>\"",
        smtp.port
    );
    let gateway =
        Gateway::builder().config(&mail).login("avenia").route_to(&upstream, "").start().await;
    for _ in 0..2 {
        let login = json!({ "email": "alice@example.com", "password": PASSWORD });
        gateway.client().post("/v2/auth/login").json(login).send().await.assert_status(200);
    }

    let mails = smtp.mails();

    let field = |mail: &str, name: &str| {
        let head = mail.split("\n\n").next().unwrap();
        let mut values = head.lines().filter_map(|line| line.strip_prefix(name));
        let value = values.next().unwrap_or_else(|| panic!("no {name} in {head}")).to_owned();
        assert_eq!(values.next(), None, "{name} once");
        value
    };
    let ids: Vec<_> = mails.iter().map(|mail| field(mail, "Message-ID: ")).collect();
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
    for id in &ids {
        assert!(id.starts_with('<') && id.ends_with("@example.com>"), "{id}");
    }
    for mail in &mails {
        assert_eq!(field(mail, "Auto-Submitted: "), "auto-generated");
        assert!(!field(mail, "Date: ").is_empty());
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_mail_server_that_is_down_is_503_and_sends_nothing() {
    let upstream = Upstream::start().await;
    let port = crate::harness::process::free_port();
    let mail = format!(
        "[mail]\nserver = \"127.0.0.1:{port}\"\ntls = \"none\"\nfrom = \"gateway@example.com\""
    );
    let gateway =
        Gateway::builder().config(&mail).login("avenia").route_to(&upstream, "").start().await;
    let login = json!({ "email": "alice@example.com", "password": PASSWORD });

    let reply = gateway.client().post("/v2/auth/login").json(login).send().await;

    reply.assert_status(503);
    assert!(reply.json()["error"].is_string(), "avenia's shape: {}", reply.text());
}

#[tokio::test]
async fn the_oldest_session_ends_where_a_user_has_too_many() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .config("[login_limits]\nsessions_per_user = 2")
        .login("native")
        .route_to(&upstream, "")
        .start()
        .await;
    let first = gateway.token("alice").await;
    let second = gateway.token("alice").await;
    let third = gateway.token("alice").await;

    for (token, status) in [(first, 401), (second, 200), (third, 200)] {
        gateway.client().get("/").bearer(&token).send().await.assert_status(status);
    }
}
