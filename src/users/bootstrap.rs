//! The first user of a fresh installation, where the configuration asks for one.

use std::path::Path;

use super::edit::NewUser;
use super::password::{self, HashError};
use super::splice;
use super::write::{self, AccessError};
use crate::secret::{self, SecretString};

/// The user that was made, and his password, which is written down nowhere else.
#[derive(Clone, Debug)]
pub struct FirstUser {
    pub name: String,
    pub email: String,
    pub password: SecretString,
}

/// The first user could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("could not make the first user")]
    Hash(#[from] HashError),

    #[error("could not make the first user")]
    File(#[from] AccessError),
}

/// What they log in as.
pub const FIRST_NAME: &str = "admin";
const EMAIL: &str = "admin@example.com";
const ROLES: [&str; 2] = ["root", "admin"];

/// Thirty-two characters that cannot be taken for one another, so that each is five bits.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Twenty-six of them are 130 bits.
const LENGTH: usize = 26;

const HEADING: &str = "# Users of the gateway. Change them with `tollhouse user`, or here: the file is read again\n# within seconds. Passwords are hashes, made by `tollhouse hash`.\n\n";

/// Makes `path` with one user `admin` and a random password, if there is no such file. Blocks
/// for as long as a hash costs.
///
/// # Errors
/// When the hash or the file could not be made. A file that is there, whatever is in it, is
/// `Ok(None)`.
pub fn first_user(path: &Path) -> Result<Option<FirstUser>, BootstrapError> {
    if path.symlink_metadata().is_ok() {
        return Ok(None);
    }
    let password = random_password();
    let user = NewUser {
        name: FIRST_NAME.to_owned(),
        email: Some(EMAIL.to_owned()),
        password: password::hash(password.expose())?,
        roles: ROLES.map(str::to_owned).to_vec(),
        scopes: Vec::new(),
        claims: Vec::new(),
    };
    match write::create(path, &format!("{HEADING}{}", splice::block(&user))) {
        Ok(()) => Ok(Some(FirstUser { name: user.name, email: EMAIL.to_owned(), password })),
        Err(AccessError::Exists { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A password that nobody can guess and everybody can type.
pub fn random_password() -> SecretString {
    let characters = secret::random::<LENGTH>().into_iter().map(|byte| {
        // Invariant: the remainder is below 32, the length of the alphabet.
        char::from(ALPHABET.get(usize::from(byte % 32)).copied().unwrap_or(b'a'))
    });
    SecretString::new(characters.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_passwords_are_long_and_never_the_same() {
        let (one, other) = (random_password(), random_password());

        assert_eq!(one.expose().len(), LENGTH);
        assert!(one.expose().bytes().all(|byte| ALPHABET.contains(&byte)));
        assert_ne!(one, other);
    }
}
