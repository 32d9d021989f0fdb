//! The running gateway on one screen, for a person, for a program and for a container.

use std::fs;

use serde_json::Value;

use crate::harness::process::{Process, run_in, until};

#[test]
fn the_running_gateway_shows_itself() {
    let mut process = Process::plain(
        "[process]\ndrain_delay = \"0s\"\n\
         [[upstream]]\nname = \"api\"\nservers = [\"builtin:echo\"]\n\
         [[route]]\npath = \"/\"\nupstream = \"api\"\n",
    );
    until("ready", || (process.command(&["healthcheck"]).status == Some(0)).then_some(()));

    let told = process.command(&["status"]).ok();
    for part in
        ["tollhouse 0", "ready", "store          up", "listener       ", "upstream       api"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    let json: Value = serde_json::from_str(&process.command(&["status", "--json"]).ok()).unwrap();
    assert_eq!((&json["ready"], &json["draining"]), (&Value::from(true), &Value::from(false)));
    assert_eq!(json["upstreams"][0]["upstream"], "api");
    let keys = process.command(&["key", "list", "--json"]).ok();
    assert_eq!(serde_json::from_str::<Value>(&keys).unwrap()["state"], "signing");

    process.signal("TERM");
    assert_eq!(process.wait(), Some(0));
    process.command(&["healthcheck"]).failed(1, &["no gateway answers"]);
    process.command(&["status"]).failed(1, &["no gateway answers"]);
}

#[test]
fn whoever_has_only_the_program_can_have_the_sample_file() {
    let dir = tempfile::tempdir().unwrap();

    assert_eq!(run_in(dir.path(), &["init", "--sample"], "").ok(), "gateway.toml\n");

    let written = fs::read_to_string(dir.path().join("gateway.toml")).unwrap();
    // The schema of the repository's own file is in `docs`.
    let sample = include_str!("../../../../gateway.toml");
    assert_eq!(written, sample.replacen("#:schema docs/", "#:schema ", 1));
    run_in(dir.path(), &["check"], "").ok();
    fs::write(dir.path().join("gateway.toml"), "# mine\n").unwrap();
    run_in(dir.path(), &["init", "--sample"], "").failed(1, &["gateway.toml was not written"]);
    assert_eq!(fs::read_to_string(dir.path().join("gateway.toml")).unwrap(), "# mine\n");
}

#[tokio::test]
async fn a_program_reads_what_a_person_does() {
    let process = Process::plain(
        "[[dialect]]\nname = \"own\"\n[[dialect.endpoint]]\nstep = \"login\"\n\
         request = \"POST /own\"\nreply = { json = { token = \"$access.token\" } }\n\
         credential = [{ json = { username = \"user\", password = \"pass\" } }]\n",
    );
    until("commands", || (process.command(&["status"]).status == Some(0)).then_some(()));
    process.token("alice").await;
    let told = |words: &[&str]| -> Vec<Value> {
        let told = process.command(&[words, &["--json"]].concat()).ok();
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };

    let dialects = told(&["dialect", "list"]);
    let names = process.command(&["dialect", "list"]).ok();
    assert_eq!(dialects.len(), names.lines().count());
    assert_eq!(dialects[0]["built_in"], true);
    let own = dialects.last().unwrap();
    assert_eq!((&own["name"], &own["file"]), (&"own".into(), &"gateway.toml".into()));
    assert_eq!(told(&["limits", "lift", "alice"])[0]["lifted"], false);
    assert_eq!(told(&["session", "revoke", "--user", "alice"])[0]["ended"], 1);
    assert_eq!(told(&["version"])[0]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told(&["key", "list"])[0]["state"], "signing");
    assert_eq!(told(&["api-key", "list"]), Vec::<Value>::new());
}
