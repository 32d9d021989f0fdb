//! `kind = "sql"`: users in a database, read with a query that the operator writes. The gateway
//! knows no schema.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::weak::AllowWeak;
use crate::secret::SecretString;
use crate::settings::written;

/// Users in PostgreSQL, MySQL, MariaDB or SQLite.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SqlUsers {
    #[serde(flatten)]
    pub database: SqlDatabase,
    /// Returns one row for a login name. The name is the only value that is bound.
    pub query: String,
    /// The same for an e-mail address; `None`: users cannot log in by e-mail.
    pub email_query: Option<String>,
    /// Replaces a hash. The new hash, the name and the old hash are bound; the old one keeps two
    /// gateways from overwriting each other. `None`: the database is only read. It runs after a
    /// login whose hash should be replaced.
    pub update: Option<String>,
    pub allow_weak: AllowWeak,
    /// After the first login, keep an argon2id hash in the gateway's store. That hash decides from
    /// then on, for as long as the hash in the database stays the same. When somebody changes it
    /// there, the new one counts at once.
    pub import: bool,
    pub columns: SqlColumns,
}

/// The address of a database, and the settings of the connections to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SqlDatabase {
    /// The URL, which may contain a password.
    pub url: SecretString,
    /// A relative path in an SQLite URL is relative to this folder.
    #[serde(skip)]
    pub folder: PathBuf,
    /// A CA to trust in addition to the public ones: its file, and the PEM text in it.
    #[serde(serialize_with = "written::maybe_hidden")]
    pub ca: Option<(PathBuf, String)>,
    /// Connect without TLS to a server on another machine.
    #[serde(rename = "tls", serialize_with = "none_or_verify")]
    pub allow_plain: bool,
    #[serde(serialize_with = "written::duration")]
    pub timeout: Duration,
    pub parallel: usize,
}

/// The columns of the query's row. Name and password must be there, and so must every column that
/// the operator has named, because they rely on it. Any other column may be missing; the user then
/// has nothing of that kind.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlColumns {
    pub id: SqlColumn,
    pub name: SqlColumn,
    pub email: SqlColumn,
    pub password: SqlColumn,
    pub roles: SqlColumn,
    pub scopes: SqlColumn,
    pub disabled: SqlColumn,
    /// Pairs of a claim and the column that it is read from.
    pub claims: Vec<(String, String)>,
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlColumn {
    pub name: String,
    /// A query without this column is refused.
    pub is_needed: bool,
}

impl From<&str> for SqlColumn {
    /// A required column of this name.
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), is_needed: true }
    }
}

impl Default for SqlColumns {
    fn default() -> Self {
        let optional = |name: &str| SqlColumn { name: name.to_owned(), is_needed: false };
        Self {
            id: optional("id"),
            name: "name".into(),
            email: optional("email"),
            password: "password".into(),
            roles: optional("roles"),
            scopes: optional("scopes"),
            disabled: optional("disabled"),
            claims: Vec::new(),
        }
    }
}

impl SqlColumns {
    /// The names of all columns that are read.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let own = self.named().into_iter().map(|(_, column)| column.name.as_str());
        own.chain(self.claims.iter().map(|(_, column)| column.as_str()))
    }

    /// The names of the columns that the query's result must have.
    pub fn needed(&self) -> impl Iterator<Item = &str> {
        let own = self.named().into_iter().filter(|(_, column)| column.is_needed);
        let own = own.map(|(_, column)| column.name.as_str());
        own.chain(self.claims.iter().map(|(_, column)| column.as_str()))
    }

    /// All columns except those of claims, each with its key in the configuration.
    fn named(&self) -> [(&'static str, &SqlColumn); 7] {
        let Self { id, name, email, password, roles, scopes, disabled, claims: _ } = self;
        [
            ("id", id),
            ("name", name),
            ("email", email),
            ("password", password),
            ("roles", roles),
            ("scopes", scopes),
            ("disabled", disabled),
        ]
    }
}

impl Serialize for SqlColumns {
    /// A column that was not named is left out: naming it would make it required.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, column) in self.named().iter().filter(|(_, column)| column.is_needed) {
            map.serialize_entry(key, &column.name)?;
        }
        let claims: BTreeMap<&str, &str> =
            self.claims.iter().map(|(claim, column)| (claim.as_str(), column.as_str())).collect();
        map.serialize_entry("claims", &claims)?;
        map.end()
    }
}

fn none_or_verify<S: Serializer>(allow_plain: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *allow_plain { "none" } else { "verify" })
}
