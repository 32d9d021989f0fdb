//! `tollhouse check --online` asks the authority's directory.

use serde_json::Value;

use super::{DOMAIN, listeners};
use crate::harness::Pebble;
use crate::harness::pebble::PebbleOptions;
use crate::harness::process::run_in;

const REST: &str = "[token]\nissuer = \"https://gateway.example\"\naudience = [\"legacy\"]\n\
                    [[upstream]]\nname = \"api\"\nservers = [\"http://127.0.0.1:3000\"]\n[[route]]\npath = \"/\"\nupstream = \"api\"\nauth = []\n";

#[test]
fn the_directory_is_asked_before_a_start() {
    let pebble = Pebble::start();
    let bound = Pebble::start_with(PebbleOptions { bound: true });
    let other = pebble.acme(&[DOMAIN], "").replace("/dir\"", "/nonce-plz\"");
    for (acme, ok, part) in [
        (pebble.acme(&[DOMAIN], ""), "ok", "a directory"),
        (bound.acme(&[DOMAIN], ""), "failed", "add eab"),
        (other, "failed", "is no ACME directory"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("{}{REST}", listeners(&pebble, &acme));
        std::fs::write(dir.path().join("gateway.toml"), text).unwrap();

        let told = run_in(dir.path(), &["check", "--online", "--format", "json"], "");

        let told: Value = serde_json::from_str(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"));
        let verdicts = told["verdicts"].as_array().unwrap();
        let verdict = verdicts.iter().find(|one| one["what"] == "acme").expect("it was asked");
        assert_eq!(verdict["verdict"], ok, "{verdict}");
        assert!(verdict.to_string().contains(part), "{verdict}");
        assert_eq!(verdict["key"], "listener[0].acme.directory");
    }
}
