//! The built-in dialects as a client: a gateway that asks another one which serves the dialect.

use std::time::Duration;

use tollhouse::dialect::Dialect;
use tollhouse::dialect::client::DelegationError;

use super::{http, log_in};
use crate::harness::gateway::{PASSWORD, STAFF};
use crate::harness::process::run_in;
use crate::harness::{Gateway, GatewayBuilder, Upstream};

/// How long after the login the access token of this dialect has ended.
const HOUR: Duration = Duration::from_secs(3_600);

/// The built-in dialects in which a gateway can log in elsewhere.
fn spoken() -> Vec<&'static str> {
    let mut spoken = Vec::new();
    for name in Dialect::builtin_names() {
        match Dialect::builtin(name).unwrap().delegates() {
            Ok(()) => spoken.push(name),
            Err(error) => {
                // A code is mailed to the user, who alone can say it.
                assert_eq!((name, error), ("avenia", DelegationError::SecondStep));
            }
        }
    }
    spoken
}

/// A system that speaks the dialect and protects an API by it.
fn legacy(dialect: &str, api: &Upstream) -> GatewayBuilder {
    let keys = format!("auth = [\"login\"]\nerrors = \"{dialect}\"");
    Gateway::builder().login(dialect).route(api, "/api-of-its-own/", &keys).moving()
}

/// The name under which alice logs in there.
fn name_in(dialect: &str) -> &'static str {
    if dialect == "aviate" { "alice@example.com" } else { "alice" }
}

#[tokio::test]
async fn every_dialect_that_is_served_is_spoken() {
    let api = Upstream::start().await;
    for dialect in spoken() {
        let legacy = legacy(dialect, &api).start().await;
        let url = format!("http://{}", legacy.address());
        let front = Gateway::builder()
            .with_users(&http(&url, dialect, ""))
            .login("native")
            .route_to(&api, "")
            .start()
            .await;
        let name = name_in(dialect);

        log_in(&front, name, PASSWORD).await.assert_status(200);
        for (name, password) in [(name, "wrong"), ("nobody@example.com", PASSWORD)] {
            let refused = log_in(&front, name, password).await;
            assert_eq!(refused.status.as_u16(), 401, "{dialect}: {}", refused.text());
        }
        let folder = tempfile::tempdir().unwrap();
        let (at, command) = (folder.path().to_owned(), url.clone());
        let tried = tokio::task::spawn_blocking(move || {
            let words = ["dialect", "try", dialect, &command, "--user", name];
            run_in(&at, &words, &format!("{PASSWORD}\n"))
        });
        let shown = tried.await.unwrap().ok();
        assert!(shown.contains("access token   ***"), "{dialect}: {shown}");
        assert!(!shown.contains(PASSWORD), "{dialect}: {shown}");
    }
    api.assert_untouched();
}

#[tokio::test]
async fn the_gateway_shows_its_own_id_beside_the_users_password() {
    let legacy = Upstream::answering(|request| {
        let form: Vec<(String, String)> =
            form_urlencoded::parse(&request.body).into_owned().collect();
        let has = |name: &str, value: &str| form.contains(&(name.to_owned(), value.to_owned()));
        let is_right = has("username", "ann")
            && has("password", "pw")
            && has("client_id", "gw")
            && has("client_secret", "s3cret");
        let (status, body) = match is_right {
            true => (200, r#"{"access_token":"t1"}"#),
            false => (400, r#"{"error":"invalid_client"}"#),
        };
        http::Response::builder().status(status).body(body.into()).unwrap()
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s3cret").unwrap();
    let own = "[[dialect]]\nname = \"own\"\n[[dialect.endpoint]]\nstep = \"login\"\nrequest = \"POST /token\"\n\
         credential = [{ form = { username = \"username\", password = \"password\" } }]\n\
         client = { form = { id = \"client_id\", secret = \"client_secret\" } }\n\
         reply = { json = { access_token = \"$access.token\" } }\n";
    let client = format!("client = {{ id = \"gw\", secret = {{ file = {secret:?} }} }}");
    let front = Gateway::builder()
        .with_users(&http(&legacy.url(), "own", &client))
        .config(own)
        .login("native")
        .start()
        .await;

    log_in(&front, "ann", "pw").await.assert_status(200);

    // Its own secret was wrong, if it was: that is nobody's wrong password.
    log_in(&front, "ann", "other").await.assert_status(503);
    let logs = front.running().access_lines() + &front.running().audit_lines();
    assert!(!logs.contains("s3cret"), "{logs}");
}

#[tokio::test]
async fn the_gateways_own_login_calls_as_each_dialect_does() {
    let api = Upstream::start().await;
    for dialect in spoken() {
        let legacy = legacy(dialect, &api).start().await;
        let url = format!("http://{}", legacy.address());
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("password");
        std::fs::write(&secret, PASSWORD).unwrap();
        let login = format!(
            "credential = {{ login = {{ dialect = \"{dialect}\", url = \"{url}\", username = \"{}\", password = {{ file = {secret:?} }} }} }}",
            name_in(dialect)
        );
        let front = Gateway::builder().with_users(STAFF).moving().config(&format!(
            "[[upstream]]\nname = \"legacy\"\nservers = [\"{url}\"]\n{login}\n\
             [[route]]\npath = \"/api-of-its-own/\"\nupstream = \"legacy\"\nauth = []"
        ));
        let front = front.start().await;
        let call = async || front.client().get("/api-of-its-own/x?a=b").send().await;
        let logins = || {
            let log = legacy.audit_log();
            log.iter().filter(|line| line["event"] == "logged_in").count()
        };

        call().await.assert_status(200);
        call().await.assert_status(200);

        let seen = api.last();
        assert_eq!(seen.header("x-auth-username"), Some("alice"), "{dialect}");
        assert_eq!((seen.target.as_str(), logins()), ("/api-of-its-own/x?a=b", 1), "{dialect}");
        // The token ends: it is refreshed where the dialect can, else there is another login.
        let defaults = &Dialect::builtin(dialect).unwrap().defaults;
        let span = defaults.access_ttl.unwrap_or(HOUR);
        for gateway in [&legacy, &front] {
            gateway.advance(span + Duration::from_secs(60));
        }
        call().await.assert_status(200);
        let can_refresh = ["datarhei", "native", "oauth2_password", "simplejwt"].contains(&dialect);
        // Its answer to a session that has ended is one of success, which nobody understands by its
        // head: the client is told.
        let is_silent = dialect == "zabbix";
        assert_eq!(logins(), if can_refresh || is_silent { 1 } else { 2 }, "{dialect}");
    }
}
