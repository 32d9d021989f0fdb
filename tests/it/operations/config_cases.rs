//! Configurations and what is said of them: every file in `tests/cases/config`.
//!
//! A case is TOML, a line of dashes, and the issues as the operator reads them, or `ok` (with the
//! warnings, if there are any). `TOLLHOUSE_BLESS=1` writes what is said now into the files; read
//! the difference before committing it.

// The helpers are part of the tests: what fails here fails one.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tollhouse::config::{self, Issue, IssueSeverity, Issues, LoadedConfig, WarningName};

const DASHES: &str = "\n----------------------------------------\n";

fn manifest(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn variable(name: &str) -> Option<String> {
    match name {
        "LONG_SECRET" => Some("0123456789abcdef0123456789abcdef".to_owned()),
        "SHORT_SECRET" => Some("hunter2".to_owned()),
        "DATABASE_URL" => Some("postgres://gateway:hunter2@127.0.0.1/users".to_owned()),
        "STORE_SEAL" => Some("07".repeat(32)),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

/// A folder with the files that cases name, readable by their owner alone: a checkout keeps no
/// such permissions.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(manifest("tests/cases/config/files")).unwrap() {
        let file = file.unwrap();
        let copy = folder.path().join(file.file_name());
        fs::write(&copy, fs::read(file.path()).unwrap()).unwrap();
        set_mode(&copy, 0o600);
    }
    folder
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn parse(text: &str, folder: &Path) -> Result<LoadedConfig, Issues> {
    config::parse(text, &folder.join("gateway.toml"), &variable)
}

/// What the operator reads, without the folder's random name.
fn said(text: &str, folder: &Path) -> String {
    let path = folder.join("gateway.toml");
    let said = match parse(text, folder) {
        Ok(loaded) if loaded.warnings.is_empty() => "ok\n".to_owned(),
        Ok(loaded) => format!("ok\n\n{}", Issues::new(&path, loaded.warnings)),
        Err(issues) => issues.to_string(),
    };
    said.replace(&format!("{}/", folder.display()), "")
}

#[test]
fn every_case_says_what_it_should() {
    let folder = folder();
    let bless = std::env::var_os("TOLLHOUSE_BLESS").is_some();
    let mut cases: Vec<PathBuf> = fs::read_dir(manifest("tests/cases/config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    cases.sort();
    let mut wrong = Vec::new();
    for case in &cases {
        let text = fs::read_to_string(case).unwrap();
        let (toml, expected) = text.split_once(DASHES).unwrap_or((&text, ""));
        let said = said(toml, folder.path());
        if bless {
            fs::write(case, format!("{toml}{DASHES}{said}")).unwrap();
        } else if said != expected {
            wrong.push(format!("{}\nexpected:\n{expected}\nsaid:\n{said}", case.display()));
        }
    }
    assert!(cases.len() >= 25, "the cases were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_old_name_of_a_key_still_sets_it() {
    let folder = folder();
    let text = fs::read_to_string(manifest("tests/cases/config/renamed.toml")).unwrap();
    let toml = text.split_once(DASHES).unwrap().0;

    let loaded = parse(toml, folder.path()).unwrap();

    assert_eq!(loaded.config.process.background_threads, 3);
}

#[test]
fn no_secret_is_ever_said() {
    let folder = folder();
    for line in [
        "[mail]\npassword = \"hunter2\"",
        "[mail]\npassword = [\"hunter2\"]",
        "[mail]\npasword = \"hunter2\"",
        "[[issuer]]\nsecret = \"hunter2\"",
        "[[issuer]]\nalgorithms = [\"HS256\"]\nsecret = { env = \"SHORT_SECRET\" }",
        "[[upstream]]\nservers = [\"http://admin:hunter2@10.0.0.5\"]",
        "[[route]]\nrequest_headers = { set = { Authorization = \"hunter2\" } }",
        "[[upstream]]\ncredential = { basic = \"hunter2\" }",
    ] {
        let said = said(line, folder.path());

        assert!(!said.contains("hunter2"), "{line}\n{said}");
    }
}

#[test]
fn a_key_that_others_can_read_is_a_warning_and_one_they_can_write_is_refused() {
    let folder = folder();
    let text = fs::read_to_string(manifest("tests/cases/config/certificates.toml")).unwrap();
    let toml = text.split_once(DASHES).unwrap().0;

    set_mode(&folder.path().join("server.key"), 0o640);
    let warned = said(toml, folder.path());
    set_mode(&folder.path().join("server.key"), 0o602);
    let refused = said(toml, folder.path());
    set_mode(&folder.path().join("server.key"), 0o600);
    let quiet = said(toml, folder.path());

    assert!(warned.starts_with("ok\n\n") && warned.contains("mode 640"), "{warned}");
    assert!(refused.contains("problem") && refused.contains("mode 602"), "{refused}");
    assert!(quiet.starts_with("ok\n") && !quiet.contains("mode"), "{quiet}");
}

#[test]
fn one_newline_at_the_end_of_a_secret_file_is_not_part_of_it() {
    let folder = folder();
    let file = folder.path().join("mail-password");
    let text = fs::read_to_string(manifest("tests/cases/config/mail.toml")).unwrap();
    let toml = text.split_once(DASHES).unwrap().0;
    for (held, expected) in
        [("pass", "pass"), ("pass\n", "pass"), ("pass\n\n", "pass\n"), (" p ", " p ")]
    {
        fs::write(&file, held).unwrap();

        let mail = parse(toml, folder.path()).unwrap().config.mail.unwrap();

        assert_eq!(mail.password.unwrap().expose(), expected, "{held:?}");
    }
}

#[test]
fn a_mode_of_the_admin_socket_that_means_something_else_is_refused() {
    let folder = folder();
    let text = fs::read_to_string(manifest("tests/cases/config/admin_socket.toml")).unwrap();
    let toml = text.split_once(DASHES).unwrap().0;
    let group = "{ group = \"root\" }";
    assert!(toml.contains(group));
    for (socket, remedy) in [
        (r#"{ group = "root", mode = "0666" }"#, "everybody on this machine"),
        (r#"{ group = "root", mode = "661" }"#, "everybody on this machine"),
        (r#"{ group = "root", mode = "0770" }"#, "mean nothing for a socket"),
        (r#"{ group = "root", mode = "4660" }"#, "mean nothing for a socket"),
        (r#"{ group = "root", mode = "0060" }"#, "the gateway's own user out"),
        (r#"{ group = "root", mode = "0600" }"#, "keeps the group out"),
        (r#"{ mode = "0660" }"#, "a group in that is not named"),
        (r#"{ group = "root", mode = "0668" }"#, "octal digits"),
        (r#"{ group = "root", mode = "rw-rw----" }"#, "octal digits"),
        (r#"{ group = "root", mode = "66" }"#, "octal digits"),
        (r#"{ group = "root", mode = "+660" }"#, "octal digits"),
        (r#"{ group = "root", mode = 660 }"#, "octal digits"),
        (r#"{ group = "no such group" }"#, "no such group in /etc/group"),
        (r#"{ group = "4294967295" }"#, "no such group in /etc/group"),
        (r#"{ group = "" }"#, "must not be empty"),
        (r#""0660""#, "must be a table"),
    ] {
        let said = said(&toml.replace(group, socket), folder.path());

        assert!(said.contains("problem") && said.contains("line 9"), "{socket}: {said}");
        assert!(said.contains("admin.socket") && said.contains(remedy), "{socket}: {said}");
        assert_eq!(said.matches("  line ").count(), 1, "said once: {said}");
    }
    for socket in [r#"{ group = "0", mode = "0620" }"#, r#"{ mode = "600" }"#, "{}"] {
        let said = said(&toml.replace(group, socket), folder.path());
        assert!(said.starts_with("ok\n"), "{socket}: {said}");
    }
}

fn sample() -> String {
    fs::read_to_string(manifest("gateway.toml")).unwrap()
}

#[test]
fn the_sample_runs_as_it_is() {
    let folder = folder();

    let loaded = parse(&sample(), folder.path()).unwrap();

    let warned: Vec<&str> = loaded.warnings.iter().map(|issue| issue.path.as_str()).collect();
    assert!(
        warned.is_empty(),
        "it accepts what it means, and nothing else is to be said: {warned:?}"
    );
}

/// Lines that begin with `#` and a key or a value state the default.
fn with_defaults_stated(text: &str) -> String {
    let states = |line: &str| {
        line.strip_prefix('#')
            .filter(|rest| rest.starts_with(|letter: char| letter.is_ascii_lowercase()))
            .map(str::to_owned)
    };
    text.lines().map(|line| states(line).unwrap_or(line.to_owned()) + "\n").collect()
}

#[test]
fn the_defaults_that_the_sample_states_are_the_defaults() {
    let folder = folder();
    let (text, stated) = (sample(), with_defaults_stated(&sample()));

    let loaded = parse(&text, folder.path()).unwrap();
    let with_stated = parse(&stated, folder.path()).unwrap_or_else(|issues| panic!("{issues}"));

    assert_ne!(text, stated);
    assert_eq!(loaded.print(), with_stated.print());
}

#[test]
fn the_sample_names_every_key() {
    let named = named_keys(&sample());

    let missing: Vec<String> = config::keys()
        .into_iter()
        .filter(|key| {
            let name = key.rsplit('.').next().unwrap_or_default();
            // One `cors` table stands for all of them.
            let section =
                if key.contains(".cors.") { "login" } else { key.split('.').next().unwrap() };
            !named.contains(&(section.to_owned(), name.to_owned()))
        })
        .collect();

    assert!(missing.is_empty(), "not in gateway.toml: {missing:?}");
    assert!(config::keys().len() > 150, "the keys were found");
}

/// Every `name =` and `[name]` of a file, in comments too, each with the section it stands in.
fn named_keys(text: &str) -> BTreeSet<(String, String)> {
    let mut section = String::new();
    let mut named = BTreeSet::new();
    for line in text.lines().map(|line| line.trim_start_matches(['#', ' '])) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_start_matches('[').split(']').next().unwrap_or_default();
            section = header.split('.').next().unwrap_or_default().to_owned();
            named.extend(header.split('.').map(|name| (section.clone(), name.to_owned())));
        }
        let words = line.replace(['{', ',', '(', '`', '[', '.'], " ");
        let words: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
        for (name, _) in words.iter().zip(words.iter().skip(1)).filter(|(_, next)| **next == "=") {
            named.insert((section.clone(), (*name).to_owned()));
        }
    }
    // Sections without a header of their own name stand in prose.
    named.extend(["dialect"].map(|name| (name.to_owned(), name.to_owned())));
    named
}

#[test]
fn what_check_prints_passes_check_and_says_where_secrets_come_from() {
    let folder = folder();
    let mut texts = vec![sample()];
    for case in fs::read_dir(manifest("tests/cases/config")).unwrap() {
        let case = case.unwrap().path();
        if case.extension().is_some_and(|extension| extension == "toml") {
            let text = fs::read_to_string(case).unwrap();
            texts.push(text.split_once(DASHES).unwrap().0.to_owned());
        }
    }
    texts.retain(|text| parse(text, folder.path()).is_ok());
    assert!(texts.len() > 20, "most cases are fine");
    for text in texts {
        let first = parse(&text, folder.path()).unwrap_or_else(|issues| panic!("{issues}"));
        let printed = first.print();

        let again = parse(&printed, folder.path());

        let again = again.unwrap_or_else(|issues| panic!("{issues}\n{printed}"));
        assert_eq!(again.print(), printed);
        let routes = |loaded: &LoadedConfig| -> Vec<String> {
            loaded.config.routes.iter().map(|route| route.name.clone()).collect()
        };
        assert_eq!(routes(&again), routes(&first), "{printed}");
        // Keys are printed by their present names.
        let renamed = IssueSeverity::Warning(WarningName::RenamedKey);
        let names = |warnings: &[Issue]| -> Vec<_> {
            let kept = warnings.iter().filter(|issue| issue.severity != renamed);
            kept.map(|issue| (issue.path.clone(), issue.severity)).collect()
        };
        let (mut before, mut after) = (names(&first.warnings), names(&again.warnings));
        before.sort();
        after.sort();
        assert_eq!(before, after, "{printed}");
    }
}

#[test]
fn printing_hides_secrets() {
    let folder = folder();
    let text = fs::read_to_string(manifest("tests/cases/config/secrets.toml")).unwrap();

    let printed = parse(text.split_once(DASHES).unwrap().0, folder.path()).unwrap().print();

    assert!(printed.contains("env = \"LONG_SECRET\""), "{printed}");
    assert!(!printed.contains("0123456789abcdef") && !printed.contains("from a file"), "{printed}");
}

#[test]
fn a_file_that_cannot_be_read_is_an_issue_too() {
    let issues = config::load(Path::new("no/such/gateway.toml"), &|_| None).unwrap_err();

    let said: Vec<&Issue> = issues.iter().collect();
    assert_eq!(said.len(), 1);
    assert!(said[0].remedy.contains("there is no such file"), "{issues}");
}

#[test]
fn logins_resolve_over_their_dialect_over_the_token_section() {
    let folder = folder();
    let text = fs::read_to_string(manifest("tests/cases/config/lifetimes.toml")).unwrap();

    let config = parse(text.split_once(DASHES).unwrap().0, folder.path()).unwrap().config;

    let seen: Vec<_> = config
        .logins
        .iter()
        .map(|login| {
            let idle = login.refresh_idle.map(|idle| idle.as_secs());
            let (access, refresh) = (login.access_ttl.as_secs(), login.refresh_ttl.as_secs());
            (login.name.as_str(), login.algorithm.as_str(), access, refresh, idle)
        })
        .collect();
    let day = 86_400;
    assert_eq!(
        seen,
        [
            ("native", "ES384", 300, 10 * day, Some(7 * day)),
            ("webitel", "ES384", day, day, None),
            ("nomic", "RS256", 7200, day, None),
            ("short", "PS256", 60, 3600, None),
        ],
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever is cut out of the sample or put into it, the answer is a configuration or issues.
    #[test]
    fn no_damage_to_a_file_is_worse_than_an_issue(
        at in 0_usize..20_000,
        length in 0_usize..200,
        put in "[\\[\\]{}=\"'#.,a-z0-9$% \\n\u{e9}]{0,12}",
    ) {
        let text: Vec<char> = sample().chars().collect();
        let at = at.min(text.len());
        let end = (at + length).min(text.len());
        let (before, after): (String, String) =
            (text[..at].iter().collect(), text[end..].iter().collect());
        let damaged = before + &put + &after;

        match parse(&damaged, Path::new("/nowhere")) {
            Ok(loaded) => proptest::prop_assert!(!loaded.print().is_empty()),
            Err(issues) => proptest::prop_assert!(!issues.to_string().is_empty()),
        }
    }
}
