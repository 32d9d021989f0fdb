//! A user that is to be added to a users file.

use crate::passwords::StoredHash;

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
