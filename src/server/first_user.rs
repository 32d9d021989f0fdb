//! The first user of a new installation, and the file with their password until they choose
//! another.
//!
//! The user is made when only reading can still fail, and is removed if that fails. The password is
//! shown once, at the end of a start. A start that does not reach its end must therefore leave no
//! user behind, since nobody would know the password.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::admin::AdminOperations;
use crate::secret::SecretString;
use crate::settings::{Config, SourceKind};
use crate::users::{self, BootstrapError, FIRST_NAME, LoginName, PasswordCheck, UserLookup};

/// The name of the file with the first password, in the state folder. It is written if there was no
/// terminal to show the password on.
pub const FIRST_PASSWORD: &str = "first-password";

/// The user that the first start has made.
#[derive(Debug, Clone)]
pub struct InitialUser {
    pub name: String,
    pub email: String,
    pub password: SecretString,
    file: PathBuf,
}

impl InitialUser {
    /// Removes the user again, because their password could not be shown. The next start makes
    /// another one.
    ///
    /// # Errors
    /// If the file of users cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.file)
    }
}

/// A first user while the start may still fail. Dropping it removes the user. A failure to remove
/// the file is logged, because somebody has to do it then.
pub(super) struct PendingUser(Option<InitialUser>);

impl PendingUser {
    /// Makes the missing file of users, if the configuration asks for it. At most one user is made
    /// in a start. `None` inside means that there was nothing to make.
    pub(super) fn make(config: &Config) -> Result<Self, BootstrapError> {
        for source in &config.users {
            let SourceKind::File { path, bootstrap: true, .. } = &source.kind else { continue };
            if let Some(user) = users::first_user(path)? {
                let users::FirstUser { name, email, password } = user;
                return Ok(Self(Some(InitialUser { name, email, password, file: path.clone() })));
            }
        }
        Ok(Self(None))
    }

    /// The start has reached its end: the user stays.
    pub(super) fn keep(mut self) -> Option<InitialUser> {
        self.0.take()
    }
}

impl Drop for PendingUser {
    fn drop(&mut self) {
        if let Some(user) = self.0.take()
            && let Err(error) = user.remove()
        {
            let file = user.file.display();
            tracing::error!(%file, %error, "the first user stays, but the password was never shown: remove this file");
        }
    }
}

/// Removes the file with the first password when the password opens nothing any more: it was
/// changed, or the user is gone. This costs one password hash, and only while the file exists.
pub(super) async fn forget_first_password(operations: &Arc<AdminOperations>) {
    let generation = operations.gateway.generation();
    let file = generation.config.state.dir.join(FIRST_PASSWORD);
    let Ok(content) = fs::read_to_string(&file) else { return };
    let made = generation
        .config
        .users
        .iter()
        .find(|source| matches!(&source.kind, SourceKind::File { bootstrap: true, .. }));
    let sources: Vec<String> = made.map(|source| source.name.clone()).into_iter().collect();
    let name = LoginName::Username(FIRST_NAME.to_owned());
    let password = SecretString::new(content.trim_end().to_owned());
    let users = &generation.services.users;
    let checked = users.check(&sources, &name, &UserLookup::default(), &password, None).await;
    // The command line writes the file while this task already runs. If the file was read before
    // its text was there, then an empty password was checked; the file has other content now, and
    // must stay.
    if !fs::read_to_string(&file).is_ok_and(|now| now == content && !now.is_empty()) {
        return;
    }
    let removed = match checked {
        Ok(PasswordCheck::Wrong { .. } | PasswordCheck::UnknownUser) => fs::remove_file(&file),
        // The password is still in use, or the source cannot be asked at the moment.
        Ok(PasswordCheck::Correct { .. }) | Err(_) => return,
    };
    let file = file.display();
    match removed {
        Ok(()) => tracing::info!(%file, "removed: it held a password that is not good any more"),
        Err(error) => tracing::warn!(%file, %error, "holds an old password and cannot be removed"),
    }
}
