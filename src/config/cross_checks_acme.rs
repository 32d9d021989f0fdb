//! Rules about `acme` of several listeners: an account belongs to a directory, so all listeners that
//! use the directory must mean the same account; and two orders for the same names would be one too
//! many. `cross_checks` is the caller.

use super::ConfigDraft;
use super::document::Document;
use super::location::Location;
use crate::settings::AcmeSettings;

/// Reports listeners whose `acme` names one directory and different accounts.
pub(super) fn check(reading: &Document<'_>, draft: &ConfigDraft) {
    let listeners = draft.config.listeners.iter().zip(&draft.listeners);
    let mut seen: Vec<(&AcmeSettings, &Location)> = Vec::new();
    for (listener, at) in listeners {
        let Some(acme) = &listener.acme else { continue };
        let earlier = seen.iter().find(|(first, _)| first.directory == acme.directory);
        if let Some((first, first_at)) = earlier {
            for (key, is_same) in [
                ("email", first.email == acme.email),
                ("ca", first.ca == acme.ca),
                ("eab", first.eab == acme.eab),
            ] {
                if !is_same {
                    let remedy = format!(
                        "must be that of {}{}: both have the account at {}",
                        first_at.at,
                        first_at.named(),
                        acme.directory
                    );
                    at.at("acme").at(key).issue(reading, String::new(), remedy);
                }
            }
        }
        seen.push((acme, at));
    }
}
