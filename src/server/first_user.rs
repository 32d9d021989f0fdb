//! The first user of a fresh installation, and the file that holds their password until they have
//! another.
//!
//! They are made when nothing but reading is left to fail, and taken back if that fails: their
//! password is told once, at the end of a start, so a start that did not come to its end must not
//! leave anybody behind whose password nobody has.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::admin::Operations;
use crate::config::{Config, UserSourceKind};
use crate::secret::SecretString;
use crate::users::{self, BootstrapError, Checked, FIRST_NAME, Lookup, Name};

/// The password's file in the state folder, where there was no terminal to show it on.
pub const FIRST_PASSWORD: &str = "first-password";

/// The user made at first start.
#[derive(Debug, Clone)]
pub struct FirstUser {
    pub name: String,
    pub email: String,
    pub password: SecretString,
    file: PathBuf,
}

impl FirstUser {
    /// Takes them back where their password could not be told: the next start makes another.
    ///
    /// # Errors
    /// When the users file cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.file)
    }
}

/// A first user as long as the start may still fail: dropped, they are taken back.
pub(super) struct NewUser(Option<FirstUser>);

impl NewUser {
    /// Makes the users file that is missing, where the configuration asks for it.
    pub(super) fn make(config: &Config) -> Result<Self, BootstrapError> {
        for source in &config.users {
            let UserSourceKind::File { path, bootstrap: true, .. } = &source.kind else { continue };
            if let Some(user) = users::first_user(path)? {
                let users::FirstUser { name, email, password } = user;
                return Ok(Self(Some(FirstUser { name, email, password, file: path.clone() })));
            }
        }
        Ok(Self(None))
    }

    /// The start came to its end: whoever was made stays.
    pub(super) fn keep(mut self) -> Option<FirstUser> {
        self.0.take()
    }
}

impl Drop for NewUser {
    fn drop(&mut self) {
        if let Some(user) = self.0.take()
            && let Err(error) = user.remove()
        {
            let file = user.file.display();
            tracing::error!(%file, %error, "the first user, whose password nobody has, stays");
        }
    }
}

/// Removes the password's file once it opens nothing any more: it was changed, or the user is
/// gone. Costs one hash, and only while there is such a file.
pub(super) async fn forget_first_password(operations: &Arc<Operations>) {
    let generation = operations.gateway.generation();
    let file = generation.config.state.dir.join(FIRST_PASSWORD);
    let Ok(held) = fs::read_to_string(&file) else { return };
    let made = generation
        .config
        .users
        .iter()
        .find(|source| matches!(&source.kind, UserSourceKind::File { bootstrap: true, .. }));
    let sources: Vec<String> = made.map(|source| source.name.clone()).into_iter().collect();
    let (name, password) =
        (Name::Username(FIRST_NAME.to_owned()), SecretString::new(held.trim_end().to_owned()));
    let users = &generation.services.users;
    let checked = users.check(&sources, (&name, &Lookup::default()), &password, None).await;
    let removed = match checked {
        Ok(Checked::Wrong { .. } | Checked::Unknown) => fs::remove_file(&file),
        // Still theirs, or nobody can say now.
        Ok(Checked::Right { .. }) | Err(_) => return,
    };
    let file = file.display();
    match removed {
        Ok(()) => tracing::info!(%file, "removed: it held a password that is not good any more"),
        Err(error) => tracing::warn!(%file, %error, "holds an old password and cannot be removed"),
    }
}
