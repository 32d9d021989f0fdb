//! What cannot be undone is not done by a slip, and what matched nothing is not told as done.

use crate::harness::process::{Process, folder, run_in};

fn running() -> Process {
    let process = Process::plain("[process]\ndrain_delay = \"0s\"\n");
    process.wait_for_commands();
    process
}

#[tokio::test]
async fn what_cannot_be_undone_wants_yes_where_nobody_can_be_asked() {
    let process = running();
    process.token("alice").await;
    let keys = process.command(&["key", "list"]).ok();
    let kid = keys.split_whitespace().next().unwrap();

    for words in [
        ["session", "revoke", "--all"].as_slice(),
        &["key", "revoke", kid],
        &["api-key", "revoke", "robot"],
        &["user", "remove", "alice"],
    ] {
        process.command(words).failed(1, &["--yes", "cannot be undone"]);
    }

    assert_eq!(process.command(&["key", "list"]).ok(), keys);
    assert_eq!(process.command(&["session", "list"]).ok().lines().count(), 1);
    assert!(process.command(&["user", "list"]).ok().contains("alice"));
}

#[test]
fn what_matched_nothing_is_not_told_as_done() {
    let process = running();

    process.command(&["limits", "lift", "ghost"]).failed(1, &["user `ghost` is not known"]);
    let told = process.command(&["limits", "lift", "alice"]).ok();
    assert_eq!(told, "alice: no failed attempts\n");
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
    process.command(&["session", "revoke", unknown]).failed(1, &["no live session", unknown]);
}

#[test]
fn a_backup_that_fails_says_why() {
    let process = running();
    process.command(&["store", "backup", "copy.redb"]).ok();

    process.command(&["store", "backup", "copy.redb"]).failed(1, &["copy.redb", "File exists"]);
    process
        .command(&["store", "backup", "none/c.redb"])
        .failed(1, &["none/c.redb", "No such file"]);
}

#[test]
fn help_is_also_a_command() {
    let (dir, _) = folder("");

    for words in [["help"].as_slice(), &["help", "session"], &["session", "help", "revoke"]] {
        assert!(run_in(dir.path(), words, "").ok().contains("Usage"), "{words:?}");
    }
}
