//! Changes to a users file that leave everything else in it as it was, comments included.
//!
//! The text is changed where the parser says that a value stands; nothing is written anew. The
//! result is read again before it is kept, and must hold exactly the users it should: a file
//! written in a way we cannot edit safely is refused, not damaged.

use std::path::Path;
use std::sync::Arc;

use super::canonical::canonical_name;
use super::password::StoredHash;
use super::problem::Problems;
use super::source::Name;
use super::splice::{self, Place};
use super::table::{self, Entry, Table};
use super::write::{self, AccessError};
use crate::config::AllowWeak;
use crate::identity::UserId;

/// A user to add.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub name: String,
    pub email: Option<String>,
    pub password: StoredHash,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    /// Text claims, by name.
    pub claims: Vec<(String, String)>,
}

/// A user as `list` shows him.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub user: super::User,
    pub disabled: bool,
    /// Whether the next login replaces the hash by a stronger one.
    pub weak: bool,
}

/// Why a users file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("there is no user `{name}`")]
    NoSuchUser { name: String },

    #[error("there is a user `{name}` already")]
    Exists { name: String },

    #[error(transparent)]
    Problems(#[from] Problems),

    #[error("{file} is written in a way that cannot be changed safely here; change it by hand")]
    Unsafe { file: String },

    #[error(transparent)]
    Access(#[from] AccessError),
}

/// What to change.
#[derive(Debug)]
pub(super) enum Change<'a> {
    Add(&'a NewUser),
    Password { name: &'a str, hash: &'a StoredHash },
    Disabled { name: &'a str, disabled: bool },
    Remove { name: &'a str },
}

/// Adds a user with a new id, which is returned; makes the file if there is none.
///
/// # Errors
/// When the name or address is taken, or the file cannot be read or changed.
pub fn add(path: &Path, user: &NewUser) -> Result<UserId, EditError> {
    let change = Change::Add(user);
    let after = match apply(path, &change) {
        Err(EditError::Access(AccessError::Missing { .. })) => {
            let (text, after) = edited(splice::FIRST_LINE, &change, &shown(path))?;
            write::create(path, &text)?;
            after
        }
        other => other?,
    };
    let added = after.named(&Name::Username(user.name.clone())).map(|entry| entry.user.id.clone());
    added.ok_or_else(|| EditError::NoSuchUser { name: user.name.clone() })
}

/// Replaces a user's password; his sessions end.
///
/// # Errors
/// When there is no such user, or the file cannot be read or changed.
pub fn passwd(path: &Path, name: &str, hash: &StoredHash) -> Result<(), EditError> {
    apply(path, &Change::Password { name, hash }).map(drop)
}

/// Disables a user, or enables him again.
///
/// # Errors
/// When there is no such user, or the file cannot be read or changed.
pub fn disable(path: &Path, name: &str, disabled: bool) -> Result<(), EditError> {
    apply(path, &Change::Disabled { name, disabled }).map(drop)
}

/// Removes a user and the comment that stands directly above him.
///
/// # Errors
/// When there is no such user, or the file cannot be read or changed.
pub fn remove(path: &Path, name: &str) -> Result<(), EditError> {
    apply(path, &Change::Remove { name }).map(drop)
}

/// The users of source `source` in the order of the file.
///
/// # Errors
/// When the file cannot be read.
pub fn list(path: &Path, source: &str) -> Result<Vec<Listed>, EditError> {
    let table = parse(&write::read(path)?, source, &shown(path))?;
    Ok(table.entries.into_iter().map(Listed::from).collect())
}

/// The user a name means.
///
/// # Errors
/// When the file cannot be read.
pub fn find(path: &Path, source: &str, name: &str) -> Result<Option<Listed>, EditError> {
    let table = parse(&write::read(path)?, source, &shown(path))?;
    let entry = table.named(&Name::Username(name.to_owned())).cloned();
    Ok(entry.map(Listed::from))
}

impl From<Entry> for Listed {
    fn from(entry: Entry) -> Self {
        let weak = entry.password.needs_rehash();
        Self { user: entry.user, disabled: entry.disabled, weak }
    }
}

/// The ids of users written without one depend on the source's name; a change does not look at
/// them but to compare.
const ANY: &str = "";

fn apply(path: &Path, change: &Change<'_>) -> Result<Table, EditError> {
    let file = shown(path);
    write::replace(path, |old| edited(old, change, &file))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn parse(text: &str, source: &str, file: &str) -> Result<Table, EditError> {
    // Whoever changes a user need not be told that another one's hash is weak.
    table::read(text, source, &AllowWeak::all())
        .map_err(|list| EditError::Problems(Problems { file: file.to_owned(), list }))
}

/// The changed text, and the users in it.
pub(super) fn edited(
    text: &str,
    change: &Change<'_>,
    file: &str,
) -> Result<(String, Table), EditError> {
    let cannot = || EditError::Unsafe { file: file.to_owned() };
    let blank = text.trim().is_empty();
    let mut expected = if blank { Vec::new() } else { parse(text, ANY, file)?.entries };
    let new = match change {
        Change::Add(user) => {
            let name = canonical_name(&user.name);
            if expected.iter().any(|entry| canonical_name(&entry.user.name) == name) {
                return Err(EditError::Exists { name: user.name.clone() });
            }
            let new = splice::appended(text, user);
            let after = parse(&new, ANY, file)?;
            expected.extend(after.entries.last().cloned());
            new
        }
        Change::Password { name, hash } => {
            let (index, entry) = meant(&mut expected, name)?;
            entry.password = Arc::new((*hash).clone());
            let place = Place::of(text, index).ok_or_else(cannot)?;
            splice::spliced(text, place.password, &splice::literal(hash.as_str()))
        }
        Change::Disabled { name, disabled } => {
            let (index, entry) = meant(&mut expected, name)?;
            entry.disabled = *disabled;
            let place = Place::of(text, index).ok_or_else(cannot)?;
            match place.disabled {
                Some(value) => splice::spliced(text, value, &disabled.to_string()),
                None if *disabled => splice::inserted(text, place.name),
                None => text.to_owned(),
            }
        }
        Change::Remove { name } => {
            let (index, _) = meant(&mut expected, name)?;
            expected.remove(index);
            splice::without(text, index).ok_or_else(cannot)?
        }
    };
    let after = parse(&new, ANY, file).map_err(|_| cannot())?;
    if !same(&expected, &after.entries) {
        return Err(cannot());
    }
    Ok((new, after))
}

fn meant<'e>(entries: &'e mut [Entry], name: &str) -> Result<(usize, &'e mut Entry), EditError> {
    let wanted = canonical_name(name);
    entries
        .iter_mut()
        .enumerate()
        .find(|(_, entry)| canonical_name(&entry.user.name) == wanted)
        .ok_or_else(|| EditError::NoSuchUser { name: name.to_owned() })
}

/// Whether two lists of users say the same, the digests that follow from it aside.
fn same(expected: &[Entry], found: &[Entry]) -> bool {
    let facts = |entry: &Entry| {
        let mut user = entry.user.clone();
        user.version = crate::secret::Digest::of(b"");
        (user, entry.password.clone(), entry.disabled)
    };
    expected.iter().map(facts).eq(found.iter().map(facts))
}
