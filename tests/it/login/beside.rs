//! What a request has beside the name and the password: the calling program, a code, and one field
//! for two kinds of name.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};

use super::totp::{given, shown};
use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Reply, Smtp, Upstream};

/// OAuth's password grant, with programs that must prove themselves.
const PROGRAMS: &str = r#"
[[dialect]]
name = "grants"

[[dialect.endpoint]]
step = "login"
request = "POST /token"
where = { form = { grant_type = "password" } }
client = { basic = {}, form = { id = "client_id", secret = "client_secret" } }
credential = [{ form = { username = "username", password = "password" } }]
reply = { json = { access = "$access.token", refresh = "$refresh.token", at = "$login.url" } }

[[dialect.endpoint]]
step = "refresh"
request = "POST /token"
where = { form = { grant_type = "refresh_token" } }
client = { basic = {}, form = { id = "client_id", secret = "client_secret" } }
credential = [{ token = { form = "refresh_token" }, use = "refresh" }]
rotates = true
reply = { json = { access = "$access.token", refresh = "$refresh.token" } }

[dialect.error]
default = { json = { error = "$code" } }
"#;

const LOGIN_KEYS: &str = r#"
url = "https://login.example"
clients = [
  { id = "shop", secret = { file = "shop.secret" } },
  { id = "two words", secret = { file = "words.secret" } },
  { id = "phone", public = true },
]
"#;

async fn with_programs(upstream: &Upstream) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    let users = crate::harness::gateway::users();
    let files =
        [("users.toml", users.as_str()), ("shop.secret", "open sesame"), ("words.secret", "p%q+r")];
    for (name, secret) in files {
        let path = dir.path().join(name);
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    Gateway::builder()
        .on(dir)
        .config(PROGRAMS)
        .login("grants")
        .config(LOGIN_KEYS)
        .route_to(upstream, "")
        .start()
        .await
}

fn grant(more: &str) -> String {
    let password = PASSWORD.replace(' ', "+");
    format!("grant_type=password&username=alice&password={password}{more}")
}

async fn post(gateway: &Gateway, basic: Option<(&str, &str)>, body: &str) -> Reply {
    let form = "application/x-www-form-urlencoded";
    let client = gateway.client();
    let request = client.post("/token").header("Content-Type", form).body(body.to_owned());
    match basic {
        Some((id, secret)) => request.basic(id, secret).send().await,
        None => request.send().await,
    }
}

