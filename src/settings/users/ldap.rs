//! `kind = "ldap"`: users of a directory. A search finds the user, and a bind verifies the
//! password.

use std::path::PathBuf;
use std::time::Duration;

use super::dn::DnText;
use crate::secret::SecretString;

/// A directory as a user source.
#[derive(Clone, Debug, PartialEq)]
pub struct LdapUsers {
    /// Tried in this order. Invariant: not empty, because a section without a server is refused.
    pub servers: Vec<LdapServer>,
    /// The CA to trust instead of the public CAs: its file, and the PEM text in it.
    pub ca: Option<(PathBuf, String)>,
    /// Name and password for searches; `None`: searches are anonymous.
    pub bind: Option<(String, SecretString)>,
    /// Only entries below it are users.
    pub base: DnText,
    /// The search filter that finds a user by name; `{name}` in it stands for the name.
    pub filter: String,
    /// The filter for an e-mail address; `None`: users cannot log in by e-mail.
    pub email_filter: Option<String>,
    /// Users that match it are disabled.
    pub disabled_filter: Option<String>,
    pub attributes: LdapAttributes,
    pub groups: Option<LdapGroups>,
    /// Number of connections for searches, and as many again for verifying passwords.
    pub parallel: usize,
    /// Time for all requests of one login step together.
    pub timeout: Duration,
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub claims: Vec<(String, String)>,
}

/// The groups of a directory that give roles to their members.
#[derive(Clone, Debug, PartialEq)]
pub struct LdapGroups {
    /// Only groups below it count. Without this bound, anybody who may create a group somewhere in
    /// the directory could give themselves a role.
    pub base: DnText,
    /// Finds the groups of a user by `{dn}` or `{name}`. Unused if an attribute of the user lists
    /// them.
    pub filter: String,
    /// The attribute with a group's name.
    pub attribute: String,
    pub roles: GroupRoles,
}

/// How roles follow from groups.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupRoles {
    /// The role has the name of the group.
    ByName,
    /// The roles listed for the group; a group that is not listed gives none.
    Listed(Vec<(GroupKey, Vec<String>)>),
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
