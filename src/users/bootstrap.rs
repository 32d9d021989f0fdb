//! The first user of a new installation, where the configuration asks for one (`bootstrap`).
//!
//! `server` calls `first_user` at the start. The password is random and is printed once; there is
//! no default password that an attacker could know. An existing file is never changed, whatever is
//! in it.

use std::path::Path;

use super::atomic_write::{self, AccessError};
use super::document;
use super::edit::NewUser;
use crate::passwords::{self, HashError};
use crate::secret::{self, SecretString};

/// The user that was made. The password is not stored anywhere in clear text.
#[derive(Clone, Debug)]
pub struct FirstUser {
    pub name: String,
    pub email: String,
    pub password: SecretString,
}

/// The reasons why the first user could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("could not make the first user")]
    Hash(#[from] HashError),

    #[error("could not make the first user")]
    File(#[from] AccessError),
}

/// The login name of the first user.
pub const FIRST_NAME: &str = "admin";
const EMAIL: &str = "admin@example.com";
const ROLES: [&str; 2] = ["root", "admin"];

/// Thirty-two characters that cannot be confused with each other when they are read aloud or typed.
/// Each stands for five bits.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Number of characters: twenty-six of them are 130 bits.
const LENGTH: usize = 26;

const HEADING: &str = "# Users of the gateway. Change them with `tollhouse user`, or here: the file is read again\n# within seconds. Passwords are hashes, made by `tollhouse hash`.\n\n";

/// Makes the file `path` with one user `admin` and a random password, if there is no such file.
/// Blocks for as long as one hash takes.
///
/// # Errors
///
/// If the hash or the file could not be made. If there is a file already, even a broken link, the
/// result is `Ok(None)`.
pub fn first_user(path: &Path) -> Result<Option<FirstUser>, BootstrapError> {
    if path.symlink_metadata().is_ok() {
        return Ok(None);
    }
    let password = random_password();
    let user = NewUser {
        name: FIRST_NAME.to_owned(),
        email: Some(EMAIL.to_owned()),
        password: passwords::hash(password.expose())?,
        roles: ROLES.map(str::to_owned).to_vec(),
        scopes: Vec::new(),
        claims: Vec::new(),
    };
    // The file may have been made by another process since the check above. `create` never replaces
    // a file, so that process wins, and its user stays.
    match atomic_write::create(path, &format!("{HEADING}{}", document::section(&user))) {
        Ok(()) => Ok(Some(FirstUser { name: user.name, email: EMAIL.to_owned(), password })),
        Err(AccessError::Exists { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A random password that cannot be guessed and is easy to type.
pub fn random_password() -> SecretString {
    let characters = secret::random::<LENGTH>().into_iter().map(|byte| {
        // Invariant: the remainder is below 32, the length of the alphabet. Because 256 is a
        // multiple of 32, every character is equally likely.
        char::from(ALPHABET.get(usize::from(byte % 32)).copied().unwrap_or(b'a'))
    });
    SecretString::new(characters.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_passwords_are_long_and_never_the_same() {
        let one = random_password();
        let other = random_password();

        assert_eq!(one.expose().len(), LENGTH);
        assert!(one.expose().bytes().all(|byte| ALPHABET.contains(&byte)));
        assert_ne!(one, other);
    }
}