#[tokio::test]
async fn only_a_program_of_the_login_gets_its_users_tokens() {
    let upstream = Upstream::start().await;
    let gateway = with_programs(&upstream).await;

    for (basic, more, why) in [
        (Some(("shop", "open sesame")), "", "Basic"),
        (Some(("shop", "open sesame")), "&client_id=shop", "Basic, and its id again"),
        (Some(("shop", "open+sesame")), "", "form-encoded (RFC 6749, section 2.3.1)"),
        (Some(("two+words", "p%25q%2Br")), "", "both encoded"),
        (Some(("two words", "p%q+r")), "", "neither encoded"),
        (None, "&client_id=shop&client_secret=open+sesame", "in the body"),
        (None, "&client_id=phone", "a public one"),
    ] {
        let reply = post(&gateway, basic, &grant(more)).await;
        assert_eq!(reply.assert_status(200).member("at"), "https://login.example", "{why}");
    }
    for (basic, more, code, why) in [
        (None, "", "invalid_client", "none"),
        (None, "&client_id=shop", "invalid_client", "no secret"),
        (None, "&client_secret=open+sesame", "invalid_client", "no id"),
        (None, "&client_id=other&client_secret=open+sesame", "invalid_client", "unknown"),
        (None, "&client_id=phone&client_secret=x", "invalid_client", "a secret of a public one"),
        (Some(("shop", "wrong")), "", "invalid_client", "another secret"),
        (Some(("phone", "open sesame")), "", "invalid_client", "another's secret"),
        (Some(("shop", "open sesame")), "&client_id=phone", "ambiguous_credential", "two"),
    ] {
        let reply = post(&gateway, basic, &grant(more)).await;
        assert!(reply.status.is_client_error(), "{why}");
        assert_eq!(reply.member("error"), code, "{why}");
    }
    let wrong = grant("&client_id=phone").replace("correct", "wrong");
    assert_eq!(
        post(&gateway, None, &wrong).await.assert_status(401).member("error"),
        "invalid_credentials"
    );
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_refresh_token_belongs_to_the_program_it_was_issued_to() {
    let upstream = Upstream::start().await;
    let gateway = with_programs(&upstream).await;
    let shop = Some(("shop", "open sesame"));
    let refresh = async |basic: Option<(&str, &str)>, more: &str, token: &str| {
        let body = format!("grant_type=refresh_token&refresh_token={token}{more}");
        post(&gateway, basic, &body).await
    };

    let first = post(&gateway, shop, &grant("")).await.assert_status(200).member("refresh");
    let stolen = refresh(None, "&client_id=phone", &first).await;
    assert_eq!(stolen.assert_status(401).member("error"), "token_invalid");
    let nobody = refresh(None, "", &first).await;
    assert_eq!(nobody.assert_status(401).member("error"), "invalid_client");
    let second = refresh(shop, "", &first).await.assert_status(200).member("refresh");
    let stolen = refresh(None, "&client_id=phone", &second).await;
    assert_eq!(stolen.assert_status(401).member("error"), "token_invalid", "the successor, too");
    refresh(shop, "", &second).await.assert_status(200);
    upstream.assert_untouched();
}

/// A code beside the password, and one field for names and addresses.
fn one_request(step: &str) -> String {
    format!(
        r#"
[[dialect]]
name = "at-once"
[[dialect.endpoint]]
step = "login"
request = "POST /in"
account = ["username", "email"]
second_step = "{step}"
credential = [{{ json = {{ username = "login", password = "password", code = "otp" }} }}]
reply = {{ json = {{ token = "$access.token", name = "$user.name" }} }}
error = {{ code_required = {{ json = {{ error = "$code", id = "$request.json.id" }} }} }}
"#
    )
}

fn enter(name: &str, code: Option<&str>) -> Value {
    json!({ "id": 7, "login": name, "password": PASSWORD, "otp": code })
}

#[tokio::test]
async fn an_authenticators_code_may_come_beside_the_password() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder().moving().config(&one_request("none")).login("at-once");
    let gateway = builder.route_to(&upstream, "").start().await;
    let phone = given(&gateway, "alice").await;
    let log_in = async |body: Value| gateway.client().post("/in").json(body).send().await;

    let missing = log_in(enter("alice", None)).await;
    assert_eq!(missing.assert_status(401).json(), json!({ "error": "code_required", "id": 7 }));
    let code = shown(&gateway, &phone, 0);
    let mut wrong = enter("alice", Some(&code));
    wrong["password"] = "wrong".into();
    log_in(wrong).await.assert_status(401).assert_code("invalid_credentials");
    log_in(enter("alice", Some("000000"))).await.assert_status(401).assert_code("code_invalid");
    let right = log_in(enter("alice@example.com", Some(&code))).await;
    assert_eq!(right.assert_status(200).member("name"), "alice");
    log_in(enter("alice", Some(&code))).await.assert_status(401).assert_code("code_invalid");
    gateway.advance(Duration::from_secs(30));
    let next = shown(&gateway, &phone, 0);
    log_in(enter("alice", Some(&next))).await.assert_status(200);
    // Whoever has no authenticator needs no code, and one that is sent is not looked at.
    log_in(enter("bob", Some("123456"))).await.assert_status(200);
    upstream.assert_untouched();
}

