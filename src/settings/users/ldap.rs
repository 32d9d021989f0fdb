//! `kind = "ldap"`: users of a directory. A search finds the user, and a bind verifies the
//! password.

use std::path::PathBuf;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::dn::DnText;
use crate::secret::SecretString;
use crate::settings::written;

/// A directory as a user source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LdapUsers {
    /// Tried in this order. Invariant: not empty, because a section without a server is refused.
    #[serde(flatten, serialize_with = "addresses")]
    pub servers: Vec<LdapServer>,
    /// The CA to trust instead of the public CAs: its file, and the PEM text in it.
    #[serde(serialize_with = "written::maybe_hidden")]
    pub ca: Option<(PathBuf, String)>,
    /// Name and password for searches; `None`: searches are anonymous.
    #[serde(flatten, serialize_with = "bind")]
    pub bind: Option<(String, SecretString)>,
    /// Only entries below it are users.
    #[serde(serialize_with = "written::text")]
    pub base: DnText,
    /// The search filter that finds a user by name; `{name}` in it stands for the name.
    pub filter: String,
    /// The filter for an e-mail address; `None`: users cannot log in by e-mail.
    pub email_filter: Option<String>,
    /// Users that match it are disabled.
    pub disabled_filter: Option<String>,
    pub attributes: LdapAttributes,
    /// Number of connections for searches, and as many again for verifying passwords.
    pub parallel: usize,
    /// Time for all requests of one login step together.
    #[serde(serialize_with = "written::duration")]
    pub timeout: Duration,
    pub groups: Option<LdapGroups>,
}

/// One server of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapServer {
    /// `ldap://host:port` or `ldaps://host:port`.
    pub url: String,
    /// StartTLS is required before any other request is sent.
    pub starttls: bool,
}

/// The attributes that facts about a user are read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LdapAttributes {
    pub id: String,
    pub name: String,
    pub email: String,
    /// Its values are names of roles.
    pub roles: Option<String>,
    /// Its values are names of scopes.
    pub scopes: Option<String>,
    /// Its values are the DNs of the user's groups, as in `memberOf`.
    pub groups: Option<String>,
    /// Pairs of a claim and the attribute that it is read from.
    #[serde(serialize_with = "written::entries", skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<(String, String)>,
}

/// The groups of a directory that give roles to their members.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LdapGroups {
    /// Only groups below it count. Without this bound, anybody who may create a group somewhere in
    /// the directory could give themselves a role.
    #[serde(serialize_with = "written::text")]
    pub base: DnText,
    /// Finds the groups of a user by `{dn}` or `{name}`. Unused if an attribute of the user lists
    /// them.
    pub filter: String,
    /// The attribute with a group's name.
    pub attribute: String,
    pub roles: GroupRoles,
}

/// How roles follow from groups.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum GroupRoles {
    /// The role has the name of the group.
    #[serde(rename = "name")]
    ByName,
    /// The roles listed for the group; a group that is not listed gives none.
    #[serde(untagged)]
    Listed(#[serde(serialize_with = "written::entries")] Vec<(GroupKey, Vec<String>)>),
}

/// How a listed group is identified.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupKey {
    Dn(DnText),
    Name(String),
}

impl LdapUsers {
    /// True if user ids are UUIDs, which the directory makes itself and never reuses.
    pub(crate) fn has_unique_ids(&self) -> bool {
        [LdapAttributes::ENTRY_UUID, "objectGUID"]
            .iter()
            .any(|id| self.attributes.id.eq_ignore_ascii_case(id))
    }
}

impl LdapAttributes {
    /// An operational attribute of directories that follow RFC 4530; it survives a renaming.
    pub(crate) const ENTRY_UUID: &str = "entryUUID";
}

/// The addresses, and how TLS begins there. The key `tls` is for `ldap://` only.
fn addresses<S: Serializer>(servers: &[LdapServer], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    let urls: Vec<&str> = servers.iter().map(|server| server.url.as_str()).collect();
    map.serialize_entry("url", &urls)?;
    let is_plain = |server: &LdapServer| !server.starttls && server.url.starts_with("ldap:");
    if servers.iter().any(is_plain) {
        map.serialize_entry("tls", "none")?;
    } else if servers.iter().any(|server| server.starttls) {
        map.serialize_entry("tls", "starttls")?;
    }
    map.end()
}

fn bind<S: Serializer>(
    bind: &Option<(String, SecretString)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    if let Some((name, password)) = bind {
        map.serialize_entry("bind_dn", name)?;
        map.serialize_entry("bind_password", password)?;
    }
    map.end()
}

impl AsRef<str> for GroupKey {
    fn as_ref(&self) -> &str {
        match self {
            Self::Dn(name) => name.as_str(),
            Self::Name(name) => name,
        }
    }
}
