//! Guessing passwords and codes.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{NO_MAIL, attempt, post_from};
use crate::credentials::exchange::reload;
use crate::harness::gateway::{PASSWORD, hash_of};
use crate::harness::{Gateway, Reply, Smtp, Upstream};

const FIVE: &str = "[login_limits]\nper_account = { attempts = 5, per = \"10m\" }";

#[tokio::test]
async fn thirty_wrong_passwords_at_once_are_not_more_tries_than_the_limit() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::builder().config(FIVE).login("native").route_to(&upstream, "").start().await;

    let replies = join_all((0..30).map(|_| attempt(&gateway, "alice", "wrong"))).await;

    let counted = |status: u16| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!(counted(401), 5, "looked at");
    assert_eq!(counted(429), 25, "not looked at");
    for reply in replies.iter().filter(|reply| reply.status == 429) {
        assert!(reply.header("retry-after").is_some());
    }
    attempt(&gateway, "alice", PASSWORD).await.assert_status(429);
    upstream.assert_untouched();
}

#[tokio::test]
async fn right_passwords_cost_no_tries() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::builder().config(FIVE).login("native").route_to(&upstream, "").start().await;

    for _ in 0..8 {
        attempt(&gateway, "alice", PASSWORD).await.assert_status(200);
    }
}

#[tokio::test]
async fn a_stranger_locks_out_strangers_and_not_the_owner() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::builder().config(FIVE).login("native").route_to(&upstream, "").start().await;
    let login = |password: &str| json!({ "username": "alice", "password": password });
    let right = post_from("127.0.0.2", &gateway, "/auth/login", login(PASSWORD)).await;
    right.assert_status(200);

    for _ in 0..5 {
        attempt(&gateway, "alice", "wrong").await.assert_status(401);
    }

    attempt(&gateway, "alice", PASSWORD).await.assert_status(429);
    let owner = post_from("127.0.0.2", &gateway, "/auth/login", login(PASSWORD)).await;
    owner.assert_status(200);
    let other = post_from("127.0.0.3", &gateway, "/auth/login", login(PASSWORD)).await;
    other.assert_status(429);
    // Known is not free: the owner's own address has its own limit.
    for _ in 0..5 {
        post_from("127.0.0.2", &gateway, "/auth/login", login("x")).await.assert_status(401);
    }
    post_from("127.0.0.2", &gateway, "/auth/login", login("x")).await.assert_status(429);
    upstream.assert_untouched();
}

#[tokio::test]
async fn an_address_has_its_limit_whatever_names_it_tries() {
    let upstream = Upstream::start().await;
    let limit = "[login_limits]\nper_address = { attempts = 4, per = \"10m\" }";
    let gateway =
        Gateway::builder().config(limit).login("native").route_to(&upstream, "").start().await;

    for number in 0..4 {
        attempt(&gateway, &format!("name-{number}"), "x").await.assert_status(401);
    }

    attempt(&gateway, "alice", PASSWORD).await.assert_status(429);
    let login = json!({ "username": "alice", "password": PASSWORD });
    post_from("127.0.0.2", &gateway, "/auth/login", login).await.assert_status(200);
    upstream.assert_untouched();
}

#[tokio::test]
async fn spellings_dialects_and_the_address_of_one_user_are_counted_together() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .config(FIVE)
        .config(NO_MAIL)
        .login("native")
        .login("avenia")
        .route_to(&upstream, "")
        .start()
        .await;

    for name in ["alice", "ALICE", " alice\t", "ａｌｉｃｅ"] {
        attempt(&gateway, name, "wrong").await.assert_status(401);
    }
    let login = json!({ "email": "Alice@Example.COM", "password": "wrong" });
    gateway.client().post("/v2/auth/login").json(login.clone()).send().await.assert_status(401);

    attempt(&gateway, "alice", PASSWORD).await.assert_status(429);
    gateway.client().post("/v2/auth/login").json(login).send().await.assert_status(429);
    attempt(&gateway, "bob", PASSWORD).await.assert_status(200);
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_name_that_nobody_has_is_counted_like_any_other() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::builder().config(FIVE).login("native").route_to(&upstream, "").start().await;

    for name in ["nobody", "Nobody", "NOBODY", " nobody", "ｎｏｂｏｄｙ"] {
        attempt(&gateway, name, "wrong").await.assert_status(401);
    }

    attempt(&gateway, "nobody", "wrong").await.assert_status(429);
    upstream.assert_untouched();
}

/// Everything of an answer that may not depend on who was named.
fn shape(reply: &Reply) -> (u16, Vec<(String, String)>, Value) {
    let volatile = ["x-request-id", "date"];
    let headers = reply.headers.iter().filter(|(name, _)| !volatile.contains(&name.as_str()));
    let headers = headers.map(|(n, value)| (n.to_string(), value.to_str().unwrap().to_owned()));
    let mut body = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    for member in ["request_id", "instance", "timestamp"] {
        if let Some(body) = body.as_object_mut() {
            body.remove(member);
        }
    }
    (reply.status.as_u16(), headers.collect(), body)
}

