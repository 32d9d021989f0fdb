//! What a start leaves behind, and what it says when it cannot be.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::gateway::PASSWORD;
use crate::harness::process::{Process, folder, free_port, root, run_in, until};

/// A folder with the repository's own `gateway.toml` on these ports, and nothing else.
fn fresh(port: u16, admin: u16) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(root().join("gateway.toml")).unwrap();
    let text = text
        .replace("127.0.0.1:8443", &format!("127.0.0.1:{port}"))
        .replace("127.0.0.1:9901", &format!("127.0.0.1:{admin}"));
    fs::write(dir.path().join("gateway.toml"), text).unwrap();
    dir
}

fn is_there(dir: &Path, name: &str) -> bool {
    dir.join(name).symlink_metadata().is_ok()
}

/// The first user's password was lost when the address was somebody else's.
#[test]
fn a_first_start_that_could_not_bind_leaves_no_user_whose_password_nobody_has() {
    for which in ["clients", "admin"] {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let (taken_port, port) = (taken.local_addr().unwrap().port(), free_port());
        let ports = if which == "admin" { (port, taken_port) } else { (taken_port, port) };
        let dir = fresh(ports.0, ports.1);

        let address = format!("127.0.0.1:{taken_port}` is in use, perhaps by a gateway");
        run_in(dir.path(), &["run"], "").failed(1, &[&address]);

        assert!(!is_there(dir.path(), "users.toml"), "{which}: nobody was made");
        assert!(!is_there(dir.path(), "state/first-password"), "{which}");
        drop(taken);
        let gateway = Process::start(dir, ports.0);
        assert!(!gateway.first_password().is_empty(), "{which}: the next start makes one");
    }
}

#[test]
fn a_first_start_that_failed_after_its_sockets_takes_the_first_user_back() {
    let dir = fresh(free_port(), free_port());
    // Read after the first user is made, and never good.
    let text = fs::read_to_string(dir.path().join("gateway.toml")).unwrap();
    fs::write(dir.path().join("broken.toml"), "[[user]]\nname = 1\n").unwrap();
    fs::set_permissions(dir.path().join("broken.toml"), Permissions::from_mode(0o600)).unwrap();
    let more = "\n[[users]]\nname = \"more\"\nkind = \"file\"\npath = \"broken.toml\"\n";
    fs::write(dir.path().join("gateway.toml"), text + more).unwrap();

    run_in(dir.path(), &["run"], "").failed(78, &["broken.toml"]);

    assert!(!is_there(dir.path(), "users.toml"));
    assert!(!is_there(dir.path(), "state/admin.sock"));
}

#[test]
fn the_first_password_s_file_outlived_the_password() {
    let gateway = Process::sample();
    gateway.first_password();
    let file = gateway.path("state/first-password");

    // Another user changes nothing about it.
    let add = ["user", "add", "zoe", "--email", "zoe@example.com"];
    run_in(gateway.dir.path(), &add, &format!("{PASSWORD}\n")).ok();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(file.exists());

    run_in(gateway.dir.path(), &["user", "passwd", "admin"], &format!("{PASSWORD}\n")).ok();
    until("removed", || (!file.exists()).then_some(()));
}

#[test]
fn a_crash_left_passwords_in_a_core_file() {
    let limit = |process: &Process| {
        let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        line.split_whitespace().skip(4).take(2).map(str::to_owned).collect::<Vec<_>>()
    };

    let process = Process::plain("");
    assert_eq!(limit(&process), ["0", "0"], "soft and hard");

    let asked_for = Process::plain("[process]\ncore_dumps = true\n");
    let own = fs::read_to_string("/proc/self/limits").unwrap();
    let own = own.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let own: Vec<_> = own.split_whitespace().skip(4).take(2).map(str::to_owned).collect();
    assert_eq!(limit(&asked_for), own, "as it was started");
}

#[test]
fn a_state_folder_that_was_open_to_others_is_closed_to_them() {
    let (dir, port) = folder("");
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();

    let process = Process::start(dir, port);

    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    process.wait_for_stderr("was open to others (755)");
}

#[test]
fn a_state_folder_that_cannot_be_used_was_told_without_a_remedy() {
    let (dir, _) = folder("[state]\ndir = \"/proc/tollhouse\"\n");

    run_in(dir.path(), &["run"], "").failed(78, &["/proc/tollhouse", "[state] dir"]);
}

#[tokio::test]
async fn plain_http_on_a_tls_port_was_answered_with_garbage() {
    let gateway = Process::sample();
    for request in ["GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", "POST /x HTTP/1.0\r\n\r\n"] {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();

        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();

        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.contains("https://"), "{answer}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
    }
    assert_eq!(gateway.stdout().matches("url.path").count(), 0, "no request was taken");
}

/// What serves where was said by no line, at any level.
#[test]
fn a_start_says_what_is_served_where() {
    let gateway = Process::sample();
    let port = gateway.port;

    gateway.wait_for_stderr(&format!(
        "tollhouse {} serves https://127.0.0.1:{port}",
        env!("CARGO_PKG_VERSION")
    ));
    gateway.wait_for_stderr("(localhost, 127.0.0.1): 6 logins, ");
    gateway.wait_for_stderr("for operators: http://127.0.0.1:");
    gateway.wait_for_stderr("admin.sock");
}

#[tokio::test]
async fn a_login_works_as_soon_as_a_gateway_listens() {
    let (dir, port) = folder("");
    let process = Process::start(dir, port);

    let login = json!({ "username": "alice", "password": PASSWORD });
    let reply = process.client().post("/auth/login").json(login).send().await;

    reply.assert_status(200);
}
