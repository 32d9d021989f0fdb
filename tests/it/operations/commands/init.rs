//! `init`: a configuration from answers that are flags or are typed on a terminal.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};

use crate::harness::Upstream;
use crate::harness::certs::Certificate;
use crate::harness::process::{Process, bash, copy_program, free_port, root, run_in, until};
use crate::harness::terminal::{at_terminal, spawn_at_terminal};

/// Logs the first user in, calls with the token and without, and prints the last status.
const LOGIN: &str = r#"
login() { curl -sk $GATEWAY/auth/login -H 'Content-Type: application/json' -d "$1"; }
TOKEN=$(login '{"username":"admin","password":"'"$PASSWORD"'"}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
curl -sk $GATEWAY/orders -H "Authorization: Bearer $TOKEN"
curl -sk -o /dev/null -w ' %{http_code}' $GATEWAY/refused
"#;

/// The first user's call reaches the upstream, and a call without a credential does not.
fn assert_login(port: u16, password: &str, upstream: &Upstream) {
    let gateway = format!("https://127.0.0.1:{port}");
    let told = bash(LOGIN, &[("GATEWAY", &gateway), ("PASSWORD", password)]);
    assert_eq!(told, "{\"upstream\":true} 401");
    let received = upstream.only();
    assert_eq!(
        (received.target.as_str(), received.header("x-auth-username")),
        ("/orders", Some("admin"))
    );
}

fn words<'a>(line: &'a str, upstream: &'a str, listen: &'a str) -> Vec<&'a str> {
    let words = line.split(' ').map(|word| match word {
        "UPSTREAM" => upstream,
        "LISTEN" => listen,
        word => word,
    });
    words.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_flags_passes_check_and_serves_a_login() {
    let (upstream, dir, port) =
        (Upstream::start().await, tempfile::tempdir().unwrap(), free_port());
    let (url, listen) = (upstream.url(), format!("127.0.0.1:{port}"));
    let flags =
        "init --upstream UPSTREAM --dialect native --users file --name localhost --listen LISTEN";
    let flags = words(flags, &url, &listen);

    let printed = run_in(dir.path(), &[flags.as_slice(), &["--print"]].concat(), "").ok();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "--print writes nothing");
    assert_eq!(run_in(dir.path(), &flags, "").ok(), "gateway.toml\n");

    assert_eq!(fs::read_to_string(dir.path().join("gateway.toml")).unwrap(), printed);
    let checked = run_in(dir.path(), &["check"], "");
    assert_eq!((checked.stderr.as_str(), checked.status), ("", Some(0)), "no warning either");
    let process = Process::start(dir, port);
    assert_login(port, &process.first_password(), &upstream);
}

/// A line on a terminal that goes on to serve, as the process of a file `pid`.
struct Session {
    person: Child,
    dir: tempfile::TempDir,
}

