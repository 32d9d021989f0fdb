//! The level `debug` explains each decision, and gives no secret away.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::Upstream;
use crate::harness::gateway::PASSWORD;
use crate::harness::process::{Process, free_port, until};

/// Part of whatever must not be in a line.
const SECRET: &str = "s3cr3t";

fn start(upstream: &Upstream) -> Process {
    let gone = free_port();
    Process::logging(
        "debug",
        &format!(
            "[[upstream]]\nname = \"api\"\nservers = [\"{}\"]\n\
             [[upstream]]\nname = \"gone\"\nservers = [\"http://127.0.0.1:{gone}\"]\n\
             [[route]]\nname = \"main\"\npath = \"/\"\nupstream = \"api\"\nquery_credentials = true\n\
             [[route]]\nname = \"open\"\npath = \"/open\"\nupstream = \"api\"\nauth = []\n\
             accept = [\"open_above\"]\n\
             [[route]]\nname = \"chiefs\"\npath = \"/chiefs\"\nupstream = \"api\"\n\
             require = {{ roles = [\"chief\"] }}\n\
             [[route]]\nname = \"watched\"\npath = \"/watched\"\nupstream = \"api\"\nenforce = false\n\
             [[route]]\nname = \"passwords\"\npath = \"/passwords\"\nupstream = \"api\"\n\
             auth = [\"basic\"]\n\
             [[route]]\nname = \"lost\"\npath = \"/lost\"\nupstream = \"gone\"\n",
            upstream.url(),
        ),
    )
}

/// The explanations so far, in order.
fn explained(process: &Process) -> Vec<Value> {
    let told = process.stderr();
    let lines = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["message"] == "decided").collect()
}

/// Each request of the test by its route, kind of credential, verdict and reason.
#[track_caller]
fn assert_explained(lines: &[Value], upstream: &Upstream) {
    let (bearer, pair, basic) = (json!("bearer"), json!("token_key"), json!("basic"));
    let (none, at) = (Value::Null, json!(upstream.url()));
    for (number, (route, credential, verdict, reason, answered_by)) in [
        ("login:native", &none, "answered", None, &none),
        ("login:native", &none, "refused", Some("invalid_credentials"), &none),
        ("main", &bearer, "permitted", None, &at),
        ("main", &bearer, "refused", Some("token_invalid"), &none),
        ("main", &pair, "refused", Some("token_invalid"), &none),
        ("main", &pair, "refused", Some("token_invalid"), &none),
        ("main", &none, "refused", Some("credential_missing"), &none),
        ("main", &none, "refused", Some("ambiguous_credential"), &none),
        ("open", &none, "open", None, &at),
        ("chiefs", &bearer, "refused", Some("not_permitted"), &none),
        ("watched", &bearer, "observed", Some("token_invalid"), &at),
        ("passwords", &basic, "permitted", None, &at),
        ("passwords", &basic, "refused", Some("invalid_credentials"), &none),
        ("lost", &bearer, "permitted", Some("bad_gateway"), &lines[13]["upstream"]),
    ]
    .into_iter()
    .enumerate()
    {
        let line = &lines[number];
        assert_eq!(line["route"], route, "{line}");
        assert_eq!((&line["credential"], &line["upstream"]), (credential, answered_by), "{line}");
        assert_eq!(
            (&line["verdict"], &line["reason"]),
            (&json!(verdict), &json!(reason)),
            "{line}"
        );
        assert_eq!(line["cause"].is_string(), reason.is_some(), "a refusal has its cause: {line}");
        assert_eq!(line["level"], "DEBUG", "{line}");
    }
    let (login, user) = (&lines[0], &lines[2]["user"]);
    assert_eq!((&login["dialect"], &login["endpoint"]), (&json!("native"), &json!("/auth/login")));
    assert_eq!((&login["step"], &login["user"]), (&json!("Login"), user));
}

#[tokio::test]
async fn debug_explains_each_decision_and_gives_no_secret_away() {
    let upstream = Upstream::start().await;
    let process = start(&upstream);
    let client = process.client();
    let token = process.token("alice").await;
    let pair = |path| client.get(path).pair(&format!("{SECRET}-token"), &format!("{SECRET}-key"));
    let wrong = json!({ "username": "alice", "password": format!("{SECRET}-password") });
    let query = format!("/orders?access_token={SECRET}-token&x_key={SECRET}-key");
    let elsewhere = format!("/open?api_key={SECRET}");

    client.post("/auth/login").json(wrong).send().await.assert_status(401);
    client.get("/orders").bearer(&token).send().await.assert_status(200);
    client.get("/orders").bearer(&format!("{SECRET}-bearer")).send().await.assert_status(401);
    pair("/orders").send().await.assert_status(401);
    client.get(&query).send().await.assert_status(401);
    client.get("/orders").send().await.assert_status(401);
    pair("/orders").bearer(&token).send().await.assert_status(400);
    client
        .post(&elsewhere)
        .header("cookie", &format!("session={SECRET}"))
        .header("authorization", &format!("Digest {SECRET}"))
        .body(format!("{{\"password\":\"{SECRET}\"}}"))
        .send()
        .await
        .assert_status(200);
    client.get("/chiefs").bearer(&token).send().await.assert_status(403);
    client.get("/watched").bearer(&format!("{SECRET}.{SECRET}.x")).send().await.assert_status(200);
    client.get("/passwords").basic("alice", PASSWORD).send().await.assert_status(200);
    client.get("/passwords").basic("alice", SECRET).send().await.assert_status(401);
    client.get("/lost").bearer(&token).send().await.assert_status(502);

    let lines = until("explained", || Some(explained(&process)).filter(|all| all.len() >= 14));
    assert_explained(&lines, &upstream);
    let told = process.stderr();
    for secret in [SECRET, PASSWORD, &token, "access_token=", "api_key="] {
        let line = told.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in a line");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_explained_and_health_checks_are_not() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let process = Process::logging(
        "tollhouse::pipeline=debug,info",
        &format!(
            "[[upstream]]\nname = \"api\"\nservers = [\"{}\"]\n\
             [[route]]\nname = \"main\"\npath = \"/\"\nupstream = \"api\"\nauth = []\n",
            format_args!("http://{}", silent.local_addr().unwrap()),
        ),
    );
    let client = process.client();
    client.get("/healthz").send().await.assert_status(200);

    let mut stream = client.connect().await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let (mut asked, _) = silent.accept().await.unwrap();
    asked.read_u8().await.unwrap();
    drop(stream);

    let lines = until("explained", || Some(explained(&process)).filter(|all| !all.is_empty()));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["path"], &lines[0]["verdict"], &lines[0]["outcome"]),
        (&json!("/slow"), &json!("none"), &json!("aborted"))
    );
}

#[tokio::test]
async fn without_debug_nothing_is_explained() {
    let upstream = Upstream::start().await;
    let process = Process::logging("info", "");

    process.client().get("/orders").send().await.assert_status(404);
    process.token("alice").await;

    until("logged", || (process.stdout().lines().count() >= 2).then_some(()));
    assert_eq!(explained(&process), Vec::<Value>::new());
    upstream.assert_untouched();
}
