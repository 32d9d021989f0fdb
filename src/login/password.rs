//! The password step of a login: a name and a password for a session, or for a second step.
//!
//! The order protects against guessing: count by address, look the name up, reserve an attempt for
//! the account, verify the password, and report the result. `Login::handle` calls `log_in`; Basic
//! authentication on routes takes the same steps in `basic`.

use super::account::account_names;
use super::second_step::SecondFactor;
use super::{Login, LoginError, LoginRequest, LoginResponse};
use crate::dialect::{Endpoint, Reason};
use crate::secret::{Digest, SecretString};
use crate::session::{AttemptKind, LoginProgress};
use crate::users::{LoginName, UserRecord};

impl Login {
    /// Verifies a password, then begins a session or, where a second step is due, answers that a
    /// code is awaited. A code that came beside the password is verified at once, as if it had come
    /// in a request of its own.
    pub(super) async fn log_in(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        name: &str,
        password: &SecretString,
        code: Option<&SecretString>,
    ) -> Result<LoginResponse, LoginError> {
        let names = account_names(endpoint, name);
        let begun = self.attempt_source(call).begin(&self.config.users, &names).await;
        let begun = begun.map_err(|refused| self.reveal_or_hide(refused))?;
        let account = begun.account();
        let is_known = begun.is_known();
        let attempt = begun.reserve(account, AttemptKind::Password).await?;
        let checked = match attempt.check_password(password).await {
            Ok(proven) => {
                let wait = self.required_second_factor(endpoint, call, &proven.user).await;
                wait.map(|wait| (proven, wait))
            }
            Err(refused) => Err(self.reveal_or_hide(refused)),
        };
        let (proven, wait) = match checked {
            Ok(checked) => checked,
            Err(refused) => return Err(attempt.refused(refused).await),
        };
        // The progress is found out before the attempt is reported: only a complete login makes the
        // address known for this account.
        let progress = self.progress(&proven.user, wait.as_ref()).await?;
        attempt.passed(progress).await?;
        let Some(wait) = wait else {
            return self.start_session(endpoint, call, &proven).await;
        };
        let account = if is_known {
            account
        } else {
            // Some sources can only find a user together with the right password. The account of
            // such a user is known only now, and the code must be stored under it.
            self.account(call, &names).await?
        };
        match code {
            Some(code) => {
                let ticket = self.prepare_code(call, account, &proven, &wait).await?;
                self.verify_code(endpoint, call, name, code, ticket.as_ref()).await
            }
            None => self.start_second_factor(endpoint, call, account, &proven, wait).await,
        }
    }

    /// How far the right password has brought the user. A user who has a second step, but not at
    /// this login, has not passed that step here. Their address then does not become known for the
    /// account, because a stolen password alone would be enough for that.
    async fn progress(
        &self,
        user: &UserRecord,
        wait: Option<&SecondFactor>,
    ) -> Result<LoginProgress, LoginError> {
        let has_step = match (wait, self.config.totp) {
            (Some(_), _) => true,
            (None, true) => false,
            (None, false) => self.services.store.find_totp(&user.source, &user.id).await?.is_some(),
        };
        Ok(if has_step { LoginProgress::Step } else { LoginProgress::Login })
    }

    /// The refusal in the form that the client may see.
    fn reveal_or_hide(&self, refused: LoginError) -> LoginError {
        match refused.reason {
            Reason::UnknownUser => LoginError { reason: self.unknown_user(), ..refused },
            _ => refused,
        }
    }

    /// The reason for an unknown user. It differs from that for a wrong password only if the
    /// dialect has two answers and the operator has allowed it: the difference tells strangers
    /// which users exist.
    fn unknown_user(&self) -> Reason {
        if self.config.dialect.tells_unknown_user && self.config.reveal_unknown_user {
            Reason::UnknownUser
        } else {
            Reason::InvalidCredentials
        }
    }

    /// The digest under which the attempts and codes of a name are counted and stored.
    async fn account(
        &self,
        call: &LoginRequest,
        names: &[LoginName],
    ) -> Result<Digest, LoginError> {
        let begun = self.attempt_source(call).look_for(&self.config.users, names).await?;
        Ok(begun.account())
    }
}
