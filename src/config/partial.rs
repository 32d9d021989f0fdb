//! Readers of single parts of a configuration.
//!
//! Some commands have to work while the rest of the file is broken or half edited: the command that
//! adds the first user, and those that look for a running gateway. Only faults of the part itself
//! are reported; nothing that is read here starts a gateway.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::document::Document;
use super::issues::{IssueSeverity, Issues};
use super::reader::TableReader;
use super::{names, read, read_all, syntax_errors, text_of};
use crate::settings::{SourceSettings, StateSettings};

/// Reads the `[[users]]` sections of kind `file`, and nothing else, for the command that
/// changes users. The files may be missing, because this command creates them.
///
/// # Errors
/// Every problem of these sections at once, or the syntax errors of the file.
pub fn load_users(path: &Path) -> Result<Vec<SourceSettings>, Issues> {
    let text = text_of(path)?;
    let (document, errors) = DeTable::parse_recoverable(&text);
    let reading = Document::new(&text, path.parent().unwrap_or(Path::new("")), &|_| None);
    if !errors.is_empty() {
        return Err(Issues::new(path, syntax_errors(&reading, errors)));
    }
    let users = {
        let mut root = TableReader::root(&reading, document.get_ref());
        let names = &mut names::SectionNames::new("user source");
        let read_users = |table| SourceSettings::read_file(table, names);
        let (users, _) = read_all(&mut root, "users", read_users);
        // Taking all remaining entries keeps the other sections from being reported as unknown.
        root.entries();
        users
    };
    let issues = reading.into_findings().issues;
    if issues.iter().any(|issue| issue.severity == IssueSeverity::Error) {
        return Err(Issues::new(path, issues));
    }
    Ok(users)
}

/// The files and folders that a configuration names to be read, whatever else is wrong with it, and
/// the file itself. `None` if its text cannot be read or is no TOML, so that names may be missing.
pub fn named_files(path: &Path) -> Option<Vec<PathBuf>> {
    let text = text_of(path).ok()?;
    let (document, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        return None;
    }
    // No variable is needed to know the names of files.
    let reading = Document::new(&text, path.parent().unwrap_or(Path::new("")), &|_| None);
    drop(read(TableReader::root(&reading, document.get_ref())));
    let mut files = reading.into_findings().files;
    files.push(path.to_owned());
    Some(files)
}

/// Reads `[state] dir` of a file, and nothing else, for commands that look for the folder of a
/// running gateway. Neither the rest of the file nor the gateway's environment matters for it.
///
/// # Errors
/// If the file cannot be read, if `[state] dir` is no path, or if the syntax is so broken that
/// the key may have been lost in it.
pub fn load_state_dir(path: &Path) -> Result<PathBuf, Issues> {
    let text = text_of(path)?;
    // The parser leaves out broken parts and keeps the rest.
    let (document, errors) = DeTable::parse_recoverable(&text);
    let reading = Document::new(&text, path.parent().unwrap_or(Path::new("")), &|_| None);
    let is_read = document.get_ref().get("state").is_some_and(|state| {
        state.get_ref().as_table().is_some_and(|state| state.contains_key("dir"))
    });
    // The key is missing from the document. If a line begins with `state`, the key was probably
    // written and lost to a syntax error; using the default folder then would look for the
    // wrong gateway.
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
        let mut root = TableReader::root(&reading, document.get_ref());
        let state = StateSettings::read(root.table("state"));
        // Taking all remaining entries keeps the other sections from being reported as unknown.
        root.entries();
        state
    };
    let issues = reading.into_findings().issues;
    if issues.iter().any(|issue| issue.severity == IssueSeverity::Error) {
        return Err(Issues::new(path, issues));
    }
    Ok(state.dir)
}
