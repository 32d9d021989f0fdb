//! Changes to a users file that leave everything else in the file as it was, comments included.
//!
//! The text is changed at the positions that the TOML parser reports; nothing is written anew. The
//! result is parsed again before it is kept, and must contain exactly the expected users. A file
//! whose style does not allow a safe change is refused, not damaged. `cli` (`tollhouse user`) and
//! the re-hashing in `live` use this.

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

/// A user to be added. The password is hashed already.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub name: String,
    pub email: Option<String>,
    pub password: StoredHash,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    /// Claims with text values, by name.
    pub claims: Vec<(String, String)>,
}

/// A user as `list` shows them to an operator, without the password hash.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub user: super::User,
    pub disabled: bool,
    /// True if the next login of the user replaces the hash by a stronger one.
    pub weak: bool,
}

/// The reasons why a users file was not changed. In every case the file is as it was.
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

/// A change to a users file. Users are named by any spelling of their name.
#[derive(Debug)]
pub(super) enum Change<'a> {
    Add(&'a NewUser),
    Password { name: &'a str, hash: &'a StoredHash },
    Disabled { name: &'a str, disabled: bool },
    Remove { name: &'a str },
}

/// Adds a user with a new id, which is returned. Makes the file if there is none.
///
/// # Errors
///
/// If the name or address is taken, or the file cannot be read or changed.
pub fn add(path: &Path, user: &NewUser) -> Result<UserId, EditError> {
    let change = Change::Add(user);
    let after = match apply(path, &change) {
        // The file does not exist: the user is added to an empty text, which must parse like every
        // other file.
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

/// Replaces the password hash of a user. The user's version changes, so their sessions end.
///
/// # Errors
///
/// If there is no such user, or the file cannot be read or changed.
pub fn passwd(path: &Path, name: &str, hash: &StoredHash) -> Result<(), EditError> {
    apply(path, &Change::Password { name, hash }).map(drop)
}

/// Disables a user, or enables them again. Sessions of a disabled user end.
///
/// # Errors
///
/// If there is no such user, or the file cannot be read or changed.
pub fn disable(path: &Path, name: &str, disabled: bool) -> Result<(), EditError> {
    apply(path, &Change::Disabled { name, disabled }).map(drop)
}

/// Removes a user, together with the comment directly above their `[[user]]`.
///
/// # Errors
///
/// If there is no such user, or the file cannot be read or changed.
pub fn remove(path: &Path, name: &str) -> Result<(), EditError> {
    apply(path, &Change::Remove { name }).map(drop)
}

/// The users in the file, in its order. `source` is the name of the source, which users without an
/// id get theirs from.
///
/// # Errors
///
/// If the file cannot be read.
pub fn list(path: &Path, source: &str) -> Result<Vec<Listed>, EditError> {
    let table = parse(&write::read(path)?, source, &shown(path))?;
    Ok(table.entries.into_iter().map(Listed::from).collect())
}

/// The user with this name, in any spelling; `None` if there is none.
///
/// # Errors
///
/// If the file cannot be read.
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

/// The source's name while a file is edited. It only influences the ids of users without an id in
/// the file, and those are compared before and after with the same name.
const ANY: &str = "";

fn apply(path: &Path, change: &Change<'_>) -> Result<Table, EditError> {
    let file = shown(path);
    write::replace(path, |old| edited(old, change, &file))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn parse(text: &str, source: &str, file: &str) -> Result<Table, EditError> {
    // All weak hashes are accepted here: a weak hash of another user must not prevent a change. The
    // gateway itself warns about it when it reads the file.
    table::read(text, source, &AllowWeak::all())
        .map_err(|list| EditError::Problems(Problems { file: file.to_owned(), list }))
}

/// Applies a change to a text. Returns the new text and the users that are in it.
pub(super) fn edited(
    text: &str,
    change: &Change<'_>,
    file: &str,
) -> Result<(String, Table), EditError> {
    // `expected` is the list of users as it should be afterwards. The text is changed independently
    // of it, and both are compared at the end.
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
            // The new user is taken from the new text, because the id was made while the text was
            // written. It is the last user in the file.
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
            // The value `disabled` is changed where it stands, or added after the name. Enabling a
            // user who has no such key changes nothing.
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
    // The proof that the change was safe: the new text parses, and contains the expected users and
    // no other. Otherwise the file keeps its old text, and the operator is asked to change it by
    // hand.
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

/// True if two lists of users are equal, apart from versions: a version follows from the other
/// values.
fn same(expected: &[Entry], found: &[Entry]) -> bool {
    let facts = |entry: &Entry| {
        let mut user = entry.user.clone();
        user.version = crate::secret::Digest::of(b"");
        (user, entry.password.clone(), entry.disabled)
    };
    expected.iter().map(facts).eq(found.iter().map(facts))
}
