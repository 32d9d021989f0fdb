//! `[reload]`: whether changed files are put into effect without a command.

use serde::Serialize;

/// When a changed configuration comes into effect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReloadSettings {
    /// The files that the configuration names, and its own, are looked at every two seconds, and a
    /// change that has settled is a reload. `server` does it.
    pub watch: bool,
}
