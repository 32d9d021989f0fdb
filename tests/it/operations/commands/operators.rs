//! `[admin] socket`: a group's members may give commands, and nobody else may do more than before.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::process::{Process, copy_program, folder, run_in, until, write_config};

/// A group that no user of a test machine is in.
const GROUP: u32 = 54_321;
/// `nobody` of most systems; the number needs no account.
const STRANGER: u32 = 65_534;

fn section(group: u32) -> String {
    format!("[process]\ndrain_delay = \"0s\"\n[admin]\nsocket = {{ group = \"{group}\" }}\n")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn access(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.mode() & 0o777, found.gid())
}

fn running(group: u32) -> Process {
    let process = Process::plain(&section(group));
    until("commands", || (process.command(&["status"]).status == Some(0)).then_some(()));
    process
}

#[test]
fn a_group_reaches_the_socket_and_nothing_else_in_the_state_folder() {
    let (dir, port) = folder("");
    let group = fs::metadata(dir.path().join("users.toml")).unwrap().gid();
    write_config(dir.path(), port, &section(group));
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::write(dir.path().join("state/left-by-an-operator"), "secret").unwrap();
    let mode = fs::Permissions::from_mode(0o644);
    fs::set_permissions(dir.path().join("state/left-by-an-operator"), mode).unwrap();

    let mut process = Process::start(dir, port);
    until("commands", || (process.command(&["status"]).status == Some(0)).then_some(()));

    assert_eq!(access(&process.path("state")), (0o710, group));
    assert_eq!(access(&process.path("state/admin.sock")), (0o660, group));
    let entries = fs::read_dir(process.path("state")).unwrap().map(|entry| entry.unwrap().path());
    for path in entries.filter(|path| !path.ends_with("admin.sock")) {
        assert_eq!(access(&path).0 & 0o077, 0, "{} is open to others", path.display());
    }

    // A reload closes it and opens it again.
    for (sections, folder, socket) in
        [(String::new(), 0o700, 0o600), (section(group), 0o710, 0o660)]
    {
        write_config(process.dir.path(), process.port, &sections);
        process.command(&["reload"]).ok();
        assert_eq!(access(&process.path("state")), (folder, group));
        assert_eq!(access(&process.path("state/admin.sock")), (socket, group));
    }

    // A start without the group closes the folder to it.
    process.signal("TERM");
    assert_eq!(process.wait(), Some(0));
    write_config(process.dir.path(), process.port, "");
    let next = process.successor();
    until("commands", || (next.command(&["status"]).status == Some(0)).then_some(()));
    assert_eq!(access(&next.path("state")).0, 0o700);
    assert_eq!(access(&next.path("state/admin.sock")).0, 0o600);
}

#[test]
fn a_group_that_the_socket_did_not_get_is_named_and_tried_again_by_the_next_reload() {
    let process = Process::plain("");
    until("commands", || (process.command(&["status"]).status == Some(0)).then_some(()));
    let group = fs::metadata(process.path("users.toml")).unwrap().gid();
    let (socket, aside) = (process.path("state/admin.sock"), process.path("state/aside.sock"));
    // Without the name that the group would be given, this step fails after the swap.
    fs::rename(&socket, &aside).unwrap();
    write_config(process.dir.path(), process.port, &section(group));
    process.signal("HUP");
    process.wait_for_stderr("not in effect: [admin] socket");
    fs::rename(&aside, &socket).unwrap();

    let status = process.command(&["status"]).ok();
    assert!(status.contains("not in effect: [admin] socket: its group and mode"), "{status}");
    assert_eq!(access(&socket).0, 0o600);

    let reloaded = process.command(&["reload"]).ok();
    assert!(!reloaded.contains("not in effect"), "{reloaded}");
    assert_eq!(access(&process.path("state")), (0o710, group));
    assert_eq!(access(&socket), (0o660, group));
    let status = process.command(&["status"]).ok();
    assert!(!status.contains("not in effect"), "{status}");
}

