//! The result of `config::load`: a configuration with its warnings, and the position of each of its
//! keys.
//!
//! The positions are kept for faults that are found later, when files are opened or certificates
//! are compared. `server::check` reports such faults in the same form as the reader of the
//! configuration.

use std::collections::BTreeMap;

use super::accepted::AcceptedWarning;
use super::issues::{Issue, IssueSeverity};
use super::key_path::{FilePosition, KeyPath};
use crate::settings::Config;

/// A configuration without errors, with the warnings about it.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// The checked configuration: no stand-in for a faulty value is in it.
    pub config: Config,
    /// The warnings that the operator has not accepted, in the order of the file.
    pub warnings: Vec<Issue>,
    /// The position of each key in the file, for problems that are found after reading, such as a
    /// certificate that does not match its key. Without it, such a problem would be reported with a
    /// key path and no line.
    pub places: BTreeMap<String, FilePosition>,
    /// The names of files and the places of secrets as they are written, by key path:
    /// `listener[0].tls.certificates[0].key`. `check --print` shows them.
    pub(super) written: BTreeMap<String, toml::Value>,
    /// The warnings that the operator has accepted for good, with `accept`.
    pub(super) accepted: Vec<AcceptedWarning>,
}

impl LoadedConfig {
    /// An issue about `path` that was found after reading. If the file does not have the key,
    /// because a default holds, the position is that of the table around it.
    pub fn issue(&self, path: KeyPath, severity: IssueSeverity, remedy: String) -> Issue {
        let position = self.position(&path);
        Issue { position, path, value: String::new(), remedy, severity }
    }

    /// Whether the operator has accepted a warning, so that nothing is said of it.
    pub fn accepts(&self, warning: &Issue) -> bool {
        self.accepted.iter().any(|one| one.covers(warning))
    }

    /// The position of a key, or else of the nearest table around it.
    pub fn position(&self, path: &KeyPath) -> Option<FilePosition> {
        path.outwards().find_map(|at| self.places.get(at.as_str()).copied())
    }
}
