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

    let mut rest = told.as_str();
    for (part, why) in [
        ("\"path\": \"/hello\"", "the echo saw the call"),
        ("token_revoked", "refused after the logout"),
        ("\"path\": \"/api/v2/calls\"", "webitel's pair is taken"),
        ("Successful logout.", "webitel's logout"),
        ("access_token", "datarhei's refresh"),
        ("\"path\": \"/api/v3/process\"", "datarhei's call"),
        ("\"token\"", "aviate's login"),
        ("\"isSuccess\":true", "nomic's login"),
    ] {
        let (_, after) = rest.split_once(part).unwrap_or_else(|| panic!("{why}: {told}"));
        rest = after;
    }
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