impl Drop for Session {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.dir.path().join("pid")).unwrap_or_default();
        // A gateway that is hung up goes on, so it is ended itself, at once.
        let _ = Command::new("kill").args(["-QUIT", pid.trim()]).status();
        let _ = self.person.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_on_a_terminal_lead_to_a_gateway_that_serves() {
    let (upstream, dir, port) =
        (Upstream::start().await, tempfile::tempdir().unwrap(), free_port());
    let (url, listen) = (upstream.url(), format!("127.0.0.1:{port}"));
    let answers =
        ["ftp://nowhere", &url, "webitl", "", "files", "", "", "self-signed", "127.0.0.1", &listen];

    let line = "tollhouse init && echo $$ > pid && exec tollhouse";
    let person = spawn_at_terminal(dir.path(), line, &answers);
    let mut session = Session { person, dir };
    until("serving", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());

    let mut shown = String::new();
    let mut output = session.person.stdout.take().unwrap();
    let mut buffer = [0; 4096];
    while !shown.contains("PASSWORD='") || !shown.contains("/hello") {
        let length = output.read(&mut buffer).unwrap();
        assert_ne!(length, 0, "{shown}");
        shown.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    for part in [
        "`ftp://nowhere` must be",
        "`webitl` names no dialect: there is no `webitl`, but",
        "`files` must be one of file, htpasswd, sql, ldap, legacy",
        "`127.0.0.1` ",
        "Next: tollhouse check",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    // On a terminal the first start shows the password.
    let password = shown.split_once("PASSWORD='").unwrap().1.split('\'').next().unwrap();
    assert_login(port, password, &upstream);
}

#[test]
fn answers_that_end_early_write_nothing() {
    let dir = tempfile::tempdir().unwrap();

    let (status, shown) = at_terminal(dir.path(), "tollhouse init", &["builtin:echo", "^D"]);

    assert_eq!(status, Some(1), "{shown}");
    assert!(shown.contains("nothing was written"), "{shown}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// It was repeated in the message, and so in the log of whatever runs the command.
#[test]
fn a_password_in_the_wrong_place_was_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let base = "init --upstream builtin:echo --dialect native --users sql --name localhost";
    let url = ["--sql-url", "postgres://gw:S3cret@db/x", "--sql-query", "select $1"];

    let refused = run_in(dir.path(), &[base.split(' ').collect(), url.to_vec()].concat(), "");

    assert!(!refused.stderr.contains("S3cret"), "{}", refused.stderr);
    refused.failed(2, &["--sql-url: the answer has a password in it"]);
}

#[test]
fn a_password_that_would_travel_in_the_clear_is_asked_about() {
    let url = "http://10.0.0.5:8080";
    let flags = format!(
        "tollhouse init --upstream {url} --dialect webitel --users legacy --legacy-url {url} \
         --legacy-dialect webitel --name localhost --listen 127.0.0.1:8443"
    );
    for (answer, expected) in [("n", Some(2)), ("y", Some(0))] {
        let dir = tempfile::tempdir().unwrap();
        // TLS is asked for as well.
        let (status, shown) = at_terminal(dir.path(), &flags, &[answer, ""]);
        assert_eq!(status, expected, "{shown}");
        assert!(shown.contains("in the clear"), "{shown}");
        assert_eq!(dir.path().join("gateway.toml").exists(), answer == "y");
    }
    let dir = tempfile::tempdir().unwrap();
    let words: Vec<&str> = flags.split(' ').skip(1).collect();
    run_in(dir.path(), &words, "").failed(2, &["--allow-http"]);
    run_in(dir.path(), &[words.as_slice(), &["--allow-http"]].concat(), "").ok();
    let checked = run_in(dir.path(), &["check"], "");
    assert_eq!(checked.status, Some(0));
    assert!(checked.stderr.contains("plain_legacy"), "the risk is still told: {}", checked.stderr);
}

#[test]
fn flags_that_are_missing_are_named_together_where_nobody_can_be_asked() {
    let dir = tempfile::tempdir().unwrap();
    let local = "--upstream builtin:echo --dialect native --name localhost --users";

    for (line, missing, present) in [
        ("init", "--upstream URL, --dialect NAME, --users KIND, --name HOST", "--tls"),
        ("init --users sql", "--sql-url URL, --sql-query QUERY, --name HOST", "--users"),
        (
            &format!("init {local} ldap"),
            "missing: --ldap-url URL, --ldap-base DN (",
            "--ldap-filter",
        ),
        (&format!("init {local} file --certificate c.pem"), "--certificate: `c.pem`", "missing"),
        (
            "init --upstream builtin:echo --dialect avenia",
            "--mail-server SERVER, --mail-from",
            "--upstream",
        ),
        (
            "init --users file --name api.acme.com",
            "--upstream URL, --dialect NAME, --tls KIND",
            "--name",
        ),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let told = run_in(dir.path(), &words, "").failed(2, &[missing]);
        assert!(!told.contains(present), "{present} is in {told}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_wrong_flag_is_told_with_the_words_of_check() {
    let dir = tempfile::tempdir().unwrap();
    let base = "init --upstream builtin:echo --dialect native --users file --name localhost";

    for (wrong, parts) in [
        (["--upstream", "ftp://x"], ["--upstream: `ftp://x`", "http://"]),
        (["--dialect", "webitl"], ["--dialect: `webitl`", "webitel"]),
        (["--name", "a b\"]"], ["--name", "host name"]),
        (["--listen", "8443"], ["--listen: `8443`", "8443"]),
        (["--listen", "0.0.0.0:8443\"\n[admin]"], ["--listen: `0.0.0.0:8443\\\"\\n[admin]`", ""]),
    ] {
        let kept = base.split(' ').collect::<Vec<_>>();
        let at = kept.iter().position(|word| *word == wrong[0]);
        let mut words = kept;
        if let Some(at) = at {
            words.drain(at..at + 2);
        }
        run_in(dir.path(), &[words.as_slice(), &wrong].concat(), "").failed(2, &parts);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_exists_was_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let flags =
        "init --upstream builtin:echo --dialect native --users file --name localhost --compose";
    let flags: Vec<&str> = flags.split(' ').collect();

    for (existing, other) in [("gateway.toml", "compose.yaml"), ("compose.yaml", "gateway.toml")] {
        let path = dir.path().join(existing);
        fs::write(&path, "mine\n").unwrap();
        run_in(dir.path(), &flags, "").failed(1, &[existing, "was not written"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine\n");
        assert!(!dir.path().join(other).exists(), "all are written or none");
        fs::remove_file(path).unwrap();
    }
    fs::write(dir.path().join("gateway.toml"), "mine\n").unwrap();
    run_in(dir.path(), &["init", "--sample"], "").failed(1, &["gateway.toml was not written"]);
    // A link to nowhere is something, too.
    fs::remove_file(dir.path().join("gateway.toml")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("gateway.toml")).unwrap();
    run_in(dir.path(), &["init", "--sample"], "").failed(1, &["gateway.toml was not written"]);
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn files_that_are_named_from_the_working_folder_are_found_from_the_files_own() {
    let dir = tempfile::tempdir().unwrap();
    Certificate::make(dir.path(), "api", &["api.acme.com"]);
    let hash = "$2y$06$SdAkW8NZoNrP5c7U8YjOROFV2CUQjthtY4xJvwsK5awigb3DPDFw2";
    fs::write(dir.path().join("users"), format!("ann:{hash}\n")).unwrap();
    for name in ["api.key", "users"] {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::create_dir(dir.path().join("etc")).unwrap();
    let flags = "-c etc/gateway.toml init --upstream unix:/run/app.sock --dialect datarhei --users htpasswd \
                 --htpasswd users --name api.acme.com --certificate api.pem --key api.key";

    let written = run_in(dir.path(), &flags.split_whitespace().collect::<Vec<_>>(), "").ok();

    assert_eq!(written, "etc/gateway.toml\n");
    assert_eq!(run_in(dir.path(), &["-c", "etc/gateway.toml", "check"], "").stderr, "");
    let text = fs::read_to_string(dir.path().join("etc/gateway.toml")).unwrap();
    assert!(text.contains("address = \"0.0.0.0:443\""), "{text}");
    assert!(text.contains("issuer = \"https://api.acme.com\""), "{text}");
}

#[test]
fn the_drop_in_is_one_that_systemd_takes() {
    let tree = tempfile::tempdir().unwrap();
    let (units, programs) = (tree.path().join("etc/systemd/system"), tree.path().join("usr/bin"));
    fs::create_dir_all(&units).unwrap();
    fs::create_dir_all(&programs).unwrap();
    copy_program(&programs.join("tollhouse"));
    fs::copy(root().join("deploy/systemd/tollhouse.service"), units.join("tollhouse.service"))
        .unwrap();
    let flags =
        "init --upstream builtin:echo --dialect native --users file --name localhost --systemd";

    let written = run_in(&units, &flags.split(' ').collect::<Vec<_>>(), "").ok();

    assert_eq!(written, "gateway.toml\ntollhouse.service.d/override.conf\n");
    let drop_in = fs::read_to_string(units.join("tollhouse.service.d/override.conf")).unwrap();
    let path = units.join("gateway.toml");
    let line = format!("Environment=\"TOLLHOUSE_CONFIG={}\"\n", path.display());
    assert!(drop_in.contains(&line) && drop_in.contains("AmbientCapabilities=\n"), "{drop_in}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("dir = \"/var/lib/tollhouse\""), "{text}");
    assert!(text.contains("path = \"/var/lib/tollhouse/users.toml\""), "{text}");
    let told = systemd_verify(tree.path());
    assert_eq!(told, "");
}

/// What systemd says of the unit with its drop-in.
fn systemd_verify(tree: &Path) -> String {
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(format!("--root={}", tree.display()))
        .arg("tollhouse.service")
        .output()
        .expect("systemd-analyze of Debian's package systemd");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
