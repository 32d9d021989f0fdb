//! `[[users]]`: the sources of users.
//!
//! The settings that all kinds of sources share are here: the name, the meaning of ids, and what
//! happens while a source is unavailable. Each kind has a file of its own for the rest. `users`
//! opens the sources that are described here.

mod file;
mod htpasswd;
mod http;
mod ldap;
mod placeholders;
mod sql;
mod weak;

use super::item::SpannedValue;
use super::names::SectionNames;
use super::own_dialects::KnownDialects;
use super::reader::TableReader;
use crate::config::warnings::WarningName;
use crate::features;
use crate::settings::{HtpasswdUsers, HttpUsers, LdapUsers, SourceKind, SourceSettings, SqlUsers};

const SHARES_IDS: [(&str, bool); 2] = [("own", false), ("shared", true)];
const KINDS: &[&str] = &["file", "htpasswd", "sql", "ldap", "http"];

impl SourceSettings {
    /// Reads one section. `None` if there is no usable source, which has been reported.
    pub(super) fn read(
        mut table: TableReader<'_>,
        names: &mut SectionNames,
        dialects: &KnownDialects,
    ) -> Option<Self> {
        let name = names.read(&mut table, None);
        let passed_over = read_passed_over(&mut table);
        let shares_ids = table.choice_or("ids", false, &SHARES_IDS);
        let kind =
            table.required("kind", "one of \"file\", \"htpasswd\", \"sql\", \"ldap\", \"http\"");
        let wanted = kind.as_ref().and_then(|item| item.text_among(&available_kinds()));
        let known = wanted.filter(|wanted| KINDS.contains(wanted));
        if let (Some(item), Some(left_out)) = (&kind, known.and_then(features::left_out)) {
            table.entries();
            item.issue(left_out.to_string());
            return None;
        }
        if let Some(form) = KINDS.iter().find(|kind| Some(**kind) == wanted) {
            table.has_form("kind", form);
        }
        let kind = match wanted {
            Some("file") => file::read(&mut table, false),
            Some("htpasswd") => SourceKind::Htpasswd(HtpasswdUsers::read(&mut table)),
            Some("ldap") => SourceKind::Ldap(Box::new(LdapUsers::read(&mut table)?)),
            Some("sql") => SourceKind::Sql(Box::new(SqlUsers::read(&mut table)?)),
            Some("http") => SourceKind::Http(Box::new(HttpUsers::read(&mut table, dialects)?)),
            other => {
                // Without a kind it is unknown which keys are right, so none of them is reported.
                table.entries();
                if let (Some(item), Some(_)) = (&kind, other) {
                    item.issue(format!("no such kind of source; there are {}", KINDS.join(", ")));
                }
                return None;
            }
        };
        Some(Self { name, kind, shares_ids, passed_over })
    }

    /// Reads a section for a command that creates or changes its file. `None` if the section is of
    /// another kind, whose faults do not matter to that command. A missing file is no problem here,
    /// since the command is about to write it.
    pub(super) fn read_file(mut table: TableReader<'_>, names: &mut SectionNames) -> Option<Self> {
        let name = names.read(&mut table, None);
        let kind = table.get("kind");
        if kind.as_ref().and_then(SpannedValue::string) != Some("file") {
            table.entries();
            return None;
        }
        let passed_over = read_passed_over(&mut table);
        let shares_ids = table.choice_or("ids", false, &SHARES_IDS);
        Some(Self { name, kind: file::read(&mut table, true), shares_ids, passed_over })
    }
}

/// The kinds that this build has.
fn available_kinds() -> Vec<&'static str> {
    KINDS.iter().copied().filter(|kind| features::left_out(kind).is_none()).collect()
}

fn read_passed_over(table: &mut TableReader<'_>) -> bool {
    table.default_is("on_unavailable", "refuse");
    let Some(item) = table.get("on_unavailable") else { return false };
    let passed_over = item.choice(&[("refuse", false), ("next", true)]).unwrap_or(false);
    // A fallback can let somebody in as another person, so it is never silent.
    if passed_over {
        item.warn(
            WarningName::NextSource,
            "asks the next source while this one is down: a user of that one may have the same name",
        );
    }
    passed_over
}
