//! `tollhouse api-key`, as an operator types it.

use crate::harness::Upstream;
use crate::harness::process::{Process, folder, run_in, write_config};

const ROUTE: &str = "[[upstream]]\nname = \"u\"\nservers = [\"UPSTREAM\"]\n\
                     [[route]]\npath = \"/\"\nupstream = \"u\"\nauth = [\"api_key\"]\n";

/// The key and the section of `api-key new`.
fn made(told: &str) -> (String, String) {
    let (key, rest) = told.split_once('\n').unwrap();
    let section = rest.split_once("[[api_key]]").unwrap().1;
    (key.to_owned(), format!("[[api_key]]{section}"))
}

#[test]
fn a_new_key_is_told_once_with_the_section_that_lets_it_in() {
    let (dir, port) = folder("");
    let words = [
        "api-key",
        "new",
        "robot",
        "--role",
        "reader",
        "--role",
        "writer",
        "--scope",
        "introspect",
        "--expires",
        "2099-12-31",
        "--network",
        "10.0.0.0/8",
    ];
    std::fs::remove_file(dir.path().join("gateway.toml")).unwrap();

    let (key, section) = made(&run_in(dir.path(), &words, "").ok());

    assert!(key.starts_with("th_robot_") && key.len() == 9 + 64, "{key}");
    assert!(!section.contains(&key[9..]), "only its hash is written: {section}");
    write_config(dir.path(), port, &section);
    let listed = run_in(dir.path(), &["api-key", "list"], "");
    assert!(listed.stderr.contains("which are revoked is not known"), "{listed:?}");
    let listed = listed.ok();
    assert_eq!(listed, "robot  robot  roles reader,writer  scopes introspect  until 2099-12-31\n");
    assert!(run_in(dir.path(), &["check", "--print"], "").ok().contains("10.0.0.0/8"));
}

#[test]
fn what_could_not_stand_in_the_file_is_refused_before_a_key_is_made() {
    let (dir, _) = folder("");
    for (words, part) in [
        (["api-key", "new", "a b"].as_slice(), "is no id"),
        (&["api-key", "new", "a", "--expires", "tomorrow"], "is no day"),
        (&["api-key", "new", "a", "--network", "10.0.0.1/8"], "is no network"),
    ] {
        run_in(dir.path(), words, "").failed(1, &[part]);
    }
    run_in(dir.path(), &["api-key", "new"], "").failed(2, &["<ID>"]);
}

#[tokio::test]
async fn a_key_is_made_used_revoked_and_stays_revoked() {
    let upstream = Upstream::start().await;
    let (dir, port) = folder("");
    let (key, section) = made(&run_in(dir.path(), &["api-key", "new", "robot"], "").ok());
    let route = ROUTE.replace("UPSTREAM", &upstream.url());
    write_config(dir.path(), port, &format!("{route}{section}"));
    let process = Process::start(dir, port);
    let call = async || process.client().get("/").header("x-api-key", &key).send().await.status;
    assert_eq!(call().await, 200);
    process.wait_for_commands();

    let told = process.command(&["api-key", "revoke", "robot", "--yes"]).ok();

    assert!(told.contains("remove its [[api_key]] from gateway.toml"), "{told}");
    assert_eq!(call().await, 401);
    let listed = process.command(&["api-key", "list"]).ok();
    assert!(listed.starts_with("robot  ") && listed.ends_with("  revoked\n"), "{listed}");
    process
        .command(&["api-key", "revoke", "nobody", "--yes"])
        .failed(1, &["API key `nobody` is not known"]);
    assert_eq!(upstream.received().len(), 1);
    assert!(!process.stdout().contains(&key) && !process.stderr().contains(&key));
}
