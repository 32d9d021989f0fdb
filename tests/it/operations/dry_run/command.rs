//! `tollhouse explain` as an operator types it.

use std::path::Path;

use serde_json::Value;

use crate::harness::process::{ECHO_ROUTES, Process, folder, run_in};

const CHIEFS: &str = "[[route]]\nname = \"chiefs\"\npath = \"/chiefs\"\nupstream = \"u\"\n\
                      require = { roles = [\"chief\"] }\n";

#[track_caller]
fn explained(dir: &Path, words: &[&str]) -> Value {
    let words = [&["explain", "--json"], words].concat();
    serde_json::from_str(&run_in(dir, &words, "").ok()).unwrap()
}

/// The names of everything in a folder, at any depth.
fn entries(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        names.push(path.display().to_string());
        if path.is_dir() {
            names.extend(entries(&path));
        }
    }
    names.sort();
    names
}

#[test]
fn a_configuration_alone_is_enough_and_nothing_is_made() {
    let (dir, _) = folder(&format!("{ECHO_ROUTES}{CHIEFS}"));
    let before = entries(dir.path());

    let missing = explained(dir.path(), &["GET", "/x"]);
    let refused = explained(dir.path(), &["GET", "/chiefs", "--as", "alice"]);
    let alice = explained(dir.path(), &["GET", "/x", "--as", "alice", "--from", "192.0.2.7"]);
    let text = run_in(dir.path(), &["explain", "GET", "/chiefs", "--as", "alice"], "").ok();

    assert_eq!(entries(dir.path()), before, "neither a key nor a store was made");
    assert_eq!(missing["verdict"]["reason"], "credential_missing");
    assert_eq!(refused["verdict"]["reason"], "not_permitted");
    assert_eq!(refused["verdict"]["decided_by"]["key"], "route[2].require.roles");
    assert_eq!(alice["verdict"]["outcome"], "forwarded", "{alice:#}");
    assert_eq!(alice["request"]["client"], "192.0.2.7");
    for part in [
        "GET http://localhost/chiefs",
        "taken chiefs",
        "FAILED   require.roles    none of the required roles is granted; one of chief; has admin",
        "refused 403 not_permitted",
        "route[2].require.roles",
        "the session is not stored",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_running_gateway_is_asked_by_its_socket_and_beside_it_the_store_is_left_alone() {
    let process = Process::with_echo(CHIEFS);
    let token = process.token("alice").await;
    let dir = process.dir.path();
    let words = ["explain", "GET", "/x", "--token", "-", "--json"];

    let live = run_in(dir, &[&words[..], &["--live"]].concat(), &format!("{token}\n")).ok();
    let beside = run_in(dir, &words, &format!("{token}\n")).ok();
    let key = process.command(&["session", "revoke", "--user", "alice"]);
    let revoked = run_in(dir, &[&words[..], &["--live"]].concat(), &token).ok();

    key.ok();
    let [live, beside, revoked] =
        [live, beside, revoked].map(|text| serde_json::from_str::<Value>(&text).unwrap());
    assert_eq!(live["verdict"]["outcome"], "forwarded", "{live:#}");
    assert_eq!(live["credential"]["identity"]["username"], "alice");
    assert_eq!(beside["verdict"]["outcome"], "forwarded", "{beside:#}");
    assert!(beside["notes"].to_string().contains("--live asks it"), "{beside:#}");
    assert_eq!(revoked["verdict"]["reason"], "token_revoked", "{revoked:#}");
    for explained in [&live, &beside, &revoked] {
        assert!(!explained.to_string().contains(&token), "{explained:#}");
    }
    let log = process.stdout();
    assert!(!log.contains("/x"), "no access line: {log}");
}

#[test]
fn wrong_usage_and_a_faulty_configuration_have_their_status() {
    let (dir, _) = folder(ECHO_ROUTES);
    let run = |words: &[&str]| run_in(dir.path(), &[&["explain"], words].concat(), "");

    run(&["GET", "/x y"]).failed(2, &["neither a URL nor a path"]);
    run(&["G ET", "/x"]).failed(2, &["`G ET` is no method"]);
    run(&["GET", "/x", "-H", "nothing"]).failed(2, &["Name: value"]);
    run(&["GET", "/x", "--as", "nobody"]).failed(1, &["`nobody` is not known"]);
    run(&["GET", "/x", "--live"]).failed(1, &["no gateway answers"]);
    std::fs::write(dir.path().join("gateway.toml"), "listener = 1").unwrap();
    run(&["GET", "/x"]).failed(78, &["listener"]);
}
