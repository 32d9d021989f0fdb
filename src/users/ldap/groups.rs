//! Groups of a directory -> roles.
//!
//! Only groups below the configured base count: elsewhere somebody else may make a group that is
//! called `admins` too.

use super::connection::Entry;
use crate::config::{Dn, GroupKey, GroupRoles, LdapAttributes, LdapGroups};

/// Nobody is in more; so many are a filter that finds everything.
pub(super) const MOST_GROUPS: usize = 1000;

/// How a user's groups are found and what they give.
#[derive(Debug)]
pub(super) struct Groups {
    config: LdapGroups,
    /// The attribute of a user that lists them, where they need not be searched for.
    listed_in: Option<String>,
}

impl Groups {
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

    /// The roles of the groups that the user's own entry lists. Their names are those in their
    /// DNs.
    pub(super) fn roles_listed(&self, user: &Entry) -> Vec<String> {
        let listed = user.dns(self.listed_in.as_deref().unwrap_or_default());
        let roles = listed.iter().flat_map(|dn| {
            let names: Vec<String> =
                dn.value_of(self.attribute()).map(str::to_owned).into_iter().collect();
            self.roles(dn, &names)
        });
        roles.collect()
    }

    /// The roles that a group gives.
    pub(super) fn roles_of(&self, group: &Entry) -> Vec<String> {
        let names = group.words(Some(self.attribute()));
        Dn::parse(&group.dn).map(|dn| self.roles(&dn, &names)).unwrap_or_default()
    }

    fn roles(&self, dn: &Dn, names: &[String]) -> Vec<String> {
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
