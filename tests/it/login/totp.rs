//! Codes of an authenticator as a second step: when they are asked for, and what they cannot do.

mod other_steps;

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tollhouse::admin::{SOCKET, client};

use crate::harness::gateway::{PASSWORD, users};
use crate::harness::process::Process;
use crate::harness::{Gateway, Reply, Smtp, Upstream};
use crate::security::post_from;

use self::other_steps::plain_login;

const STEP: Duration = Duration::from_secs(30);

/// A gateway with the native login, where alice has an authenticator.
async fn with_step(upstream: &Upstream) -> (Gateway, totp_rs::Totp) {
    let gateway = Gateway::builder().moving().login("native").route_to(upstream, "").start().await;
    let phone = given(&gateway, "alice").await;
    (gateway, phone)
}

/// The same, where an account has so many attempts.
async fn limited(upstream: &Upstream, attempts: usize) -> (Gateway, totp_rs::Totp) {
    let limits =
        format!("[login_limits]\nper_account = {{ attempts = {attempts}, per = \"10m\" }}");
    let builder = Gateway::builder().moving().config(&limits).login("native");
    let gateway = builder.route_to(upstream, "").start().await;
    let phone = given(&gateway, "alice").await;
    (gateway, phone)
}

/// Asks the admin socket.
async fn ask(gateway: &Gateway, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let socket = gateway.dir().join("state").join(SOCKET);
    let (status, answer) = client::call(&socket, method, path, body).await.unwrap();
    (status.as_u16(), answer)
}