#[tokio::test]
async fn unknown_wrong_and_disabled_are_one_answer_in_every_dialect() {
    let upstream = Upstream::start().await;
    for (dialect, path, form) in [
        ("native", "/auth/login", "username"),
        ("datarhei", "/api/login", "username"),
        ("webitel", "/login", "username"),
        ("avenia", "/v2/auth/login", "email"),
        ("nomic", "/api/auth/token", "basic"),
        ("aviate", "/plugins/aviate-plugin/v1/auth", "basic"),
    ] {
        let more = match dialect {
            "avenia" => NO_MAIL,
            // Its published page tells, unless the operator says no.
            "webitel" => "reveal_unknown_user = false",
            _ => "",
        };
        let gateway =
            Gateway::builder().login(dialect).config(more).route_to(&upstream, "").start().await;
        let mut shapes = Vec::new();
        for name in ["alice", "dora", "nobody"] {
            let mail = format!("{name}@example.com");
            let client = gateway.client();
            let call = client.post(path);
            let call = match form {
                "basic" if dialect == "aviate" => call.basic(&mail, "wrong"),
                "basic" => call.basic(name, "wrong"),
                "email" => call.json(json!({ "email": mail, "password": "wrong" })),
                _ => call.json(json!({ "username": name, "password": "wrong" })),
            };
            shapes.push(shape(&call.send().await));
        }

        assert!(matches!(shapes[0].0, 401 | 403), "{dialect}: {:?}", shapes[0]);
        assert_eq!(shapes[0], shapes[1], "{dialect}: disabled");
        assert_eq!(shapes[0], shapes[2], "{dialect}: unknown");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_disabled_user_is_not_told_even_with_the_right_password() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;

    let disabled = attempt(&gateway, "dora", PASSWORD).await;
    let wrong = attempt(&gateway, "alice", "wrong").await;

    assert_eq!(shape(&disabled), shape(&wrong));
}

#[tokio::test]
async fn a_password_counts_as_it_was_typed() {
    let upstream = Upstream::start().await;
    let long = format!("  {} ä🦀  ", "long ".repeat(20));
    let users = format!("[[user]]\nname = \"eve\"\npassword = \"{}\"\n", hash_of(&long));
    let gateway =
        Gateway::builder().users(&users).login("native").route_to(&upstream, "").start().await;

    attempt(&gateway, "eve", &long).await.assert_status(200);
    for (changed, why) in [
        (long.trim().to_owned(), "trimmed"),
        (long.to_uppercase(), "upper case"),
        (long.chars().take(72).collect(), "cut"),
        (format!("{long} "), "longer"),
        (String::new(), "empty"),
    ] {
        let reply = attempt(&gateway, "eve", &changed).await;
        assert!(matches!(reply.status.as_u16(), 400 | 401), "{why}: {}", reply.status);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn an_address_with_two_at_signs_is_nobodys() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::builder().config(NO_MAIL).login("avenia").route_to(&upstream, "").start().await;

    for email in ["alice@evil@example.com", "alice@example.com@evil", "<alice@example.com>"] {
        let login = json!({ "email": email, "password": PASSWORD });
        let reply = gateway.client().post("/v2/auth/login").json(login).send().await;
        reply.assert_status(401);
    }
    upstream.assert_untouched();
}

/// A gateway that mails codes to alice, with limits that only codes are meant to reach.
async fn with_codes(smtp: &Smtp, upstream: &Upstream) -> Gateway {
    let config = format!(
        "[mail]\nserver = \"127.0.0.1:{}\"\ntls = \"none\"\nfrom = \"gateway@example.com\"\n\
         [login_limits]\nper_account = {{ attempts = 500, per = \"10m\" }}\n\
         per_address = {{ attempts = 500, per = \"10m\" }}",
        smtp.port
    );
    Gateway::builder().config(&config).login("avenia").route_to(upstream, "").start().await
}

/// Passes the password step; the code that was mailed.
async fn mailed(gateway: &Gateway, smtp: &Smtp, count: usize) -> String {
    let login = json!({ "email": "alice@example.com", "password": PASSWORD });
    gateway.client().post("/v2/auth/login").json(login).send().await.assert_status(200);
    smtp.code(count)
}

fn guess(code: &str) -> Value {
    json!({ "email": "alice@example.com", "emailToken": code })
}

/// Another code than `code`, a different one for each `number`.
fn other(code: &str, number: u32) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1 + number) % 1_000_000)
}

const VALIDATE: &str = "/v2/auth/validate-login";

#[tokio::test]
async fn five_wrong_guesses_kill_a_code() {
    let (upstream, smtp) = (Upstream::start().await, Smtp::plain().await);
    let gateway = with_codes(&smtp, &upstream).await;
    let code = mailed(&gateway, &smtp, 1).await;

    for number in 0..5 {
        let wrong = guess(&other(&code, number));
        gateway.client().post(VALIDATE).json(wrong).send().await.assert_status(401);
    }

    gateway.client().post(VALIDATE).json(guess(&code)).send().await.assert_status(401);
    upstream.assert_untouched();
}

