//! Changes to a users file that leave everything else in the file as it was, comments included.
//!
//! The result of a change is parsed again before it is kept, and must contain exactly the expected
//! users. A file whose style does not allow a safe change is refused, not damaged. `cli` (`tollhouse user`) and
//! the re-hashing in `watched_file` use this.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::atomic_write::{self, AccessError};
use super::canonical::canonical_name;
use super::document::{self, UsersDocument};
pub use super::new_user::NewUser;
use super::problem::FileProblems;
use super::source::LoginName;
use super::user_table::{self, UserEntry, UserTable};
use crate::identity::UserId;
use crate::passwords::StoredHash;
use crate::settings::AllowWeak;

/// A user as `list` shows them to an operator, without the password hash.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedUser {
    pub user: super::UserRecord,
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

    #[error("the claim `{name}` is given twice")]
    ClaimTwice { name: String },

    #[error(transparent)]
    Problems(#[from] FileProblems),

    #[error("{file} is written in a way that cannot be changed safely here; change it by hand")]
    Unsafe { file: String },

    #[error(transparent)]
    Access(#[from] AccessError),
}

/// A change to a users file. Users are named by any spelling of their name.
#[derive(Debug)]
pub(super) enum UserChange<'a> {
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
    let change = UserChange::Add(user);
    let after = match apply(path, &change) {
        // The file does not exist: the user is added to an empty text, which must parse like every
        // other file.
        Err(EditError::Access(AccessError::Missing { .. })) => {
            let (text, after) = edited(document::FIRST_LINE, &change, &shown(path))?;
            atomic_write::create(path, &text)?;
            after
        }
        other => other?,
    };
    let added =
        after.named(&LoginName::Username(user.name.clone())).map(|entry| entry.user.id.clone());
    added.ok_or_else(|| EditError::NoSuchUser { name: user.name.clone() })
}

/// Replaces the password hash of a user. The user's version changes, so their sessions end.
///
/// # Errors
///
/// If there is no such user, or the file cannot be read or changed.
pub fn passwd(path: &Path, name: &str, hash: &StoredHash) -> Result<(), EditError> {
    apply(path, &UserChange::Password { name, hash }).map(drop)
}

/// Disables a user, or enables them again. Sessions of a disabled user end.
///
/// # Errors
///
/// If there is no such user, or the file cannot be read or changed.
pub fn disable(path: &Path, name: &str, disabled: bool) -> Result<(), EditError> {
    apply(path, &UserChange::Disabled { name, disabled }).map(drop)
}

/// Removes a user, together with the comment directly above their `[[user]]`.
///
/// # Errors
///
/// If there is no such user, or the file cannot be read or changed.
pub fn remove(path: &Path, name: &str) -> Result<(), EditError> {
    apply(path, &UserChange::Remove { name }).map(drop)
}

/// The users in the file, in its order. `source` is the name of the source, which users without an
/// id get theirs from.
///
/// # Errors
///
/// If the file cannot be read.
pub fn list(path: &Path, source: &str) -> Result<Vec<ListedUser>, EditError> {
    let table = parse(&atomic_write::read(path)?, source, &shown(path))?;
    Ok(table.entries.into_iter().map(ListedUser::from).collect())
}

/// The user with this name, in any spelling; `None` if there is none.
///
/// # Errors
///
/// If the file cannot be read.
pub fn find(path: &Path, source: &str, name: &str) -> Result<Option<ListedUser>, EditError> {
    let table = parse(&atomic_write::read(path)?, source, &shown(path))?;
    let entry = table.named(&LoginName::Username(name.to_owned())).cloned();
    Ok(entry.map(ListedUser::from))
}

impl From<UserEntry> for ListedUser {
    fn from(entry: UserEntry) -> Self {
        let weak = entry.password.needs_rehash();
        Self { user: entry.user, disabled: entry.disabled, weak }
    }
}

/// The source's name while a file is edited. It only influences the ids of users without an id in
/// the file, and those are compared before and after with the same name.
const ANY: &str = "";

fn apply(path: &Path, change: &UserChange<'_>) -> Result<UserTable, EditError> {
    let file = shown(path);
    atomic_write::replace(path, |old| edited(old, change, &file))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn parse(text: &str, source: &str, file: &str) -> Result<UserTable, EditError> {
    // All weak hashes are accepted here: a weak hash of another user must not prevent a change. The
    // gateway itself warns about it when it reads the file.
    user_table::read(text, source, &AllowWeak::all())
        .map_err(|list| EditError::Problems(FileProblems { file: file.to_owned(), list }))
}

/// Applies a change to a text. Returns the new text and the users that are in it.
pub(super) fn edited(
    text: &str,
    change: &UserChange<'_>,
    file: &str,
) -> Result<(String, UserTable), EditError> {
    // `expected` is the list of users as it should be afterwards. The text is changed independently
    // of it, and both are compared at the end.
    let cannot = || EditError::Unsafe { file: file.to_owned() };
    let blank = text.trim().is_empty();
    let mut expected = if blank { Vec::new() } else { parse(text, ANY, file)?.entries };
    let document = || UsersDocument::parse(text).ok_or_else(cannot);
    let new = match change {
        UserChange::Add(user) => {
            let name = canonical_name(&user.name);
            if expected.iter().any(|entry| canonical_name(&entry.user.profile.name) == name) {
                return Err(EditError::Exists { name: user.name.clone() });
            }
            let mut claims = HashSet::new();
            if let Some((name, _)) = user.claims.iter().find(|(name, _)| !claims.insert(name)) {
                return Err(EditError::ClaimTwice { name: name.clone() });
            }
            let new = document::appended(text, user);
            // The new user is taken from the new text, because the id was made while the text was
            // written. It is the last user in the file.
            let after = parse(&new, ANY, file)?;
            expected.extend(after.entries.last().cloned());
            new
        }
        UserChange::Password { name, hash } => {
            let (index, entry) = meant(&mut expected, name)?;
            entry.password = Arc::new((*hash).clone());
            let mut document = document()?;
            document.set_password(index, hash.as_str()).ok_or_else(cannot)?;
            document.text()
        }
        UserChange::Disabled { name, disabled } => {
            let (index, entry) = meant(&mut expected, name)?;
            entry.disabled = *disabled;
            let mut document = document()?;
            document.set_disabled(index, *disabled).ok_or_else(cannot)?;
            document.text()
        }
        UserChange::Remove { name } => {
            let (index, _) = meant(&mut expected, name)?;
            expected.remove(index);
            let mut document = document()?;
            document.remove(index).ok_or_else(cannot)?;
            document.text()
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

fn meant<'e>(
    entries: &'e mut [UserEntry],
    name: &str,
) -> Result<(usize, &'e mut UserEntry), EditError> {
    let wanted = canonical_name(name);
    entries
        .iter_mut()
        .enumerate()
        .find(|(_, entry)| canonical_name(&entry.user.profile.name) == wanted)
        .ok_or_else(|| EditError::NoSuchUser { name: name.to_owned() })
}

/// True if two lists of users are equal, apart from versions: a version follows from the other
/// values.
fn same(expected: &[UserEntry], found: &[UserEntry]) -> bool {
    let facts = |entry: &UserEntry| {
        let mut user = entry.user.clone();
        user.version = crate::secret::Digest::of(b"");
        (user, entry.password.clone(), entry.disabled)
    };
    expected.iter().map(facts).eq(found.iter().map(facts))
}
