//! What the README and the first start say to paste, pasted.

use crate::harness::process::{Process, bash, root};

#[test]
fn every_line_of_the_readme_runs_against_the_sample_configuration() {
    let gateway = Process::sample();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, after) = readme.split_once("<!-- run -->\n```sh\n").unwrap();
    let (script, _) = after.split_once("```").unwrap();
    let script = script.replace("127.0.0.1:8443", &format!("127.0.0.1:{}", gateway.port));
    let password = gateway.first_password();

    let told = bash(&script, &[("PASSWORD", &password)]);

    let lines: Vec<&str> = told.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines[0].contains("\"path\":\"/hello\""), "the echo saw the call: {told}");
    assert!(lines[1].contains("token_revoked"), "refused after the logout: {told}");
    assert!(lines[2].contains("\"path\":\"/api/v2/calls\""), "webitel's pair is taken: {told}");
    assert!(lines[3].contains("Successful logout."), "{told}");
    assert!(lines[4].contains("access_token"), "datarhei's refresh: {told}");
    assert!(lines[5].contains("\"path\":\"/api/v3/process\""), "datarhei's call: {told}");
    assert!(lines[6].contains("\"token\""), "aviate: {told}");
    assert!(lines[7].contains("\"isSuccess\":true"), "nomic: {told}");
    assert_eq!(lines.len(), 8, "{told}");
}

#[test]
fn the_first_start_prints_what_to_paste_and_keeps_the_password_from_the_output() {
    let gateway = Process::sample();
    let password = gateway.first_password();

    let told = gateway.stdout();

    for dialect in ["native", "webitel", "datarhei", "aviate", "nomic", "avenia"] {
        assert!(told.contains(&format!("# {dialect}")), "{told}");
    }
    assert!(!told.contains(&password), "not a terminal, so not in the output");
}
