//! `dialect try` and `user imported`, as an operator types them.

use std::path::Path;

use serde_json::json;

use super::http;
use super::legacy::Webitel;
use crate::harness::Gateway;
use crate::harness::gateway::PASSWORD;
use crate::harness::process::{CommandOutput, Process, free_port, run_in, until};
use crate::harness::{Smtp, Upstream};

/// The program waits for systems that run in this process's runtime.
async fn run(words: &[&str], input: &str) -> CommandOutput {
    let dir = tempfile::tempdir().unwrap();
    run_at(dir.path(), words, input).await
}

async fn run_at(dir: &Path, words: &[&str], input: &str) -> CommandOutput {
    let dir = dir.to_owned();
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let input = input.to_owned();
    let run = move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run_in(&dir, &words, &input)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn a_login_is_tried_by_hand_and_told_without_a_secret() {
    let legacy = ["webitel", "datarhei", "aviate", "nomic", "native"]
        .iter()
        .fold(Gateway::builder(), |gateway, dialect| gateway.login(dialect))
        .start()
        .await;
    let url = format!("http://{}", legacy.address());
    for (dialect, user, parts) in [
        (
            "webitel",
            "alice",
            &["POST", "/login", "\"username\":\"alice\"", "key", "roles          admin"][..],
        ),
        ("datarhei", "alice", &["refresh token", "\"usefor\": \"access\"", "name           alice"]),
        (
            "aviate",
            "alice@example.com",
            &["Basic of alice@example.com:***", "email          alice@example.com"],
        ),
        ("nomic", "alice", &["200 after", "\"sub\": \"0192f0c1-0000-7000-8000-00000000000a\""]),
        ("native", "alice", &["accepted, as dialect `native` has it", "expires"]),
    ] {
        let words = ["dialect", "try", dialect, &url, "--user", user];

        let right = run(&words, &format!("{PASSWORD}\n")).await.ok();
        let wrong = run(&words, "hunter2-wrong\n").await;

        for part in parts {
            assert!(right.contains(part), "{dialect}: {part} is not in {right}");
        }
        assert!(!right.contains(PASSWORD) && !right.contains("eyJ"), "{right}");
        assert_eq!(wrong.status, Some(1), "{dialect}: {wrong:?}");
        assert!(wrong.stderr.contains("refused: invalid credentials"), "{dialect}: {wrong:?}");
        let told = wrong.stdout + &wrong.stderr;
        assert!(!told.contains("hunter2"), "{told}");
    }
    let unknown = run(&["dialect", "try", "webitel", &url, "--user", "nobody"], "secret\n").await;
    assert!(unknown.stderr.contains("the user is unknown there"), "{unknown:?}");
}

#[tokio::test]
async fn what_is_not_understood_is_told_and_fails() {
    let page = Upstream::answering(|request| {
        let echo = [b"<html>".as_slice(), &request.body].concat();
        http::Response::builder().status(502).body(echo.into()).unwrap()
    })
    .await;
    let other = Upstream::answering(|_| {
        http::Response::new(r#"{"session":"s3cr3t-value","ok":true}"#.into())
    })
    .await;
    let words = |url: &str| ["dialect", "try", "webitel", url, "--user", "a"].map(str::to_owned);
    for (url, part) in [
        (page.url(), "not understood: status 502"),
        (other.url(), "not understood: status 200, but not the answer of dialect `webitel`"),
        (format!("http://127.0.0.1:{}", free_port()), "could not be called"),
        ("http://192.0.2.1".to_owned(), "in the clear"),
        ("legacy".to_owned(), "must be http:// or https://"),
    ] {
        let words = words(&url);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();

        let told = run(&words, "hunter2\n").await;

        assert_eq!(told.status, Some(1), "{told:?}");
        assert!(told.stderr.contains(part), "{part} is not in {told:?}");
        let all = told.stdout + &told.stderr;
        assert!(!all.contains("hunter2") && !all.contains("s3cr3t"), "{all}");
    }
    let missing = run(&["dialect", "try", "webitel", &page.url()], "hunter2\n").await;
    assert!(missing.stderr.contains("--user"), "{missing:?}");
}

#[tokio::test]
async fn a_second_step_is_taken_where_there_is_a_code() {
    let smtp = Smtp::plain().await;
    let mail = format!(
        "[mail]\nserver = \"127.0.0.1:{}\"\ntls = \"none\"\nfrom = \"gateway@example.com\"",
        smtp.port
    );
    let legacy = Gateway::builder().config(&mail).login("avenia").start().await;
    let url = format!("http://{}", legacy.address());
    let words = ["dialect", "try", "avenia", &url, "--user", "alice@example.com"];

    let pending = run(&words, &format!("{PASSWORD}\n")).await.ok();
    let wrong = run(&words, &format!("{PASSWORD}\n000000\n")).await;

    assert!(pending.contains("a second step is asked for"), "{pending}");
    assert!(wrong.stdout.contains("/v2/auth/validate-login"), "{wrong:?}");
    assert!(wrong.stderr.contains("refused: the code is wrong"), "{wrong:?}");
    assert!(!wrong.stdout.contains("000000"), "{wrong:?}");
}

#[tokio::test]
async fn a_dialect_of_ones_own_is_tried_too() {
    let dir = tempfile::tempdir().unwrap();
    let own = "[[dialect]]\nname = \"acme\"\n[[dialect.endpoint]]\nstep = \"login\"\n\
               request = \"PUT /in\"\ncredential = [{ json = { username = \"u\", password = \"p\" } }]\n\
               reply = { json = { t = \"$access.token\", who = \"$user.name\" } }\n";
    std::fs::write(dir.path().join("gateway.toml"), own).unwrap();
    let legacy =
        Upstream::answering(|_| http::Response::new(r#"{"t":"t1","who":"ann"}"#.into())).await;

    let words = ["dialect", "try", "acme", &legacy.url(), "--user", "ann"];
    let told = run_at(dir.path(), &words, "hunter2\n").await.ok();

    assert!(told.contains("PUT ") && told.contains("name           ann"), "{told}");
    assert_eq!(legacy.only().body, r#"{"u":"ann","p":"hunter2"}"#);
}

#[tokio::test]
async fn how_many_are_over_is_told_by_the_running_gateway_and_no_log_has_a_password() {
    let legacy = Webitel::start().await;
    legacy.add("ann", PASSWORD, json!({}));
    legacy.add("bob", PASSWORD, json!({}));
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let users = http(&legacy.url(), "webitel", "import = true");
    let config = format!(
        "[process]\ndrain_delay = \"0s\"\n[log]\nformat = \"json\"\n\
         [[listener]]\naddress = \"127.0.0.1:{port}\"\n[token]\nissuer = \"https://gateway.example\"\n\
         {users}[[login]]\ndialect = \"native\"\n[[upstream]]\nname = \"u\"\nservers = [\"builtin:echo\"]\n\
         [[route]]\npath = \"/\"\nupstream = \"u\"\n"
    );
    std::fs::write(dir.path().join("gateway.toml"), config).unwrap();
    let process = tokio::task::spawn_blocking(move || Process::start(dir, port)).await.unwrap();
    let imported = || {
        let path = process.dir.path().to_owned();
        async move { run_at(&path, &["user", "imported"], "").await }
    };
    let log_in = |name: &'static str, password: &'static str| {
        let login = json!({ "username": name, "password": password });
        let client = process.client();
        async move { client.post("/auth/login").json(login).send().await }
    };
    let socket = process.path("state/admin.sock");
    until("the admin socket", || socket.exists().then_some(()));
    let before = imported().await.ok();
    assert!(
        before.starts_with("legacy  0 imported  unknown left  0 seen  since -  latest -"),
        "{before}"
    );

    log_in("ann", PASSWORD).await.assert_status(200);
    log_in("bob", "hunter2-wrong").await.assert_status(401);
    legacy.down(true);
    log_in("bob", PASSWORD).await.assert_status(503);

    let after = imported().await.ok();
    assert!(after.starts_with("legacy  1 imported  unknown left  1 seen  since 2"), "{after}");
    let words = ["user", "--source", "staff", "imported"];
    let other = run_at(process.dir.path(), &words, "").await;
    other.failed(1, &["import = true"]);
    let json = run_at(process.dir.path(), &["user", "imported", "--json"], "").await.ok();
    assert!(json.contains(r#""imported":1"#) && json.contains(r#""left":null"#), "{json}");
    let logs = process.stdout() + &process.stderr();
    assert!(logs.contains("logins are answered 503: it answered with status 500"), "{logs}");
    assert!(!logs.contains(PASSWORD) && !logs.contains("hunter2"), "{logs}");
}
