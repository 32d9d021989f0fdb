//! Stopping and running the program as an operator does.

use std::time::Duration;

use crate::harness::process::Process;

#[test]
fn sigterm_drains_and_ends_with_zero() {
    let mut gateway = Process::sample();
    let password = gateway.first_password();
    assert!(!password.is_empty());

    gateway.signal("TERM");

    assert_eq!(gateway.wait(), Some(0), "{}", gateway.stderr());
    assert!(std::net::TcpStream::connect(("127.0.0.1", gateway.port)).is_err());
}

/// The status of `GET /healthz`, if anybody answers.
fn health(port: u16) -> Option<String> {
    let url = format!("https://127.0.0.1:{port}/healthz");
    let asked = std::process::Command::new("curl")
        .args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", &url])
        .output()
        .unwrap();
    asked.status.success().then(|| String::from_utf8(asked.stdout).unwrap())
}

#[test]
fn health_says_503_before_the_listeners_close_and_a_second_signal_ends_at_once() {
    let mut gateway = Process::sample_with("drain_delay = \"0s\"", "drain_delay = \"1h\"");
    assert_eq!(health(gateway.port).as_deref(), Some("200"));

    gateway.signal("TERM");

    let patience = std::time::Instant::now();
    while health(gateway.port).as_deref() != Some("503") {
        assert!(patience.elapsed() < Duration::from_secs(20), "{}", gateway.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0), "an hour's delay is not waited for");
}

#[test]
fn a_broken_configuration_is_not_reloaded_and_the_last_one_stays() {
    let gateway = Process::sample();
    let path = gateway.path("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}\n[[rout]]\npath = \"/x\"\n")).unwrap();

    gateway.signal("HUP");

    let patience = std::time::Instant::now();
    while !gateway.stderr().contains("not reloaded") {
        assert!(patience.elapsed() < Duration::from_secs(20), "{}", gateway.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(gateway.stderr().contains("rout"), "{}", gateway.stderr());
    assert!(std::net::TcpStream::connect(("127.0.0.1", gateway.port)).is_ok());
}

#[test]
fn commands_ask_the_running_gateway() {
    let gateway = Process::sample();
    gateway.first_password();

    let check = gateway.command(&["check"]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let minted = gateway.command(&["token", "mint", "admin", "--login", "native"]);
    let token = String::from_utf8(minted.stdout).unwrap();
    assert_eq!(token.trim().split('.').count(), 3, "{}", String::from_utf8_lossy(&minted.stderr));
    let listed = gateway.command(&["session", "list", "--user", "admin"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("admin") && listed.contains("native"), "{listed}");
    let revoked = gateway.command(&["session", "revoke", "--all"]);
    assert_eq!(String::from_utf8(revoked.stdout).unwrap(), "1 sessions ended\n");
    let keys = gateway.command(&["key", "list"]);
    let keys = String::from_utf8(keys.stdout).unwrap();
    assert!(keys.contains("ES256") && keys.contains("RS256"), "{keys}");
    let lifted = gateway.command(&["limits", "lift", "admin"]);
    assert!(lifted.status.success(), "{}", String::from_utf8_lossy(&lifted.stderr));
    let copy = gateway.path("copy.redb");
    let backup = gateway.command(&["store", "backup", copy.to_str().unwrap()]);
    assert!(backup.status.success() && copy.exists());
    assert!(gateway.command(&["reload"]).status.success());
    assert!(gateway.pid() > 0);
}

#[test]
fn a_command_without_a_gateway_and_a_bad_configuration_say_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("gateway.toml"), "[tokn]\nissuer = 5\n").unwrap();
    let run = |words: &[&str]| {
        crate::harness::process::tollhouse().current_dir(dir.path()).args(words).output().unwrap()
    };

    let check = run(&["check"]);
    let start = run(&[]);
    let usage = run(&["nonsense"]);

    assert_eq!(check.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&check.stderr).contains("tokn"));
    assert_eq!(start.status.code(), Some(78));
    assert_eq!(start.stderr, check.stderr, "the same text at a failed start");
    assert_eq!(usage.status.code(), Some(2));
}
