//! Diagnostics: their filter, form and colour, and the manual.

use std::process::{Command, Stdio};

use crate::harness::process::{folder, free_port, run_in, tollhouse};

/// Runs the program on a terminal, with something to warn of and a listener that cannot be opened.
fn run(words: &str, variables: &[(&str, &str)]) -> String {
    let (dir, port) = folder(&format!("[admin]\naddress = \"0.0.0.0:{}\"\n", free_port()));
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let program = tollhouse().get_program().to_str().unwrap().to_owned();
    let output = Command::new("script")
        .args(["-qec", &format!("{program} run {words}"), "/dev/null"])
        .current_dir(dir.path())
        .env_remove("RUST_LOG")
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .env("TOLLHOUSE_LOG", "trace")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn no_color_and_a_dumb_terminal_were_written_to_in_colour() {
    const ESCAPE: char = '\u{1b}';
    let coloured = run("", &[]);
    assert!(coloured.contains(ESCAPE), "people on a terminal get colour: {coloured}");

    for (words, variables) in [
        ("", [("NO_COLOR", "1")]),
        ("", [("TERM", "dumb")]),
        ("--color never", [("TERM", "xterm")]),
    ] {
        let told = run(words, &variables);
        assert!(!told.contains(ESCAPE), "{words} {variables:?}: {told}");
    }
    assert!(run("--color always", &[("NO_COLOR", "1")]).contains(ESCAPE));
    assert!(run("--log-format json", &[]).contains("{\"timestamp\""));
}

#[test]
fn a_wrong_filter_was_taken_silently_for_info() {
    let (dir, _) = folder("");

    for wrong in ["foo=bar=baz", "infoo"] {
        let mut command = tollhouse();
        let output = command.arg("run").env("TOLLHOUSE_LOG", wrong).current_dir(dir.path());
        let output = output.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("TOLLHOUSE_LOG") && told.contains(wrong), "{told}");
    }
    assert!(!dir.path().join("state").exists(), "nothing was begun");
}

#[test]
fn the_manual_referred_to_pages_that_did_not_exist() {
    let dir = tempfile::tempdir().unwrap();

    run_in(dir.path(), &["man", "."], "").ok();

    let page = std::fs::read_to_string(dir.path().join("tollhouse.1")).unwrap();
    let mut named = 0;
    let names = page.lines().filter_map(|line| line.strip_prefix(".BR ")?.strip_suffix(" (1)"));
    for name in names {
        let name = name.replace('\\', "");
        assert!(dir.path().join(format!("{name}.1")).exists(), "{name}(1) does not exist");
        named += 1;
    }
    assert!(named > 10, "{page}");
    for part in ["EXIT STATUS", "SIGNALS", "ENVIRONMENT", "FILES", "EXAMPLES"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let version = run_in(dir.path(), &["version", "--json"], "").ok();
    assert!(version.contains("\"target\""), "{version}");
    assert!(version.contains("\"toolchain\":\"rustc 1."), "{version}");
}
