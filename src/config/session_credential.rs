//! `credential = "session"` of an `[[upstream]]`: whose credentials of a legacy system it gets.
//!
//! They are of one source of users. Where only one source keeps credentials, it is meant; else the
//! operator names it, so that no system sees what another one gave out. `credential` calls this file.

use super::item::SpannedValue;
use super::names::SectionNames;
use crate::settings::{SessionCredential, SourceSettings};

/// The word for it, and the key that names the source.
pub(super) const SESSION: &str = "session";

/// The sources of users whose credentials are kept.
#[derive(Default)]
pub(super) struct KeepingSources {
    sources: Vec<SessionCredential>,
    /// A source could not be read, so it may be the one that is missing.
    is_incomplete: bool,
}

impl KeepingSources {
    /// Those among `users`; `names` has all names that are in the file.
    pub(super) fn new(users: &[SourceSettings], names: &SectionNames) -> Self {
        Self {
            sources: users.iter().filter_map(SessionCredential::of).collect(),
            is_incomplete: names.is_incomplete() || names.iter().count() > users.len(),
        }
    }

    /// The only source that keeps credentials. None and several are reported.
    pub(super) fn only(&self, item: &SpannedValue<'_>) -> Option<SessionCredential> {
        match self.sources.as_slice() {
            [only] => return Some(only.clone()),
            [] if self.is_incomplete => {}
            [] => item.issue("needs [[users]] of kind = \"http\" with keep = true"),
            several => {
                let names: Vec<&str> = several.iter().map(|one| one.source.as_str()).collect();
                item.issue(format!(
                    "is of several users ({}): name those of this upstream's own system, {{ session = \"{}\" }}",
                    names.join(", "),
                    names.first().copied().unwrap_or_default()
                ));
            }
        }
        None
    }

    /// The source that `item` names. One that keeps nothing is reported.
    pub(super) fn refer(
        &self,
        item: &SpannedValue<'_>,
        names: &SectionNames,
    ) -> Option<SessionCredential> {
        let name = names.refer(item)?;
        let named = self.sources.iter().find(|one| one.source == name);
        if named.is_none() && !self.is_incomplete {
            item.issue("has no credentials: it needs kind = \"http\" with keep = true");
        }
        named.cloned()
    }
}