#[tokio::test]
async fn a_log_in_the_state_folder_is_the_owners_alone_after_a_rotation_too() {
    let (dir, port) = folder("");
    let group = fs::metadata(dir.path().join("users.toml")).unwrap().gid();
    let log = "[log]\naccess = \"state/access.log\"\n";
    write_config(dir.path(), port, &format!("{}{log}", section(group)));
    let process = Process::start(dir, port);
    until("commands", || (process.command(&["status"]).status == Some(0)).then_some(()));
    let path = process.path("state/access.log");
    assert_eq!(access(&path).0, 0o600);

    fs::rename(&path, process.path("state/access.log.1")).unwrap();
    process.signal("USR1");

    until("the next file", || path.exists().then_some(()));
    assert_eq!(access(&path).0, 0o600);
}

#[test]
fn what_cannot_be_closed_to_the_group_keeps_the_folder_from_it() {
    let can_change_users = Command::new("setpriv").arg("--version").output().is_ok();
    // Else everything in the folder belongs to the gateway's user.
    if !is_root() || !can_change_users {
        return;
    }
    let (dir, port) = folder("");
    write_config(dir.path(), port, &section(STRANGER));
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("of-somebody-else"), "secret").unwrap();
    fs::set_permissions(state.join("of-somebody-else"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    for path in [&state, &dir.path().join("users.toml")] {
        std::os::unix::fs::chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
    }
    let program = dir.path().join("tollhouse-for-all");
    copy_program(&program);

    let user = STRANGER.to_string();
    let tried = Command::new("timeout")
        .args(["20", "setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"])
        .arg(&program)
        .arg("run")
        .current_dir(dir.path())
        .output()
        .unwrap();

    let told = String::from_utf8(tried.stderr).unwrap();
    assert_eq!(tried.status.code(), Some(78), "{told}");
    assert!(told.contains("of-somebody-else") && told.contains("chmod go-rwx"), "{told}");
    assert_eq!(access(&state), (0o700, STRANGER));
}

#[tokio::test]
async fn a_member_of_the_group_gives_commands_and_others_are_kept_out() {
    let can_change_users = Command::new("setpriv").arg("--version").output().is_ok();
    // Else no other user can be tried.
    if !is_root() || !can_change_users {
        return;
    }
    let process = running(GROUP);
    // The folder of a test is its owner's alone; a real state folder lies in one that is not.
    fs::set_permissions(process.dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let program = process.path("tollhouse-for-all");
    copy_program(&program);
    let state = process.path("state");
    let by = |groups: &str, words: &[&str]| {
        let (uid, gid) = (STRANGER.to_string(), STRANGER.to_string());
        let output = Command::new("setpriv")
            .args(["--reuid", &uid, "--regid", &gid, groups])
            .arg(&program)
            .args(["--state", state.to_str().unwrap()])
            .args(words)
            .current_dir("/")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    process.token("alice").await;

    let member = format!("--groups={GROUP}");
    let (status, said, told) = by(&member, &["session", "revoke", "--all", "--yes"]);
    assert_eq!((status, said.as_str()), (Some(0), "1 session ended\n"), "{told}");
    for words in [["status"].as_slice(), &["healthcheck"], &["key", "list"], &["session", "list"]] {
        assert_eq!(by(&member, words).0, Some(0), "{words:?}");
    }
    let (status, said, told) = by("--clear-groups", &["session", "list"]);
    assert_eq!((status, said.as_str()), (Some(1), ""), "{told}");
    assert!(told.contains("[admin] socket"), "{told}");
    // A member gives commands, and does not get the sockets of the gateway.
    let takeover = Command::new("setpriv")
        .args(["--reuid", &STRANGER.to_string(), "--regid", &STRANGER.to_string(), &member])
        .args(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST"])
        .args(["-H", "connection: upgrade", "-H", "upgrade: tollhouse-takeover"])
        .arg("--unix-socket")
        .args([state.join("admin.sock").to_str().unwrap(), "http://localhost/takeover"])
        .current_dir("/")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(takeover.stdout).unwrap(), "403");
    // A member reaches the socket by its name, and neither lists nor reads what lies beside it.
    for path in ["", "keys", "store.redb"] {
        let path = state.join(path);
        let tried = Command::new("setpriv")
            .args(["--reuid", &STRANGER.to_string(), "--regid", &STRANGER.to_string(), &member])
            .args(["head", "-c1"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(!tried.status.success(), "{} can be read", path.display());
    }

    let line: Value = until("audited", || {
        let lines = process.stdout();
        let line = lines.lines().find(|line| line.contains("\"action\":\"revoke\""))?;
        Some(serde_json::from_str(line).unwrap())
    });
    assert_eq!(line["operator.uid"], STRANGER);
}

/// Gives the same command for each line that it reads, on one connection, and prints the status.
const ASKING: &str = r#"
use IO::Socket::UNIX;
$| = 1;
my $socket = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$!";
while (<STDIN>) {
    syswrite $socket, "GET /keys HTTP/1.1\r\nhost: a\r\n\r\n";
    sysread $socket, my $answer, 65536;
    print substr($answer, 9, 3), "\n";
}
"#;

#[tokio::test]
async fn a_group_that_loses_the_socket_loses_its_open_connections() {
    let can_change_users = Command::new("setpriv").arg("--version").output().is_ok();
    let has_perl = Command::new("perl").arg("-v").output().is_ok();
    // Else no other user can be tried.
    if !is_root() || !can_change_users || !has_perl {
        return;
    }
    let process = running(GROUP);
    fs::set_permissions(process.dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let mut member = Command::new("setpriv")
        .args(["--reuid", &STRANGER.to_string(), "--regid", &STRANGER.to_string()])
        .args([&format!("--groups={GROUP}"), "perl", "-e", ASKING])
        .arg(process.path("state/admin.sock"))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asks = member.stdin.take().unwrap();
    let mut answers = BufReader::new(member.stdout.take().unwrap()).lines();
    let mut status = || {
        asks.write_all(b"ask\n").unwrap();
        answers.next().unwrap().unwrap()
    };
    assert_eq!(status(), "200");

    write_config(process.dir.path(), process.port, "[process]\ndrain_delay = \"0s\"\n");
    process.command(&["reload"]).ok();

    assert_eq!(status(), "403");
    drop(asks);
    assert!(member.wait().unwrap().success());
    assert_eq!(process.command(&["status"]).status, Some(0), "the owner goes on");
}

#[test]
fn a_gateway_that_is_not_in_the_group_is_refused_by_check_as_by_run() {
    let (dir, port) = folder("");
    write_config(dir.path(), port, &section(GROUP));
    if !is_root() {
        for words in [["check"], ["run"]] {
            run_in(dir.path(), &words, "").failed(78, &["54321", "member"]);
        }
        return;
    }
    assert_eq!(run_in(dir.path(), &["check"], "").status, Some(0), "root may give it to anybody");
    let (user, all) = (STRANGER.to_string(), fs::Permissions::from_mode(0o777));
    fs::set_permissions(dir.path(), all).unwrap();
    std::os::unix::fs::chown(dir.path().join("users.toml"), Some(STRANGER), None).unwrap();
    let program = dir.path().join("tollhouse-for-all");
    copy_program(&program);
    for words in ["check", "run"] {
        let tried = Command::new("setpriv")
            .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
            .arg(&program)
            .arg(words)
            .current_dir(dir.path())
            .output();
        let Ok(tried) = tried else { return };
        let told = String::from_utf8(tried.stderr).unwrap();
        assert_eq!(tried.status.code(), Some(78), "{words}: {told}");
        assert!(told.contains("54321") && told.contains("member"), "{words}: {told}");
    }
}
