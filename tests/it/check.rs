//! `tollhouse check`: what it says, to whom, and that it makes nothing.

use serde_json::Value;

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
