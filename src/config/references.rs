//! The names that later sections may refer to, collected section by section.
//!
//! A reference is resolved as soon as it is read, so each section is read after those that it
//! refers to (the order is in `config::read`). Sections whose names could not be read are marked,
//! and references to them are not reported: the first fault is enough.

use std::sync::Arc;

use super::names::SectionNames;
use super::own_dialects::KnownDialects;
use super::session_credential::KeepingSources;
use crate::dialect::ErrorFormat;
use crate::settings::TokenSettings;

/// Every section of a configuration, for recognising a misspelt one.
pub(super) const SECTIONS: &[&str] = &[
    "admin",
    "api_key",
    "api_keys",
    "client_certificate",
    "dialect",
    "health",
    "issuer",
    "listener",
    "log",
    "login",
    "login_limits",
    "mail",
    "process",
    "reload",
    "route",
    "signature",
    "state",
    "store",
    "throttle",
    "token",
    "upstream",
    "users",
];

/// The names of everything that has been read so far.
pub(super) struct References {
    pub(super) token: TokenSettings,
    pub(super) users: SectionNames,
    pub(super) keeping: KeepingSources,
    pub(super) issuers: SectionNames,
    pub(super) signatures: SectionNames,
    pub(super) dialects: KnownDialects,
    pub(super) logins: SectionNames,
    pub(super) upstreams: SectionNames,
    pub(super) routes: SectionNames,
    /// The error form of routes that name none. It is large, so all of those routes share one.
    pub(super) problem: Arc<ErrorFormat>,
}

impl References {
    pub(super) fn new(token: TokenSettings, dialects: KnownDialects) -> Self {
        Self {
            token,
            users: SectionNames::new("user source"),
            keeping: KeepingSources::default(),
            issuers: SectionNames::new("issuer"),
            signatures: SectionNames::new("signature"),
            dialects,
            logins: SectionNames::new("login"),
            upstreams: SectionNames::new("upstream"),
            routes: SectionNames::new("route"),
            problem: ErrorFormat::problem(),
        }
    }

    /// Marks the sections that are written under a misspelt name, so that references to them are
    /// not reported as unknown. The misspelt section itself is reported by the root table, with a
    /// suggestion.
    pub(super) fn excuse(&mut self, is_misspelt: impl Fn(&str) -> bool) {
        for (section, names) in [
            ("users", &mut self.users),
            ("issuer", &mut self.issuers),
            ("signature", &mut self.signatures),
            ("login", &mut self.logins),
            ("upstream", &mut self.upstreams),
            ("route", &mut self.routes),
        ] {
            if is_misspelt(section) {
                names.excuse();
            }
        }
        self.dialects.is_incomplete = is_misspelt("dialect");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::SECTIONS;
    use crate::config;

    #[test]
    fn every_section_is_known_where_misspelt_ones_are_told() {
        let keys = config::keys();
        let found: BTreeSet<&str> =
            keys.iter().map(|key| key.split('.').next().unwrap_or_default()).collect();

        assert_eq!(found, SECTIONS.iter().copied().collect());
    }
}