/// Gives a user an authenticator, in the place of one that he may have.
pub(crate) async fn given(gateway: &Gateway, name: &str) -> totp_rs::Totp {
    let body = json!({ "user": name, "replace": true });
    let (status, answer) = ask(gateway, Method::POST, "/totp", Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    totp_rs::Totp::from_url(answer["uri"].as_str().unwrap()).unwrap()
}

async fn taken_away(gateway: &Gateway, name: &str) {
    let body = json!({ "user": name });
    let (status, answer) = ask(gateway, Method::POST, "/totp/remove", Some(body)).await;
    assert_eq!(status, 200, "{answer}");
}

async fn sessions(gateway: &Gateway) -> usize {
    let (_, answer) = ask(gateway, Method::GET, "/sessions", None).await;
    answer["sessions"].as_array().unwrap().len()
}

/// What the authenticator shows, so many steps from now.
pub(crate) fn shown(gateway: &Gateway, phone: &totp_rs::Totp, steps: i64) -> String {
    let now = gateway.clock.as_ref().unwrap().now().secs();
    phone.generate(now.saturating_add_signed(steps * 30)).to_string()
}

/// Six digits that are none of the codes that count now.
fn wrong(gateway: &Gateway, phone: &totp_rs::Totp) -> String {
    let right = [-1, 0, 1].map(|steps| shown(gateway, phone, steps));
    let mut codes = (0..).map(|number| format!("{number:06}"));
    codes.find(|code| !right.contains(code)).unwrap()
}

async fn password(gateway: &Gateway) -> Reply {
    let login = json!({ "username": "alice", "password": PASSWORD });
    gateway.client().post("/auth/login").json(login).send().await
}

/// The password step, after which a code is waited for from whoever has the ticket.
async fn pending(gateway: &Gateway) -> String {
    let reply = password(gateway).await;
    assert_eq!(reply.assert_status(202).member("step"), "verify");
    reply.member("ticket")
}

fn guess(ticket: &str, code: &str) -> Value {
    json!({ "username": "alice", "code": code, "ticket": ticket })
}

async fn verify(gateway: &Gateway, ticket: &str, code: &str) -> Reply {
    gateway.client().post("/auth/verify").json(guess(ticket, code)).send().await
}

/// Refused as every code is, and nothing came of it.
async fn refused(gateway: &Gateway, upstream: &Upstream, reply: &Reply) {
    reply.assert_status(401).assert_code("code_invalid");
    assert_eq!(sessions(gateway).await, 0, "a session was left");
    upstream.assert_untouched();
}

fn events(gateway: &Gateway, name: &str) -> Vec<Value> {
    gateway.audit_log().into_iter().filter(|line| line["event"] == name).collect()
}

#[tokio::test]
async fn the_password_alone_is_no_session_and_with_the_code_it_is() {
    let upstream = Upstream::start().await;
    let (gateway, phone) = with_step(&upstream).await;

    let ticket = pending(&gateway).await;
    assert_eq!(sessions(&gateway).await, 0);
    let reply = verify(&gateway, &ticket, &shown(&gateway, &phone, 0)).await;

    let token = reply.assert_status(200).member("access_token");
    gateway.client().get("/").bearer(&token).send().await.assert_status(200);
    let renewal = json!({ "refresh_token": reply.member("refresh_token") });
    let renewed = gateway.client().post("/auth/refresh").json(renewal).send().await;
    renewed.assert_status(200);
    assert_eq!(events(&gateway, "code_awaited").len(), 1);
    assert_eq!(events(&gateway, "logged_in").len(), 1);
    // Who has no second step logs in as ever.
    gateway.token("bob").await;
}

#[tokio::test]
async fn a_code_works_once_and_one_before_it_not_at_all() {
    let upstream = Upstream::start().await;
    let (gateway, phone) = with_step(&upstream).await;
    let ticket = pending(&gateway).await;
    let code = shown(&gateway, &phone, 0);
    verify(&gateway, &ticket, &code).await.assert_status(200);

    let ticket = pending(&gateway).await;
    for (steps, why) in [(0, "the same again"), (-1, "the one before it, still in time")] {
        let reply = verify(&gateway, &ticket, &shown(&gateway, &phone, steps)).await;
        assert_eq!(reply.status, 401, "{why}");
    }
    gateway.advance(STEP);
    let again = verify(&gateway, &ticket, &code).await;
    again.assert_status(401).assert_code("code_invalid");
    assert_eq!(sessions(&gateway).await, 1, "the first one's");
    verify(&gateway, &ticket, &shown(&gateway, &phone, 0)).await.assert_status(200);
    upstream.assert_untouched();
}

#[tokio::test]
async fn of_many_requests_with_one_code_one_gets_a_session() {
    let upstream = Upstream::start().await;
    let (gateway, phone) = with_step(&upstream).await;
    let ticket = pending(&gateway).await;
    let code = shown(&gateway, &phone, 0);

    let replies = join_all((0..8).map(|_| verify(&gateway, &ticket, &code))).await;

    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    assert_eq!(sessions(&gateway).await, 1);
}

#[tokio::test]
async fn a_code_of_another_time_or_of_no_login_is_refused() {
    let upstream = Upstream::start().await;
    let (gateway, phone) = with_step(&upstream).await;

    let reply = verify(&gateway, "a ticket", &shown(&gateway, &phone, 0)).await;
    refused(&gateway, &upstream, &reply).await;

    let ticket = pending(&gateway).await;
    for steps in [-2, 2] {
        let reply = verify(&gateway, &ticket, &shown(&gateway, &phone, steps)).await;
        refused(&gateway, &upstream, &reply).await;
    }
    for code in ["", "12345", "1234567", "12 345", "abcdef"] {
        let reply = verify(&gateway, &ticket, code).await;
        assert!(matches!(reply.status.as_u16(), 400 | 401), "{code}: {}", reply.text());
    }
    assert_eq!(sessions(&gateway).await, 0);
}

#[tokio::test]
async fn a_login_waits_for_its_code_five_minutes() {
    let upstream = Upstream::start().await;
    let (gateway, phone) = with_step(&upstream).await;

    let ticket = pending(&gateway).await;
    gateway.advance(Duration::from_secs(300));
    let late = verify(&gateway, &ticket, &shown(&gateway, &phone, 0)).await;
    refused(&gateway, &upstream, &late).await;

    let ticket = pending(&gateway).await;
    gateway.advance(Duration::from_secs(299));
    verify(&gateway, &ticket, &shown(&gateway, &phone, 0)).await.assert_status(200);
}

#[tokio::test]
async fn five_wrong_codes_end_the_login_that_waits() {
    let upstream = Upstream::start().await;
    let (gateway, phone) = with_step(&upstream).await;
    let ticket = pending(&gateway).await;

    for _ in 0..5 {
        let reply = verify(&gateway, &ticket, &wrong(&gateway, &phone)).await;
        refused(&gateway, &upstream, &reply).await;
    }

    let right = verify(&gateway, &ticket, &shown(&gateway, &phone, 0)).await;
    refused(&gateway, &upstream, &right).await;
}

#[tokio::test]
async fn strangers_cannot_use_up_the_guesses_of_who_passed_the_password() {
    let upstream = Upstream::start().await;
    let (gateway, phone) = limited(&upstream, 100).await;
    let ticket = pending(&gateway).await;

    for _ in 0..15 {
        let code = guess("a ticket", &wrong(&gateway, &phone));
        post_from("127.0.0.9", &gateway, "/auth/verify", code).await.assert_status(401);
    }

    let right = guess("a ticket", &shown(&gateway, &phone, -1));
    let stranger = post_from("127.0.0.9", &gateway, "/auth/verify", right).await;
    refused(&gateway, &upstream, &stranger).await;
    verify(&gateway, &ticket, &shown(&gateway, &phone, 0)).await.assert_status(200);
}

#[tokio::test]
async fn wrong_codes_are_failed_attempts_however_often_the_password_is_right() {
    let upstream = Upstream::start().await;
    let (gateway, phone) = limited(&upstream, 6).await;

    for _ in 0..2 {
        let ticket = pending(&gateway).await;
        for _ in 0..3 {
            verify(&gateway, &ticket, &wrong(&gateway, &phone)).await.assert_status(401);
        }
    }

    let ticket = pending(&gateway).await;
    verify(&gateway, &ticket, &shown(&gateway, &phone, 0)).await.assert_status(429);
    assert_eq!(sessions(&gateway).await, 0);
    upstream.assert_untouched();
    gateway.advance(Duration::from_secs(600));
    let ticket = pending(&gateway).await;
    verify(&gateway, &ticket, &shown(&gateway, &phone, 0)).await.assert_status(200);
}

#[tokio::test]
async fn a_login_that_waits_fails_when_its_authenticator_is_replaced_or_taken_away() {
    let upstream = Upstream::start().await;
    let (gateway, first) = with_step(&upstream).await;

    let ticket = pending(&gateway).await;
    let second = given(&gateway, "alice").await;
    for phone in [&first, &second] {
        let reply = verify(&gateway, &ticket, &shown(&gateway, phone, 0)).await;
        refused(&gateway, &upstream, &reply).await;
    }

    let ticket = pending(&gateway).await;
    taken_away(&gateway, "alice").await;
    let reply = verify(&gateway, &ticket, &shown(&gateway, &second, 0)).await;
    refused(&gateway, &upstream, &reply).await;

    password(&gateway).await.assert_status(200);
}

#[tokio::test]
async fn a_login_that_waits_at_one_login_is_not_finished_at_another() {
    let upstream = Upstream::start().await;
    let two = "[[login]]\ndialect = \"native\"\nname = \"other\"\nprefix = \"/other\"";
    let builder = Gateway::builder().moving().login("native").config(two);
    let gateway = builder.route_to(&upstream, "").start().await;
    let phone = given(&gateway, "alice").await;
    let ticket = pending(&gateway).await;
    let code = guess(&ticket, &shown(&gateway, &phone, 0));

    let reply = gateway.client().post("/other/auth/verify").json(code.clone()).send().await;

    refused(&gateway, &upstream, &reply).await;
    gateway.client().post("/auth/verify").json(code).send().await.assert_status(200);
}

#[tokio::test]
async fn a_user_who_changed_since_his_password_does_not_come_in_with_a_code() {
    let upstream = Upstream::start().await;
    for (from, to, why) in [
        ("roles = [\"admin\"]", "roles = [\"admin\", \"root\"]", "other roles"),
        ("roles = [\"admin\"]", "disabled = true", "disabled"),
    ] {
        let (gateway, phone) = with_step(&upstream).await;
        let ticket = pending(&gateway).await;

        let changed = users().replacen(from, to, 1).replace("\"bob\"", "\"bert\"");
        std::fs::write(gateway.dir().join("users.toml"), changed).unwrap();
        until_known(&gateway, "bert").await;

        let reply = verify(&gateway, &ticket, &shown(&gateway, &phone, 0)).await;
        assert_eq!(reply.status, 401, "{why}: {}", reply.text());
        refused(&gateway, &upstream, &reply).await;
        let cause = &events(&gateway, "code_refused")[0]["cause"];
        assert_eq!(cause, "the user changed since the password", "{why}");
    }
}

/// Until the changed users file is in use, where this user is new.
async fn until_known(gateway: &Gateway, name: &str) {
    let path = format!("/sessions?user={name}");
    for _ in 0..100 {
        if ask(gateway, Method::GET, &path, None).await.0 == 200 {
            return;
        }
        gateway.advance(Duration::from_millis(1500));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the users file was not read again");
}

#[tokio::test]
async fn a_session_goes_on_without_a_code() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder().moving().login("nomic");
    let gateway = builder.route_to(&upstream, "").start().await;
    let login = plain_login(&gateway, "nomic", PASSWORD).await;
    let token = login.assert_status(200).member("token");

    given(&gateway, "alice").await;

    plain_login(&gateway, "nomic", PASSWORD).await.assert_status(403);
    let renewed = gateway.client().post("/api/auth/token").bearer(&token).send().await;
    let token = renewed.assert_status(200).member("token");
    gateway.client().get("/").bearer(&token).send().await.assert_status(200);
}

#[tokio::test]
async fn an_authenticator_and_its_used_codes_outlast_a_restart() {
    let upstream = Upstream::start().await;
    let (gateway, phone) = with_step(&upstream).await;
    let ticket = pending(&gateway).await;
    verify(&gateway, &ticket, &shown(&gateway, &phone, 0)).await.assert_status(200);
    let ticket = pending(&gateway).await;
    let dir = gateway.stop().await;

    let builder = Gateway::builder().on(dir).moving().login("native");
    let gateway = builder.route_to(&upstream, "").start().await;

    let used = verify(&gateway, &ticket, &shown(&gateway, &phone, 0)).await;
    used.assert_status(401).assert_code("code_invalid");
    gateway.advance(STEP);
    verify(&gateway, &ticket, &shown(&gateway, &phone, 0)).await.assert_status(200);
}

#[tokio::test]
async fn an_operator_gives_one_only_to_a_known_user_and_replaces_it_only_on_his_word() {
    let upstream = Upstream::start().await;
    let (gateway, phone) = with_step(&upstream).await;
    for (path, body, status) in [
        ("/totp", json!({ "user": "alice" }), 409),
        ("/totp", json!({ "user": "nobody" }), 404),
        ("/totp", json!({ "user": "bob", "source": "nowhere" }), 404),
        ("/totp/remove", json!({ "user": "bob" }), 404),
        ("/totp", json!({ "user": "bob", "source": "staff" }), 200),
        ("/totp/remove", json!({ "user": "bob", "source": "staff" }), 200),
    ] {
        let (answered, text) = ask(&gateway, Method::POST, path, Some(body.clone())).await;
        assert_eq!(answered, status, "{path} {body}: {text}");
    }

    let ticket = pending(&gateway).await;
    verify(&gateway, &ticket, &shown(&gateway, &phone, 0)).await.assert_status(200);

    let done: Vec<_> = events(&gateway, "admin")
        .iter()
        .map(|line| format!("{} {}", line["action"], line["target"]).replace('"', ""))
        .collect();
    assert_eq!(done, ["totp made alice", "totp made bob", "totp removed bob"]);
    let secret = phone.secret().to_base32();
    let told = format!("{:?}{:?}", gateway.audit_log(), gateway.access_log());
    assert!(!told.contains(&secret), "the secret is in a log");
}

#[tokio::test]
async fn the_command_line_prints_the_address_and_a_picture_of_it() {
    let process = Process::plain("");
    process.wait_for_commands();

    let told = process.command(&["user", "totp", "alice"]).ok();

    let address = told.lines().next().unwrap();
    assert!(address.starts_with("otpauth://totp/gateway.example:alice?secret="), "{address}");
    let phone = totp_rs::Totp::from_url(address).unwrap();
    assert_eq!(phone.secret().as_ref().len(), 20);
    let picture: Vec<_> = told.lines().skip(2).collect();
    let width = picture[0].chars().count();
    assert!(width > 30 && picture.iter().all(|line| line.chars().count() == width), "{told}");
    assert!(picture[0].chars().all(|c| c == '█'), "light around it: {told}");
    process.command(&["user", "totp", "alice"]).failed(1, &["has a second step"]);
    process.command(&["user", "totp", "nobody"]).failed(1, &["nobody"]);
    process.command(&["user", "totp", "alice", "--remove", "--replace"]).failed(2, &["--remove"]);

    let login = json!({ "username": "alice", "password": PASSWORD });
    let client = process.client();
    let reply = client.post("/auth/login").json(login).send().await;
    let ticket = reply.assert_status(202).member("ticket");
    let now = tollhouse::clock::Clock::system().now().secs();
    let code = guess(&ticket, &phone.generate(now).to_string());
    client.post("/auth/verify").json(code).send().await.assert_status(200);

    let other = process.command(&["user", "totp", "alice", "--replace"]).ok();
    assert_ne!(other.lines().next(), Some(address));
    let gone = process.command(&["user", "--source", "staff", "totp", "alice", "--remove"]).ok();
    assert_eq!(gone, "alice has no second step any more\n");
    process.token("alice").await;
}

#[tokio::test]
async fn a_door_without_the_second_step_does_not_clear_its_guesses() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .moving()
        .config("[login_limits]\nper_address = { attempts = 1000, per = \"10m\" }")
        .config("[[login]]\nname = \"old\"\ndialect = \"native\"\nprefix = \"/old\"\ntotp = false")
        .login("native")
        .route_to(&upstream, "")
        .start()
        .await;
    let phone = given(&gateway, "alice").await;
    let login = json!({ "username": "alice", "password": PASSWORD });
    let mut guesses = 0;

    // Whoever has the password goes through the other door before each guess, from any address.
    for from in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        for _ in 0..12 {
            let other = post_from(from, &gateway, "/old/auth/login", login.clone()).await;
            other.assert_status(200);
            let pending = post_from(from, &gateway, "/auth/login", login.clone()).await;
            let ticket = pending.assert_status(202).member("ticket");
            let code = guess(&ticket, &wrong(&gateway, &phone));
            let reply = post_from(from, &gateway, "/auth/verify", code).await;
            guesses += usize::from(reply.status == 401);
        }
    }

    assert_eq!(guesses, 10, "as many as an account has, from all addresses together");
    upstream.assert_untouched();
}

#[tokio::test]
async fn the_second_step_is_of_who_passed_the_first_even_behind_a_shared_address() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .moving()
        .listener("shared_addresses = [\"127.0.0.0/8\"]")
        .login("native")
        .route_to(&upstream, "")
        .start()
        .await;
    let phone = given(&gateway, "alice").await;
    let ticket = pending(&gateway).await;
    let right = shown(&gateway, &phone, 0);

    for guess in [
        json!({ "username": "alice", "code": right }),
        guess("a ticket", &right),
        json!({ "username": "alice", "code": right, "ticket": "" }),
    ] {
        let reply = gateway.client().post("/auth/verify").json(guess).send().await;
        refused(&gateway, &upstream, &reply).await;
    }
    let older = ticket;
    let ticket = pending(&gateway).await;
    refused(&gateway, &upstream, &verify(&gateway, &older, &right).await).await;

    verify(&gateway, &ticket, &right).await.assert_status(200);
}
