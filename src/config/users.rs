//! `[[users]]`: where users come from.

use std::path::PathBuf;

/// A source of users, asked in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct UserSource {
    pub name: String,
    pub kind: UserSourceKind,
}

/// What a source is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum UserSourceKind {
    /// `users.toml`.
    File {
        path: PathBuf,
        /// Make one user at first start if the file is missing.
        bootstrap: bool,
    },
}
