//! `tollhouse check --online` with real parties: those that are well, closed ports, servers that
//! never answer, certificates of nobody we know, passwords that are not right.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::process::{CommandOutput, free_port, run_in};
use crate::harness::{OpenIdProvider, Postgres, Slapd, Smtp, Upstream, postgres};

const HEAD: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n[token]\n\
    issuer = \"https://gateway.example\"\naudience = [\"legacy\"]\n[[login]]\ndialect = \"native\"\n";

/// A folder with a `gateway.toml` of these sections.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn secret(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        format!("{{ file = {name:?} }}")
    }

    fn write(&self, sections: &[String]) {
        let text = format!("{HEAD}{}", sections.concat());
        std::fs::write(self.0.path().join("gateway.toml"), text).unwrap();
    }

    /// Runs the command while the parties in this process go on.
    async fn check(&self, words: &[&str]) -> CommandOutput {
        let folder: PathBuf = self.0.path().to_owned();
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let run = move || {
            let words: Vec<&str> =
                ["check", "--online"].into_iter().chain(words.iter().map(String::as_str)).collect();
            run_in(&folder, &words, "")
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    async fn verdicts(&self, status: i32, words: &[&str]) -> Vec<Value> {
        let words: Vec<&str> = words.iter().copied().chain(["--format", "json"]).collect();
        let told = self.check(&words).await;
        assert_eq!((told.status, told.stderr.as_str()), (Some(status), ""), "{told:?}");
        for secret in ["s3cret", "the gateway's own", "hunter2"] {
            assert!(!told.stdout.contains(secret), "{}", told.stdout);
        }
        let said: Value = serde_json::from_str(&told.stdout).unwrap();
        assert_eq!(said["ok"], status == 0, "{said}");
        assert!(said["issues"].is_array(), "{said}");
        said["verdicts"].as_array().unwrap().clone()
    }

    fn line_of(&self, part: &str) -> usize {
        let text = std::fs::read_to_string(self.0.path().join("gateway.toml")).unwrap();
        text.lines().position(|line| line.contains(part)).unwrap() + 1
    }
}

fn sql(url: &str) -> String {
    format!(
        "[[users]]\nname = \"shop\"\nkind = \"sql\"\nurl = {url}\n\
         query = \"select name, password from users where name = $1\"\n"
    )
}

fn upstream(name: &str, server: &str, more: &str) -> String {
    format!("[[upstream]]\nname = {name:?}\nservers = [{server:?}]\n{more}\n")
}

fn mail(port: u16, ca: &Path) -> String {
    format!("[mail]\nserver = \"localhost:{port}\"\nca = {ca:?}\nfrom = \"gateway@example.com\"\n")
}

#[track_caller]
fn of<'v>(verdicts: &'v [Value], key: &str, what: &str) -> &'v Value {
    let is_it = |one: &&Value| one["key"] == key && one["what"] == what;
    verdicts.iter().find(is_it).unwrap_or_else(|| panic!("{what} at {key}: {verdicts:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_well_is_ok_and_sees_nothing_but_a_connection() {
    let (shop, slapd, smtp) = (Postgres::shared().await, Slapd::start(), Smtp::starttls().await);
    let (provider, app) = (OpenIdProvider::es256().await, Upstream::start().await);
    let database = shop.database("create table users (name text, password text)").await;
    let place = Place::new();
    let url = place.secret("database", &shop.url(&database));
    let https = provider.issuer();
    let legacy = "[[users]]\nname = \"legacy\"\nkind = \"http\"\ndialect = \"native\"\n\
                  names = \"case_blind\"\n";
    place.write(&[
        sql(&url),
        slapd.section(""),
        format!("{legacy}url = \"{}\"\n", app.url()),
        provider.section("idp", ""),
        mail(smtp.port, &smtp.certificate.as_ref().unwrap().chain),
        upstream("app", &app.url(), ""),
        upstream("tls", &https, &format!("tls = {{ ca = {:?} }}", provider.ca())),
        upstream("echo", "builtin:echo", ""),
    ]);

    let verdicts = place.verdicts(0, &[]).await;

    for (key, what, said) in [
        ("users[1].url", "dns", "127.0.0.1"),
        ("users[0].url", "database", "connected, and the query is understood"),
        ("users[1].url", "directory", "connected and bound"),
        ("users[2].url", "legacy login", "connected"),
        ("issuer[0].issuer", "issuer", "1 key that can be used"),
        ("mail.server", "mail", "greeted"),
        ("upstream[0].servers[0]", "upstream", "connected"),
        ("upstream[1].servers[0]", "upstream", "connected, with TLS"),
    ] {
        let verdict = of(&verdicts, key, what);
        assert_eq!(verdict["verdict"], "ok", "{verdict}");
        assert!(verdict["message"].as_str().unwrap().contains(said), "{verdict}");
        assert!(verdict["took_ms"].is_u64() && verdict["line"].is_u64(), "{verdict}");
        assert!(verdict["remedy"].is_null(), "{verdict}");
    }
    assert_eq!(verdicts.len(), 8, "one for each, and for `localhost` one: {verdicts:#?}");
    app.assert_untouched();
    assert!(smtp.mails().is_empty());
    assert!(!place.0.path().join("state").exists(), "and nothing is made");
    let told = place.check(&[]).await;
    let last = told.ok();
    assert!(last.ends_with("gateway.toml: ok, and 8 of 8 answered\n"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_there_is_a_failure_within_the_time_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let (slapd, provider) = (Slapd::start(), OpenIdProvider::es256().await);
    let shop = Postgres::shared().await;
    let database = shop.database("create table users (name text, password text)").await;
    let place = Place::new();
    let other = place.secret("database", &shop.url(&database).replace("s3cret", "hunter2"));
    let mute = place.secret("mute", &postgres::url(silent_port, "shop"));
    let (closed, closed_mail) = (free_port(), free_port());
    let wrong = place.secret("bind", "hunter2");
    let directory = slapd.section("");
    let bind = directory.lines().find(|line| line.starts_with("bind_password")).unwrap();
    place.write(&[
        sql(&other),
        sql(&mute).replace("shop", "mute"),
        directory.replace(bind, &format!("bind_password = {wrong}")),
        mail(closed_mail, provider.ca()),
        upstream("closed", &format!("http://127.0.0.1:{closed}"), ""),
        upstream("silent", &format!("https://127.0.0.1:{silent_port}"), ""),
        upstream("stranger", &provider.issuer(), ""),
        upstream("nowhere", "http://app.invalid", ""),
    ]);

    let began = Instant::now();
    let verdicts = place.verdicts(69, &["--timeout", "1500ms"]).await;
    let took = began.elapsed();

    for (key, what, said, remedy) in [
        ("users[0].url", "database", "password authentication failed", "let this machine"),
        ("users[1].url", "database", "no answer within 1.5s", "start it"),
        ("users[2].url", "directory", "bind_dn was refused", "bind_password"),
        ("mail.server", "mail", "refused", "start it"),
        ("upstream[0].servers[0]", "upstream", "refused", "correct its address"),
        ("upstream[1].servers[0]", "upstream", "no answer within 1.5s", "start it"),
        ("upstream[2].servers[0]", "upstream", "certificate", "`ca`"),
        ("upstream[3].servers[0]", "dns", "", "resolver"),
        ("upstream[3].servers[0]", "upstream", "", ""),
    ] {
        let verdict = of(&verdicts, key, what);
        assert_eq!(verdict["verdict"], "failed", "{verdict}");
        assert!(verdict["message"].as_str().unwrap().contains(said), "{said}: {verdict}");
        assert!(verdict["remedy"].as_str().unwrap().contains(remedy), "{remedy}: {verdict}");
    }
    let dns = of(&verdicts, "users[2].url", "dns");
    assert_eq!(dns["verdict"], "ok", "{dns}");
    // Four of its time limits, and the start of a program on a busy machine.
    assert!(took < Duration::from_secs(6 + 20), "{took:?}");
    let closed_line = place.line_of(&format!("127.0.0.1:{closed}"));
    assert_eq!(of(&verdicts, "upstream[0].servers[0]", "upstream")["line"], closed_line);

    let told = place.check(&["--timeout", "1500ms"]).await;
    assert_eq!(told.status, Some(69), "{told:?}");
    let failed = told.stdout.lines().filter(|line| line.starts_with("failed ")).count();
    let (_, last) = told.stdout.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(last, format!("gateway.toml: ok, but {failed} of 10 failed"));
    assert!(failed == 9 && !told.stdout.contains("hunter2"), "{}", told.stdout);

    let told = place.check(&["--timeout", "1500ms", "--format", "gnu"]).await;
    assert_eq!(told.status, Some(69), "{told:?}");
    let place = format!("gateway.toml:{closed_line}:12: error: upstream[0].servers[0] upstream ");
    assert!(told.stdout.lines().any(|line| line.starts_with(&place)), "{}", told.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_for_a_file_that_is_not_fine() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let place = Place::new();
    let url = format!("http://{}", server.local_addr().unwrap());
    place.write(&[upstream("app", &url, ""), "[log]\naccess = \"none/log\"\n".to_owned()]);

    let told = place.check(&[]).await;

    assert_eq!(told.status, Some(78), "{told:?}");
    assert_eq!(told.stdout, "");
    assert!(server.accept().is_err(), "nobody connected");
    let told = place.check(&["--timeout", "1 hour"]).await;
    assert_eq!(told.status, Some(2), "{told:?}");
}
