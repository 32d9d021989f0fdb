//! From the groups of a directory to roles.
//!
//! Only groups below the configured base count: elsewhere in the directory, people with fewer
//! rights may be able to create a group that is also called `admins`.

use super::connection::DirectoryEntry;
use crate::settings::{DnText, GroupKey, GroupRoles, LdapAttributes, LdapGroups};

/// Most groups of one user. A filter that finds more is probably wrong and matches every group.
pub(super) const MOST_GROUPS: usize = 1000;

/// How the groups of a user are found, and which roles they give.
#[derive(Debug)]
pub(super) struct GroupMapping {
    config: LdapGroups,
    /// The attribute of a user's entry that lists the groups; `None` if groups are searched for.
    listed_in: Option<String>,
}

impl GroupMapping {
    pub(super) fn new(config: LdapGroups, attributes: &LdapAttributes) -> Self {
        Self { config, listed_in: attributes.groups.clone() }
    }

    pub(super) fn are_listed(&self) -> bool {
        self.listed_in.is_some()
    }

    pub(super) fn base(&self) -> &str {
        self.config.base.as_str()
    }

    pub(super) fn filter(&self) -> &str {
        &self.config.filter
    }

    pub(super) fn attribute(&self) -> &str {
        &self.config.attribute
    }

    /// The roles of the groups that the user's own entry lists. The names of the groups are taken
    /// from their DNs.
    pub(super) fn roles_listed(&self, user: &DirectoryEntry) -> Vec<String> {
        let listed = user.dns(self.listed_in.as_deref().unwrap_or_default());
        let roles = listed.iter().flat_map(|dn| {
            let names: Vec<String> =
                dn.value_of(self.attribute()).map(str::to_owned).into_iter().collect();
            self.roles(dn, &names)
        });
        roles.collect()
    }

    /// The roles that this group gives.
    pub(super) fn roles_of(&self, group: &DirectoryEntry) -> Vec<String> {
        let names = group.words(Some(self.attribute()));
        DnText::parse(&group.dn).map(|dn| self.roles(&dn, &names)).unwrap_or_default()
    }

    fn roles(&self, dn: &DnText, names: &[String]) -> Vec<String> {
        // The base is checked for every group, listed or found: the user's entry may list groups
        // from anywhere in the directory.
        if !dn.is_below(&self.config.base) {
            return Vec::new();
        }
        let GroupRoles::Listed(list) = &self.config.roles else { return names.to_vec() };
        let is_meant = |key: &GroupKey| match key {
            GroupKey::Dn(key) => key == dn,
            GroupKey::Name(key) => {
                names.iter().any(|name| name.to_lowercase() == key.to_lowercase())
            }
        };
        let meant = list.iter().filter(|(key, _)| is_meant(key));
        meant.flat_map(|(_, roles)| roles.clone()).collect()
    }
}
