//! What the first start says to paste, pasted. The README is run as a page of the book.

use crate::harness::process::{Process, bash, until};

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

/// The block used variables that it did not set, `--json` and, in the README, here-strings.
#[test]
fn the_printed_block_did_not_run_in_sh_as_it_was_printed() {
    let gateway = Process::sample();
    gateway.first_password();
    let told = until("printed", || Some(gateway.stdout()).filter(|told| told.contains("# avenia")));
    let (intro, block) = told.split_once("terminal:\n").unwrap();
    assert!(intro.contains("first-password"), "it says where the password is: {intro}");
    // What curl 7.68 or dash do not have.
    for newer in ["--json", "<<<", "--fail-with-body", "[[", "$'"] {
        assert!(!block.contains(newer), "{newer}: {block}");
    }

    // From another folder, as pasted into another terminal.
    let output = std::process::Command::new("dash")
        .args(["-eu", "-c", block])
        .current_dir("/")
        .output()
        .unwrap();

    let (told, failed) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && failed.is_empty(), "{failed}{told}");
    let mut rest = told.as_str();
    for (part, why) in [
        ("\"path\": \"/hello\"", "native's token is taken"),
        ("\"path\": \"/api/v2/calls\"", "webitel's pair is taken"),
        ("access_token", "datarhei's login"),
        ("\"token\"", "aviate's login"),
        ("\"isSuccess\":true", "nomic's login"),
    ] {
        let (_, after) = rest.split_once(part).unwrap_or_else(|| panic!("{why}: {told}"));
        rest = after;
    }
}

#[test]
fn a_documented_path_of_aviate_with_two_slashes_reaches_the_sample_upstream() {
    let gateway = Process::sample();
    let script = format!(
        "GATEWAY=https://127.0.0.1:{}; TOKEN=$(curl -sk -X POST \
         $GATEWAY/plugins/aviate-plugin/v1/auth -u admin@example.com:$PASSWORD \
         | sed 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/')\n\
         curl -sk $GATEWAY/plugins/aviate-plugin/v1/metering//billingMeters/all \
         -H \"Authorization: Bearer $TOKEN\"",
        gateway.port
    );

    let told = bash(&script, &[("PASSWORD", &gateway.first_password())]);

    // The sample's own member: a refusal would name the path, too.
    let echoed = r#""path": "/plugins/aviate-plugin/v1/metering//billingMeters/all""#;
    assert!(told.contains(echoed), "{told}");
}
