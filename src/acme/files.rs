//! The files of accounts and certificates below `acme/` in the state folder.
//!
//! Each directory of an authority has a folder there, with the account and the certificates that it
//! has issued. A certificate and its key are one file: two files could not be replaced at one
//! moment. All of it is for the gateway's own user alone.

use std::path::{Path, PathBuf};

use http::Uri;

use crate::secret::Digest;
use crate::settings::AcmeSettings;

/// Longest readable part of a file's name; file systems limit a name to 255 bytes.
const READABLE: usize = 120;

/// The file with the chain and the key for these settings. The order of the names does not matter.
pub(crate) fn certificate_path(state: &Path, settings: &AcmeSettings) -> PathBuf {
    let mut names = settings.domains.clone();
    names.sort_unstable();
    let first = names.first().map(String::as_str).unwrap_or_default();
    let is_whole = names.len() == 1 && first.len() <= READABLE;
    let readable: String = first.chars().take(READABLE).collect();
    let stem = if is_whole {
        readable
    } else {
        format!("{readable}+{}", part_of(&Digest::of_texts(&names)))
    };
    folder(state, &settings.directory).join(format!("{stem}.pem"))
}

/// The file with the account at a directory.
pub(super) fn account_path(state: &Path, directory: &Uri) -> PathBuf {
    folder(state, directory).join("account.json")
}

/// The folder of a directory: readable, and different for every URL.
fn folder(state: &Path, directory: &Uri) -> PathBuf {
    let host: String = directory.host().unwrap_or_default().chars().take(READABLE).collect();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let host = host.replace(|c: char| !is_plain(c), "_");
    let digest = part_of(&Digest::of(directory.to_string().as_bytes()));
    state.join("acme").join(format!("{host}-{digest}"))
}

/// Enough of a digest that no two names in one configuration have the same.
fn part_of(digest: &Digest) -> String {
    digest.hex().chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(domains: &[&str], directory: &str) -> AcmeSettings {
        AcmeSettings {
            domains: domains.iter().map(|name| (*name).to_owned()).collect(),
            email: None,
            directory: directory.parse().unwrap(),
            ca: None,
            eab: None,
        }
    }

    #[test]
    fn a_file_belongs_to_one_set_of_names_at_one_directory() {
        let state = Path::new("/state");
        let path = |domains: &[&str], directory| {
            certificate_path(state, &settings(domains, directory)).display().to_string()
        };
        let one = "https://ca.test/a";

        assert!(path(&["a.test"], one).ends_with("/a.test.pem"), "one name is readable");
        assert_eq!(path(&["a.test", "b.test"], one), path(&["b.test", "a.test"], one));
        assert_ne!(path(&["a.test", "b.test"], one), path(&["a.test", "c.test"], one));
        assert_ne!(path(&["a.test"], one), path(&["a.test"], "https://ca.test/b"));
        let long = format!("{}test", format!("{}.", "a".repeat(60)).repeat(4));
        let name = path(&[&long], one);
        assert!(name.rsplit('/').next().unwrap().len() < 150, "{name}");
    }
}