#[tokio::test]
async fn strangers_have_fifteen_guesses_together_and_take_none_of_the_owners() {
    let (upstream, smtp) = (Upstream::start().await, Smtp::plain().await);
    let gateway = with_codes(&smtp, &upstream).await;
    let code = mailed(&gateway, &smtp, 1).await;

    for number in 0..15 {
        let source = format!("127.0.0.{}", 2 + number % 3);
        let wrong = guess(&other(&code, number));
        post_from(&source, &gateway, VALIDATE, wrong).await.assert_status(401);
    }

    post_from("127.0.0.9", &gateway, VALIDATE, guess(&code)).await.assert_status(401);
    let own = gateway.client().post(VALIDATE).json(guess(&code)).send().await;
    own.assert_status(200);
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_code_is_used_once_and_a_new_one_replaces_it() {
    let (upstream, smtp) = (Upstream::start().await, Smtp::plain().await);
    let gateway = with_codes(&smtp, &upstream).await;
    let first = mailed(&gateway, &smtp, 1).await;
    let login = json!({ "email": "alice@example.com", "password": PASSWORD });
    gateway.client().post("/v2/auth/login").json(login).send().await.assert_status(200);
    let mails = smtp.mails();
    let second = mails
        .iter()
        .map(|mail| mail.split_once("\n\n").unwrap().1)
        .filter_map(|text| text.split(|c: char| !c.is_ascii_digit()).find(|d| d.len() == 6))
        .find(|code| *code != first)
        .unwrap()
        .to_owned();

    gateway.client().post(VALIDATE).json(guess(&first)).send().await.assert_status(401);
    gateway.client().post(VALIDATE).json(guess(&second)).send().await.assert_status(200);
    gateway.client().post(VALIDATE).json(guess(&second)).send().await.assert_status(401);
    upstream.assert_untouched();
}

#[tokio::test]
async fn an_accounts_mails_are_limited_by_the_hour() {
    let (upstream, smtp) = (Upstream::start().await, Smtp::plain().await);
    let gateway = with_codes(&smtp, &upstream).await;
    let login = json!({ "email": "alice@example.com", "password": PASSWORD });

    for _ in 0..5 {
        let reply = gateway.client().post("/v2/auth/login").json(login.clone()).send().await;
        reply.assert_status(200);
    }

    let sixth = gateway.client().post("/v2/auth/login").json(login).send().await;
    sixth.assert_status(429);
    assert_eq!(smtp.mails().len(), 5);
}

#[tokio::test]
async fn at_a_login_the_body_wins_over_a_bearer_and_other_carriers_do_not_count() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::builder().login("native").login("datarhei").route_to(&upstream, "").start().await;
    let right = json!({ "username": "alice", "password": PASSWORD });
    let wrong = json!({ "username": "alice", "password": "wrong" });
    let good = gateway.token("alice").await;

    for path in ["/auth/login", "/api/login"] {
        let client = gateway.client();
        let call = client.post(path).bearer("a.b.c").pair("x", "y").json(right.clone());
        call.send().await.assert_status(200);
        let call = client.post(path).bearer(&good).json(wrong.clone());
        call.send().await.assert_status(401);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn there_is_no_password_grant_and_nothing_advertises_one() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;

    let form = format!("grant_type=password&username=alice&password={PASSWORD}").replace(' ', "+");
    let client = gateway.client();
    let call = client.post("/auth/login");
    let reply = call.header("content-type", "application/x-www-form-urlencoded").body(form);
    let reply = reply.send().await;

    assert!(reply.status.is_client_error(), "{}", reply.status);
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        gateway.client().get(path).send().await.assert_status(401);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_user_begins_no_more_sessions_in_a_minute_than_the_limit_says() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .moving()
        .config("[login_limits]\nnew_sessions_per_user = { attempts = 3, per = \"1m\" }")
        .login("native")
        .route_to(&upstream, "")
        .start()
        .await;
    let log_in = async |name: &str| {
        let login = json!({ "username": name, "password": PASSWORD });
        gateway.client().post("/auth/login").json(login).send().await
    };
    for _ in 0..3 {
        let token = log_in("alice").await.assert_status(200).member("access_token");
        // That a session has ended makes no room for another.
        gateway.client().post("/auth/logout").bearer(&token).send().await.assert_status(204);
    }

    let refused = log_in("alice").await;

    refused.assert_status(429).assert_code("too_many_attempts");
    assert_eq!(refused.header("retry-after"), Some("20"));
    log_in("bob").await.assert_status(200);
    // A reload that leaves the limit as it is forgets no session that was begun.
    reload(&gateway, "drain_timeout = \"2s\"", "drain_timeout = \"3s\"");
    log_in("alice").await.assert_status(429);
    gateway.advance(Duration::from_secs(20));
    log_in("alice").await.assert_status(200);
    log_in("alice").await.assert_status(429);
    reload(&gateway, "attempts = 3", "attempts = 4");
    log_in("alice").await.assert_status(200);
    upstream.assert_untouched();
}
