//! `tollhouse check`: what it says, to whom, and that it makes nothing.

use serde_json::Value;

use crate::harness::certs::Certificate;
use crate::harness::process::{folder, run_in};

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
fn with_tls(dir: &std::path::Path, key: &str) {
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

    for command in ["check", "run"] {
        let told = run_in(dir.path(), &[command], "");

        assert_eq!(told.status, Some(78), "{command} {told:?}");
        assert!(told.stderr.contains("[log] access: `"), "{command} {told:?}");
        assert!(told.stderr.contains("logs/access.log` cannot be written"), "{command} {told:?}");
    }
    assert!(!dir.path().join("logs").exists(), "and makes nothing");
    let told = run_in(dir.path(), &["check", "--format", "json"], "");
    let said: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((told.status, &said["ok"]), (Some(78), &Value::Bool(false)), "{told:?}");
    let message = said["issues"][0]["message"].as_str().unwrap();
    assert!(message.contains("logs/access.log` cannot be written"), "{message}");
    let told = run_in(dir.path(), &["check", "--format", "gnu"], "");
    assert!(told.stdout.starts_with("gateway.toml: error: [log] access"), "{told:?}");
}

#[test]
fn check_said_nothing_of_a_certificate_that_has_ended_or_is_not_valid_yet() {
    for (from, to, said) in [
        ((2020, 1, 1), (2021, 1, 1), "a.pem has ended on 2021-01-01"),
        ((2090, 1, 1), (2091, 1, 1), "a.pem is not valid before 2090-01-01"),
    ] {
        let (dir, _) = folder(ROUTE);
        Certificate::make_valid(dir.path(), "a", from, to);
        with_tls(dir.path(), "a.key");

        let told = run_in(dir.path(), &["check"], "");

        assert_eq!(told.status, Some(0), "{told:?}");
        assert!(told.stderr.contains(said), "{told:?}");
    }
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
