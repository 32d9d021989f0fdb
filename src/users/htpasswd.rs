//! The parser for an `htpasswd` file and its file of groups.
//!
//! A line is `name:hash`, or `group: name name`; blank lines and lines that begin with `#` are
//! ignored. Every hash that `password` can read is accepted. Hashes that Apache makes without `-B`,
//! `-2` or `-5` are refused, each with its line and a remedy. A name that occurs twice is refused
//! as well: another program might take the other line.

use std::collections::HashMap;

use super::canonical::canonical_name;
use super::problem::FileProblem;
use super::reader::text_problem;
use super::user_table::{self, UserTable};
use crate::identity::UserProfile;
use crate::passwords::{BadHash, StoredHash};
use crate::settings::AllowWeak;

/// A user as one line of the file describes them.
#[derive(Debug)]
pub(super) struct HtpasswdLine {
    name: String,
    password: StoredHash,
}

/// Canonical names of users, each with the user's groups in the order of the file.
pub(super) type HtpasswdGroups = HashMap<String, Vec<String>>;

/// The lines with content, numbered from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    numbered.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
}

fn problem(line: usize, message: impl Into<String>) -> FileProblem {
    FileProblem { line, path: String::new(), message: message.into() }
}

/// Parses an `htpasswd` file, or lists all of its problems.
pub(super) fn read_users(
    text: &str,
    allowed: &AllowWeak,
) -> Result<Vec<HtpasswdLine>, Vec<FileProblem>> {
    let mut problems = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut found = Vec::new();
    for (number, line) in lines(text) {
        match read_line(line, allowed) {
            Ok(line) => match seen.insert(canonical_name(&line.name), number) {
                Some(earlier) => problems.push(problem(
                    number,
                    format!(
                        "the name `{}` is the same as in line {earlier}, case and spacing aside",
                        line.name
                    ),
                )),
                None => found.push(line),
            },
            Err(message) => problems.push(problem(number, message)),
        }
    }
    if found.is_empty() && problems.is_empty() {
        // An editor or a script may empty the file before it writes it again. An empty file is
        // therefore an error, and the last good users stay; else everybody would be logged out.
        problems.push(problem(1, "the file has no users; add one with `htpasswd -B FILE NAME`"));
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

fn read_line(line: &str, allowed: &AllowWeak) -> Result<HtpasswdLine, String> {
    let Some((name, hash)) = line.split_once(':') else {
        // The line may be a password in clear text, so the message does not repeat it.
        return Err("is not `name:hash`; make it with `htpasswd -B FILE NAME`".to_owned());
    };
    if let Some(message) = text_problem(name) {
        return Err(format!("the name {message}"));
    }
    let password = StoredHash::parse_allowing(hash, allowed).map_err(|bad| match bad {
        BadHash::TooCostly { .. } => format!("the hash of `{name}` {bad}"),
        _ => format!("the hash of `{name}` {bad}; re-create it with `htpasswd -B FILE {name}`"),
    })?;
    Ok(HtpasswdLine { name: name.to_owned(), password })
}

/// Parses a file of groups. Members without an entry in the users' file are ignored, as Apache
/// does.
pub(super) fn read_groups(text: &str) -> Result<HtpasswdGroups, Vec<FileProblem>> {
    let mut problems = Vec::new();
    let mut groups = HtpasswdGroups::new();
    for (number, line) in lines(text) {
        let Some((group, members)) = line.split_once(':') else {
            problems.push(problem(number, "is not `group: name name`"));
            continue;
        };
        if let Some(message) = text_problem(group) {
            problems.push(problem(number, format!("the group's name {message}")));
            continue;
        }
        for member in members.split_ascii_whitespace() {
            let of_member = groups.entry(canonical_name(member)).or_default();
            if !of_member.iter().any(|known| known == group) {
                of_member.push(group.to_owned());
            }
        }
    }
    if problems.is_empty() { Ok(groups) } else { Err(problems) }
}

/// The users of source `source`: each has the configured `roles` and, as further roles, the groups
/// that the user is in.
pub(super) fn table(
    lines: Vec<HtpasswdLine>,
    roles: &[String],
    groups: &HtpasswdGroups,
    source: &str,
) -> UserTable {
    let entries = lines.into_iter().map(|line| {
        let mut all = roles.to_vec();
        let own = groups.get(&canonical_name(&line.name));
        for group in own.into_iter().flatten() {
            if !all.contains(group) {
                all.push(group.clone());
            }
        }
        let profile = UserProfile { name: line.name, roles: all, ..UserProfile::default() };
        user_table::entry(source, None, profile, line.password, false)
    });
    UserTable::of(entries.collect())
}
