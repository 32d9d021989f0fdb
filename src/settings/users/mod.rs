//! `[[users]]`: the sources of users. `users` opens the sources that are described here.

mod dn;
mod htpasswd;
mod http;
mod ldap;
mod sql;
mod weak;

use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::identity::IdRule;

pub use self::dn::DnText;
pub use self::htpasswd::HtpasswdUsers;
pub use self::http::{HttpUsers, LegacyNames, PasswordImport, ResponsePath, ResponseRoot, UserMap};
pub use self::ldap::{GroupKey, GroupRoles, LdapAttributes, LdapGroups, LdapServer, LdapUsers};
pub use self::sql::{SqlColumn, SqlColumns, SqlDatabase, SqlUsers};
pub use self::weak::{AllowWeak, WeakScheme};

/// A source of users. Sources are asked in the order of the file, and the first that knows a name
/// decides about it. A wrong password is not tried in the next source: an account exists in one
/// place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceSettings {
    pub name: String,
    /// Ids of this source mean the same people as equal ids of every other source with the same
    /// setting (`ids = "shared"`).
    #[serde(rename = "ids", serialize_with = "shared_or_own")]
    pub shares_ids: bool,
    /// While this source is unavailable, the next one is asked (`on_unavailable = "next"`). By
    /// default its users get 503: another source may have a different person of the same name. The
    /// fallback is therefore warned of.
    #[serde(rename = "on_unavailable", serialize_with = "next_or_refuse")]
    pub passed_over: bool,
    #[serde(flatten)]
    pub kind: SourceKind,
}

/// The kind of a source, with the settings of that kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SourceKind {
    /// A file of users that the gateway itself writes.
    File {
        path: PathBuf,
        /// Create one user at the first start, if the file is missing.
        bootstrap: bool,
        allow_weak: AllowWeak,
    },
    /// A file of Apache's `htpasswd`.
    Htpasswd(HtpasswdUsers),
    /// A directory.
    Ldap(Box<LdapUsers>),
    /// A database, asked with a query of the operator's.
    Sql(Box<SqlUsers>),
    /// A legacy system, asked in a dialect.
    Http(Box<HttpUsers>),
}

impl SourceKind {
    /// True if user ids come from the source and may be equal to ids of another source, as row
    /// numbers are. False for ids that contain the source's name, and for UUIDs. A warning about
    /// shared ids depends on it.
    pub(crate) fn has_ids_of_its_own(&self) -> bool {
        match self {
            Self::File { .. } | Self::Htpasswd(_) => false,
            Self::Ldap(ldap) => !ldap.has_unique_ids(),
            Self::Sql(_) => true,
            Self::Http(http) => http.map.id.is_some() || http.dialect.tells_id(),
        }
    }
}

impl SourceSettings {
    /// True if what a legacy system gives its users at a login is kept with their sessions.
    pub fn keeps_credentials(&self) -> bool {
        matches!(&self.kind, SourceKind::Http(users) if users.keep)
    }

    /// How far an id of this source identifies a person outside of the source.
    pub fn id_rule(&self) -> IdRule {
        match (self.shares_ids, self.kind.has_ids_of_its_own()) {
            (true, _) => IdRule::Shared,
            (false, true) => IdRule::Local,
            (false, false) => IdRule::Unique,
        }
    }
}

fn shared_or_own<S: Serializer>(shares_ids: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *shares_ids { "shared" } else { "own" })
}

fn next_or_refuse<S: Serializer>(passed_over: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *passed_over { "next" } else { "refuse" })
}
