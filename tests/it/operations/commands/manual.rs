//! gateway.toml(5): the commented sample as a page of the manual.

use std::fs;
use std::process::{Command, Stdio};

use tollhouse::config;

use crate::harness::process::run_in;

const SAMPLE: &str = include_str!("../../../../gateway.toml");

fn page() -> String {
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), &["man", "gateway.toml"], "").ok()
}

/// The page as `man` shows it, with lines as wide as they are; nothing where there is no groff.
fn shown(page: &str) -> Option<String> {
    use std::io::Write;
    let mut groff = Command::new("groff")
        .args(["-man", "-Tutf8", "-P-cbou", "-ww", "-rLL=900n"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut input = groff.stdin.take().unwrap();
    let text = page.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = groff.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.is_empty(), "groff: {told}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The page without roff's escapes, for machines without groff.
fn unescaped(page: &str) -> String {
    let signs = [
        ("\\-", "-"),
        ("\\(aq", "'"),
        ("\\(ga", "`"),
        ("\\(dq", "\""),
        ("\\&", ""),
        ("\\(ti", "~"),
    ];
    signs.iter().fold(page.to_owned(), |text, (escape, sign)| text.replace(escape, sign))
}

#[test]
fn the_page_of_the_configuration_names_every_key() {
    let page = page();
    let plain = unescaped(&page);
    let words: std::collections::HashSet<&str> =
        plain.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').collect();

    let missing: Vec<String> = config::keys()
        .into_iter()
        .filter(|key| !key.split('.').all(|part| words.contains(part)))
        .collect();

    assert!(missing.is_empty(), "not in gateway.toml(5): {missing:?}");
    for section in ["[process]", "[[listener]]", "[[users]]", "[[route]]", "[[upstream]]"] {
        assert_eq!(plain.matches(&format!(".SH \"{section}\"")).count(), 1, "{section}");
    }
    assert!(page.starts_with(".TH gateway.toml 5 "), "{page}");
}

#[test]
fn nothing_of_the_sample_is_lost_or_changed_on_its_way_through_groff() {
    // Without groff the page is not rendered.
    let Some(shown) = shown(&page()) else {
        return;
    };
    let told: String = shown.split_whitespace().collect::<Vec<_>>().join(" ");

    for line in SAMPLE.lines() {
        let words = line.trim_start_matches(['#', ' ']).split_whitespace().collect::<Vec<_>>();
        if line.trim_start_matches(['#', ' ']).starts_with("---") {
            continue;
        }
        let line = words.join(" ");
        assert!(told.contains(&line), "{line} is not shown");
    }
    for heading in ["NAME", "DESCRIPTION", "[process]", "[[route]]", "SEE ALSO"] {
        assert!(shown.lines().any(|line| line.trim() == heading), "{heading}: {shown}");
    }
    // A setting has a line of its own, as in the file.
    assert!(shown.lines().any(|line| line.trim() == "#background_threads = 2"), "{shown}");
}

#[test]
fn the_page_goes_with_the_others_into_a_folder() {
    let dir = tempfile::tempdir().unwrap();

    run_in(dir.path(), &["man", "."], "").ok();

    assert_eq!(fs::read_to_string(dir.path().join("gateway.toml.5")).unwrap(), page());
    assert!(dir.path().join("tollhouse.1").exists());
    // A file of that name is the configuration, and stays what it is.
    fs::write(dir.path().join("gateway.toml"), "# mine\n").unwrap();
    assert_eq!(run_in(dir.path(), &["man", "gateway.toml"], "").ok(), page());
    assert_eq!(fs::read_to_string(dir.path().join("gateway.toml")).unwrap(), "# mine\n");
    run_in(dir.path(), &["man", "no-such-folder"], "").failed(1, &["no-such-folder"]);
}

#[test]
fn a_page_had_faults_that_linters_of_the_manual_find() {
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), &["man", "."], "").ok();
    let pages: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|page| page.unwrap().path()).collect();
    assert!(pages.len() > 35, "{pages:?}");

    let lint = Command::new("mandoc").args(["-Tlint", "-Wwarning"]).args(&pages).output();
    let lint = lint.expect("mandoc of Debian's package mandoc");
    let man = Command::new("man")
        .args(["--warnings=w", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
        .args(&pages)
        .output()
        .expect("man of Debian's package man-db");

    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    // A page has no date, so that a commit has the same pages whenever it is built.
    let lint = text(lint.stdout);
    let faults: Vec<&str> = lint.lines().filter(|line| !line.contains("date")).collect();
    assert_eq!(faults, Vec::<&str>::new());
    assert_eq!((man.status.code(), text(man.stderr)), (Some(0), String::new()));
}