#[tokio::test]
async fn codes_beside_the_password_are_guessed_no_more_often_than_others() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder().moving().config(&one_request("none")).login("at-once");
    let gateway = builder.route_to(&upstream, "").start().await;
    let phone = given(&gateway, "alice").await;
    let right = shown(&gateway, &phone, 0);
    let wrong = if right == "000000" { "000001" } else { "000000" };

    let mut refused = Vec::new();
    for _ in 0..12 {
        let body = enter("alice", Some(wrong));
        refused.push(gateway.client().post("/in").json(body).send().await.status.as_u16());
    }

    let body = enter("alice", Some(&right));
    let reply = gateway.client().post("/in").json(body).send().await;
    assert_eq!(reply.status, 429, "{refused:?}");
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_mailed_code_comes_beside_the_password_at_the_second_try() {
    let (upstream, smtp) = (Upstream::start().await, Smtp::plain().await);
    let mail = format!(
        "[mail]\nserver = \"127.0.0.1:{}\"\ntls = \"none\"\nfrom = \"gateway@example.com\"",
        smtp.port
    );
    let builder = Gateway::builder().config(&mail).config(&one_request("mail")).login("at-once");
    let gateway = builder.route_to(&upstream, "").start().await;
    let log_in = async |body: Value| gateway.client().post("/in").json(body).send().await;

    let missing = log_in(enter("alice", None)).await;
    assert_eq!(missing.assert_status(401).member("error"), "code_required");
    let code = smtp.code(1);
    log_in(enter("bob", Some(&code))).await.assert_status(401).assert_code("code_invalid");
    log_in(enter("alice@example.com", Some(&code))).await.assert_status(200);
    log_in(enter("alice", Some(&code))).await.assert_status(401).assert_code("code_invalid");
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_name_counts_before_an_address() {
    let upstream = Upstream::start().await;
    // The name of the one is the address of the other.
    let users =
        crate::harness::gateway::users().replace("name = \"dora\"", "name = \"bob@example.com\"");
    let builder = Gateway::builder().users(&users).config(&one_request("none")).login("at-once");
    let gateway = builder.route_to(&upstream, "").start().await;
    let log_in = async |body: Value| gateway.client().post("/in").json(body).send().await;

    for (name, expected) in [("bob", "bob"), ("alice@example.com", "alice")] {
        let reply = log_in(enter(name, None)).await;
        assert_eq!(reply.assert_status(200).member("name"), expected, "{name}");
    }
    // It is the name of a disabled user, and not the address of another.
    for name in ["bob@example.com", "nobody@example.com"] {
        log_in(enter(name, None)).await.assert_status(401);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn guesses_at_the_secret_of_a_program_are_counted_apart_from_passwords() {
    let upstream = Upstream::start().await;
    let gateway = with_programs(&upstream).await;
    let shop = Some(("shop", "open sesame"));
    let refresh = post(&gateway, shop, &grant("")).await.member("refresh");

    // Sixty wrong passwords from this address, and the program still refreshes its tokens.
    for _ in 0..9 {
        let wrong = grant("").replace("correct", "wrong");
        post(&gateway, shop, &wrong).await;
    }
    for number in 0..55 {
        let wrong = grant("").replace("alice", &format!("nobody{number}"));
        post(&gateway, shop, &wrong).await;
    }
    post(&gateway, shop, &grant("")).await.assert_status(429);
    let body = format!("grant_type=refresh_token&refresh_token={refresh}");
    post(&gateway, shop, &body).await.assert_status(200);

    let mut statuses = Vec::new();
    for _ in 0..70 {
        let reply = post(&gateway, Some(("shop", "wrong")), &body).await;
        statuses.push(reply.status.as_u16());
    }
    assert_eq!((statuses[0], statuses[69]), (401, 429), "{statuses:?}");
    upstream.assert_untouched();
}

/// Codes with a ticket in a step of their own, and beside the password.
const BOTH_WAYS: &str = r#"
[[dialect]]
name = "both-ways"
[[dialect.endpoint]]
step = "login"
request = "POST /in"
credential = [{ json = { username = "login", password = "password", code = "otp" } }]
reply = { json = { token = "$access.token" } }
pending_reply = { status = 202, json = { ticket = "$pending.ticket" } }
[[dialect.endpoint]]
step = "verify_code"
request = "POST /code"
credential = [{ json_code = { username = "login", code = "otp", ticket = "ticket" } }]
reply = { json = { token = "$access.token" } }
"#;

#[tokio::test]
async fn a_login_with_its_code_beside_it_leaves_nothing_to_guess_at_without_a_ticket() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder().moving().config(BOTH_WAYS).login("both-ways");
    let gateway = builder.route_to(&upstream, "").start().await;
    let phone = given(&gateway, "alice").await;
    let code = shown(&gateway, &phone, 0);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let send = async |path: &str, body: Value| gateway.client().post(path).json(body).send().await;

    send("/in", enter("alice", Some(wrong))).await.assert_status(401);
    let guess = json!({ "login": "alice", "otp": code });
    send("/code", guess.clone()).await.assert_status(401).assert_code("code_invalid");
    // Strangers who know the name use up no guess of the owner.
    for _ in 0..20 {
        send("/code", json!({ "login": "alice", "otp": wrong })).await;
    }
    send("/in", enter("alice", Some(&code))).await.assert_status(200);
    upstream.assert_untouched();
}
