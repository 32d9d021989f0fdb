//! A command for a running gateway needs its state folder and nothing else.

use std::fs;

use crate::harness::process::{Process, run_in};

/// A mail server whose password only the service's environment has: the command's has none.
const BROKEN: &str = r#"
[helth]
[mail]
server = "127.0.0.1:1025"
tls = "none"
from = "gateway@example.com"
username = "gateway"
password = { env = "MAIL_PASSWORD_OF_THE_SERVICE" }
"#;

/// A running gateway whose admin socket answers.
fn running() -> Process {
    let process = Process::plain("[process]\ndrain_delay = \"0s\"\n");
    process.wait_for_commands();
    process
}

#[tokio::test]
async fn administration_needs_neither_the_services_environment_nor_a_whole_file() {
    let process = running();
    process.token("alice").await;
    let file = process.path("gateway.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{good}{BROKEN}")).unwrap();
    process.command(&["check"]).failed(78, &["MAIL_PASSWORD_OF_THE_SERVICE", "helth"]);

    for words in [
        ["session", "list"].as_slice(),
        &["key", "list"],
        &["limits", "lift", "alice"],
        &["observe"],
        &["status"],
        &["api-key", "list"],
        &["token", "mint", "alice", "--login", "native"],
        &["store", "backup", "copy.redb"],
    ] {
        process.command(words).ok();
    }
    process.command(&["reload"]).failed(1, &["helth"]);
    let told = process.command(&["session", "revoke", "--all", "--yes"]).ok();
    assert_eq!(told, "2 sessions ended\n");
    process.command(&["user", "totp", "alice"]).ok();
}

#[test]
fn the_state_folder_is_found_in_a_file_that_is_no_toml_elsewhere_or_asked_for() {
    let process = running();
    let file = process.path("gateway.toml");
    fs::write(&file, "[state]\ndir = \"state\"\n\n[[route]\npath = \n").unwrap();
    process.command(&["key", "list"]).ok();

    fs::write(&file, "[[route]\npath = \n").unwrap();
    process.command(&["key", "list"]).ok();
    fs::write(&file, "[state\ndir = \"elsewhere\"\n").unwrap();
    process.command(&["key", "list"]).failed(78, &["--state"]);
    process.command(&["key", "list", "--state", "state"]).ok();
    fs::remove_file(&file).unwrap();
    process.command(&["key", "list"]).failed(78, &["--state", "gateway.toml"]);
    process.command(&["--state", "state", "key", "list"]).ok();
}

#[test]
fn no_gateway_answers_is_said_once_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();

    let told = run_in(dir.path(), &["reload", "--state", "."], "");

    let told = told.failed(1, &["no gateway answers on ./admin.sock", "start it", "--config"]);
    assert!(!told.contains("os error"), "said once: {told}");
}
