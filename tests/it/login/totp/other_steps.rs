//! An authenticator beside codes by mail, and in dialects that have no step for a code.

use super::*;

#[tokio::test]
async fn where_codes_are_mailed_the_authenticator_takes_their_place() {
    let (upstream, smtp) = (Upstream::start().await, Smtp::plain().await);
    let gateway = mailing(&smtp, "", &upstream).await;
    let phone = given(&gateway, "alice").await;
    let client = gateway.client();
    let login = json!({ "email": "alice@example.com", "password": PASSWORD });

    let reply = client.post("/v2/auth/login").json(login).send().await;
    assert_eq!(reply.assert_status(200).json(), json!({}));
    let code = shown(&gateway, &phone, 0);
    let code = json!({ "email": "alice@example.com", "emailToken": code });
    let reply = client.post("/v2/auth/validate-login").json(code).send().await;

    reply.assert_status(200).member("accessToken");
    assert_eq!(smtp.mails().len(), 0);
}

#[tokio::test]
async fn a_mailed_code_is_not_enough_for_who_has_an_authenticator_by_then() {
    let (upstream, smtp) = (Upstream::start().await, Smtp::plain().await);
    let gateway = mailing(&smtp, "", &upstream).await;
    let client = gateway.client();
    let login = json!({ "email": "alice@example.com", "password": PASSWORD });
    client.post("/v2/auth/login").json(login).send().await.assert_status(200);
    let mailed = smtp.code(1);

    let phone = given(&gateway, "alice").await;

    for code in [mailed, shown(&gateway, &phone, 0)] {
        let code = json!({ "email": "alice@example.com", "emailToken": code });
        client.post("/v2/auth/validate-login").json(code).send().await.assert_status(401);
    }
    assert_eq!(sessions(&gateway).await, 0);
    upstream.assert_untouched();
}

/// A gateway that mails codes, with further keys of its login.
async fn mailing(smtp: &Smtp, keys: &str, upstream: &Upstream) -> Gateway {
    let mail = format!(
        "[mail]\nserver = \"127.0.0.1:{}\"\ntls = \"none\"\nfrom = \"gateway@example.com\"",
        smtp.port
    );
    let builder = Gateway::builder().moving().config(&mail).login("avenia").config(keys);
    builder.route_to(upstream, "").start().await
}

/// A login of alice in a dialect that has no step for a code.
pub(super) async fn plain_login(gateway: &Gateway, dialect: &str, password: &str) -> Reply {
    let client = gateway.client();
    let login = json!({ "username": "alice", "password": password });
    let aviate = "/plugins/aviate-plugin/v1/auth";
    match dialect {
        "webitel" => client.post("/login").json(login).send().await,
        "datarhei" => client.post("/api/login").json(login).send().await,
        "aviate" => client.post(aviate).basic("alice@example.com", password).send().await,
        "nomic" => client.post("/api/auth/token").basic("alice", password).send().await,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_dialect_without_the_step_refuses_who_has_one_like_a_wrong_password() {
    for dialect in ["webitel", "datarhei", "aviate", "nomic"] {
        let upstream = Upstream::start().await;
        let builder = Gateway::builder().moving().login(dialect);
        let gateway = builder.route_to(&upstream, "").start().await;
        given(&gateway, "alice").await;

        let wrong = plain_login(&gateway, dialect, "not the password").await;
        let right = plain_login(&gateway, dialect, PASSWORD).await;

        assert_eq!((right.status, right.text()), (wrong.status, wrong.text()), "{dialect}");
        assert!(right.status.is_client_error(), "{dialect}");
        assert_eq!(sessions(&gateway).await, 0, "{dialect}");
        let causes = events(&gateway, "login_failed");
        let cause = causes.last().unwrap()["cause"].as_str().unwrap();
        assert!(cause.contains("second step"), "{dialect}: {cause}");
        upstream.assert_untouched();

        taken_away(&gateway, "alice").await;
        plain_login(&gateway, dialect, PASSWORD).await.assert_status(200);
    }
}

#[tokio::test]
async fn a_right_password_without_its_step_is_a_failed_attempt_as_well() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .moving()
        .config("[login_limits]\nper_account = { attempts = 2, per = \"10m\" }")
        .login("webitel")
        .route_to(&upstream, "")
        .start()
        .await;
    given(&gateway, "alice").await;

    for status in [401, 401, 429] {
        plain_login(&gateway, "webitel", PASSWORD).await.assert_status(status);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_login_that_says_so_asks_nobody_for_a_second_step() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .moving()
        .config("[[login]]\ndialect = \"webitel\"\ntotp = false")
        .login("native")
        .route_to(&upstream, "")
        .start()
        .await;
    given(&gateway, "alice").await;

    plain_login(&gateway, "webitel", PASSWORD).await.assert_status(200);
    pending(&gateway).await;
}

#[tokio::test]
async fn such_a_login_mails_its_codes_whoever_has_an_authenticator() {
    let (upstream, smtp) = (Upstream::start().await, Smtp::plain().await);
    let gateway = mailing(&smtp, "totp = false", &upstream).await;
    given(&gateway, "alice").await;
    let client = gateway.client();
    let login = json!({ "email": "alice@example.com", "password": PASSWORD });

    client.post("/v2/auth/login").json(login).send().await.assert_status(200);

    let code = json!({ "email": "alice@example.com", "emailToken": smtp.code(1) });
    client.post("/v2/auth/validate-login").json(code).send().await.assert_status(200);
}
