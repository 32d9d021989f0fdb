//! `tollhouse check`: what it says, to whom, and that it makes nothing.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tollhouse::clock::Timestamp;

use crate::harness::certs::Certificate;
use crate::harness::process::{folder, run_in, write_config};

const MISTAKES: &str = "[[upstream]]
name = \"crm\"
servers = [\"10.0.0.5\"]
[[route]]
path = \"/\"
upstream = \"crm\"
  auht = []
";

#[test]
fn editors_and_build_servers_could_not_jump_to_a_problem() {
    let (dir, _) = folder(MISTAKES);
    let text = std::fs::read_to_string(dir.path().join("gateway.toml")).unwrap();
    let line = |part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
    let (servers, auht) = (line("servers"), line("auht"));

    let told = run_in(dir.path(), &["check", "--format", "gnu"], "");

    assert_eq!((told.status, told.stderr.as_str()), (Some(78), ""), "{told:?}");
    let expected = format!(
        "gateway.toml:{servers}:12: error: upstream[0].servers[0] \"10.0.0.5\" needs a scheme: \
         write \"http://10.0.0.5\"\n\
         gateway.toml:{auht}:3: error: route[0].auht no such key; did you mean `auth`?\n"
    );
    assert_eq!(told.stdout, expected);
}

#[test]
fn a_syntax_error_is_one_line_for_an_editor() {
    let (dir, _) = folder("[[route]]\npath = \"/\n");

    let told = run_in(dir.path(), &["check", "--format", "gnu"], "");

    let first = told.stdout.lines().next().unwrap();
    assert_eq!(told.status, Some(78), "{told:?}");
    assert!(first.starts_with("gateway.toml:") && first.contains(": error: "), "{first}");
    assert!(!told.stdout.contains(" | "), "{}", told.stdout);
}

#[test]
fn problems_and_warnings_are_json_for_a_program() {
    let (dir, _) = folder(MISTAKES);
    let refused = run_in(dir.path(), &["check", "--format", "json"], "");
    let said: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!((refused.status, refused.stderr.as_str()), (Some(78), ""));
    assert_eq!(said["ok"], false);
    let first = &said["issues"][0];
    assert_eq!(first["key"], "upstream[0].servers[0]");
    assert_eq!((&first["severity"], &first["column"]), (&"error".into(), &12.into()));
    assert!(first["message"].as_str().unwrap().starts_with("needs a scheme"));

    let (dir, _) = folder("");
    let warned = run_in(dir.path(), &["check", "--format", "json"], "");
    let said: Value = serde_json::from_str(&warned.stdout).unwrap();
    assert_eq!((warned.status, &said["ok"]), (Some(0), &true.into()));
    let names: Vec<&str> =
        said["issues"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert!(names.contains(&"no_route"), "{names:?}");
}

const ROUTE: &str = "[[upstream]]\nname = \"u\"\nservers = [\"builtin:echo\"]\n\
    [[route]]\npath = \"/\"\nupstream = \"u\"\n";

/// The configuration with TLS on its listener.
fn with_tls(dir: &Path, key: &str) {
    let path = dir.join("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let tls = format!(
        "\", tls = {{ certificates = [{{ chain = \"a.pem\", key = {key:?} }}] }} }}]\nusers ="
    );
    std::fs::write(&path, text.replacen("\" }]\nusers =", &tls, 1)).unwrap();
}

#[test]
fn check_said_ok_to_a_key_of_another_certificate_and_run_failed_with_1() {
    let (dir, _) = folder(ROUTE);
    for stem in ["a", "b"] {
        Certificate::make(dir.path(), stem, &["localhost"]);
    }
    with_tls(dir.path(), "b.key");

    for command in ["check", "run"] {
        let told = run_in(dir.path(), &[command], "");

        assert_eq!(told.status, Some(78), "{command} {told:?}");
        assert!(told.stderr.contains("b.key"), "{command} {told:?}");
        assert!(told.stderr.contains("does not belong to"), "{command} {told:?}");
    }
    std::fs::copy(dir.path().join("a.key"), dir.path().join("b.key")).unwrap();
    let told = run_in(dir.path(), &["check"], "");
    assert_eq!(told.status, Some(0), "{told:?}");
}

#[test]
fn check_said_ok_to_a_log_folder_that_is_not_there_and_run_failed_with_1() {
    let (dir, _) = folder(&format!("[log]\naccess = \"logs/access.log\"\n{ROUTE}"));

    for (command, place) in [("check", "line 9  log.access"), ("run", "[log] access")] {
        let told = run_in(dir.path(), &[command], "");

        assert_eq!(told.status, Some(78), "{command} {told:?}");
        assert!(told.stderr.contains(place), "{command} {told:?}");
        assert!(told.stderr.contains("logs/access.log` cannot be written"), "{command} {told:?}");
    }
    assert!(!dir.path().join("logs").exists(), "and makes nothing");
    let told = run_in(dir.path(), &["check", "--format", "json"], "");
    let said: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((told.status, &said["ok"]), (Some(78), &Value::Bool(false)), "{told:?}");
    let message = said["issues"][0]["message"].as_str().unwrap();
    assert!(message.contains("logs/access.log` cannot be written"), "{message}");
    let told = run_in(dir.path(), &["check", "--format", "gnu"], "");
    assert!(told.stdout.starts_with("gateway.toml:9:10: error: log.access `"), "{told:?}");
}

/// What `check --format json` says.
fn issues(dir: &Path, status: i32) -> Vec<Value> {
    let told = run_in(dir, &["check", "--format", "json"], "");
    assert_eq!((told.status, told.stderr.as_str()), (Some(status), ""), "{told:?}");
    let said: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(said["ok"], status == 0, "{said}");
    said["issues"].as_array().unwrap().clone()
}

#[test]
fn what_a_start_would_refuse_had_no_key_and_no_line() {
    let certificate = "upstream = [{ name = \"v\", servers = [\"https://a.test\"], \
                       tls = { certificate = { chain = \"a.pem\", key = \"b.key\" } } }]\n";
    let (dir, port) = folder("");
    for stem in ["a", "b"] {
        Certificate::make(dir.path(), stem, &["localhost"]);
    }
    std::fs::create_dir(dir.path().join("keys")).unwrap();
    std::fs::copy(dir.path().join("a.key"), dir.path().join("keys/a.pem")).unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let sections = "keys = \"keys\"\nalgorithm = \"EdDSA\"\n[log]\naudit = \"none/audit.log\"\n[state]\ndir = \"file\"\n";
    write_config(dir.path(), port, sections);
    with_tls(dir.path(), "b.key");
    let path = dir.path().join("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{certificate}{text}")).unwrap();
    std::fs::write(dir.path().join("users.toml"), "[[user]]\nname = \"a\"\n[[user]]\n").unwrap();

    let found = issues(dir.path(), 78);

    let text = std::fs::read_to_string(&path).unwrap();
    let line = |part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
    for (key, part, said) in [
        ("upstream[0].tls.certificate", "https://a.test", "cannot be spoken to"),
        ("listener[0].tls.certificates[0].key", "listener =", "does not belong to"),
        ("users[0].path", "users =", "users.toml, line 1: user[0]"),
        ("users[0].path", "users =", "users.toml, line 3: user[1]"),
        ("token.keys", "keys =", "signs with"),
        ("log.audit", "audit =", "none/audit.log` cannot be written"),
        ("state.dir", "dir =", "cannot be used"),
    ] {
        let is_it = |one: &&Value| {
            one["key"] == key && one["message"].as_str().is_some_and(|text| text.contains(said))
        };
        let one = found.iter().find(is_it).unwrap_or_else(|| panic!("{key} {said}: {found:#?}"));
        assert_eq!(one["line"], line(part), "{one}");
        assert!(one["column"].as_u64().is_some_and(|column| column > 1), "{one}");
        assert_eq!(one["severity"], "error");
    }
    let told = run_in(dir.path(), &["check", "--format", "gnu"], "");
    let places = told.stdout.lines().filter(|line| line.contains(" error: "));
    assert!(places.clone().count() >= 7, "{}", told.stdout);
    assert!(places.clone().all(|line| !line.starts_with("gateway.toml: ")), "{}", told.stdout);
    run_in(dir.path(), &["check"], "").failed(78, &["token.keys", "line 1  "]);
}

#[test]
fn a_default_that_does_not_hold_is_told_with_the_place_of_its_table() {
    let (dir, _) = folder(&format!("[state]\n{ROUTE}"));
    // The default folder, where a file is.
    std::fs::write(dir.path().join("state"), "").unwrap();

    let found = issues(dir.path(), 78);

    let one = found.iter().find(|one| one["key"] == "state.dir").unwrap();
    assert!(one["line"].is_u64(), "{one}");
}

#[test]
fn check_said_nothing_of_a_certificate_that_has_ended_or_is_not_valid_yet() {
    let soon = SystemTime::now() + Duration::from_secs(9 * 24 * 3600);
    let soon = soon.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let soon = Timestamp::from_secs(soon).to_string();
    let part = |range: std::ops::Range<usize>| soon[range].parse::<i32>().unwrap();
    let soon = (part(0..4), part(5..7) as u8, part(8..10) as u8);
    for (from, to, name, said) in [
        ((2020, 1, 1), (2021, 1, 1), "certificate_expired", "a.pem has ended on 2021-01-01"),
        ((2090, 1, 1), (2091, 1, 1), "certificate_not_yet_valid", "a.pem is not valid before"),
        ((2020, 1, 1), soon, "certificate_near_end", "a.pem ends soon, on "),
    ] {
        let (dir, _) = folder(ROUTE);
        Certificate::make_valid(dir.path(), "a", from, to);
        with_tls(dir.path(), "a.key");

        let told = run_in(dir.path(), &["check"], "");

        assert_eq!(told.status, Some(0), "{told:?}");
        assert!(told.stderr.contains(said), "{told:?}");
        assert!(told.stderr.contains(&format!("[{name}]")), "{told:?}");
        let found = issues(dir.path(), 0);
        let one = found.iter().find(|one| one["name"] == name).unwrap();
        assert_eq!(one["key"], "listener[0].tls.certificates[0].chain");
        assert_eq!((&one["severity"], &one["line"]), (&"warning".into(), &2.into()));

        for place in ["chain = \"a.pem\"", "tls = { "] {
            let path = dir.path().join("gateway.toml");
            let text = std::fs::read_to_string(&path).unwrap();
            let accepted = match place.strip_suffix("{ ") {
                Some(_) => format!("{place}accept = [\"{name}\"], "),
                None => format!("{place}, accept = [\"{name}\"]"),
            };
            std::fs::write(&path, text.replacen(place, &accepted, 1)).unwrap();
            let found = issues(dir.path(), 0);
            assert!(found.iter().all(|one| one["name"] != name), "{found:?}");
            std::fs::write(&path, text).unwrap();
        }
    }
}

#[test]
fn a_certificate_that_is_well_again_leaves_its_acceptance_unmentioned() {
    let (dir, _) = folder(ROUTE);
    Certificate::make(dir.path(), "a", &["localhost"]);
    with_tls(dir.path(), "a.key");
    let path = dir.path().join("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let accepted = "tls = { accept = [\"certificate_near_end\"], ";
    std::fs::write(&path, text.replacen("tls = { ", accepted, 1)).unwrap();

    let found = issues(dir.path(), 0);

    assert!(found.iter().all(|one| one["name"] != "accept_unused"), "{found:?}");
}

#[test]
fn check_said_ok_to_a_users_file_that_cannot_be_looked_for() {
    let (dir, _) = folder(ROUTE);
    let path = dir.path().join("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    // Nobody, not even root, can look below a file.
    let text = text.replace("path = \"users.toml\"", "path = \"users.toml/x\", bootstrap = true");
    std::fs::write(&path, text).unwrap();

    for command in ["check", "run"] {
        let told = run_in(dir.path(), &[command], "");

        assert_eq!(told.status, Some(78), "{command} {told:?}");
        assert!(told.stderr.contains("users.toml"), "{command} {told:?}");
    }
}
