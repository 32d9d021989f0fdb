//! Parts of a configuration that are read alone, for commands that have to work while the rest is
//! broken or half edited.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::issues::{Issues, Severity};
use super::reader::{Reading, Table};
use super::{Config, State, UserSource, read_all, suggest, syntax_errors, text_of};

impl Config {
    /// The `[[users]]` that are files and nothing else, for the command that changes users: the
    /// files may be missing, since this command is how they come to be.
    ///
    /// # Errors
    /// Everything that is wrong with these sections, at once.
    pub fn load_users(path: &Path) -> Result<Vec<UserSource>, Issues> {
        let text = text_of(path)?;
        let (document, errors) = DeTable::parse_recoverable(&text);
        let reading = Reading::new(&text, path.parent().unwrap_or(Path::new("")), &|_| None);
        if !errors.is_empty() {
            return Err(Issues::new(path, syntax_errors(&reading, errors)));
        }
        let users = {
            let mut root = Table::root(&reading, document.get_ref());
            let names = &mut suggest::Names::new("user source");
            let read = |table| UserSource::read_file(table, names);
            let (users, _) = read_all(&mut root, "users", read);
            // The other sections are not to be reported as unknown.
            root.entries();
            users
        };
        let issues = reading.into_findings().issues;
        if issues.iter().any(|issue| issue.severity == Severity::Error) {
            return Err(Issues::new(path, issues));
        }
        Ok(users)
    }

    /// `[state] dir` of a file and nothing else, for commands that only look for a running
    /// gateway's folder: neither the rest of the file nor the gateway's environment matters then.
    ///
    /// # Errors
    /// When the file cannot be read, `[state] dir` is no path, or the file's syntax is so broken
    /// that it may have been lost.
    pub fn load_state_dir(path: &Path) -> Result<PathBuf, Issues> {
        let text = text_of(path)?;
        // What is broken elsewhere is left out by this parser, and the rest is kept.
        let (document, errors) = DeTable::parse_recoverable(&text);
        let reading = Reading::new(&text, path.parent().unwrap_or(Path::new("")), &|_| None);
        let is_read = document.get_ref().get("state").is_some_and(|state| {
            state.get_ref().as_table().is_some_and(|state| state.contains_key("dir"))
        });
        let is_written = || {
            text.lines().any(|line| {
                let quotes = |c: char| c.is_whitespace() || ['[', '"', '\''].contains(&c);
                line.trim_start_matches(quotes).starts_with("state")
            })
        };
        if !errors.is_empty() && !is_read && is_written() {
            return Err(Issues::new(path, syntax_errors(&reading, errors)));
        }
        let state = {
            let mut root = Table::root(&reading, document.get_ref());
            let state = State::read(root.table("state"));
            // The other sections are not to be reported as unknown.
            root.entries();
            state
        };
        let issues = reading.into_findings().issues;
        if issues.iter().any(|issue| issue.severity == Severity::Error) {
            return Err(Issues::new(path, issues));
        }
        Ok(state.dir)
    }
}
