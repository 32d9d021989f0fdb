//! The password step.

use super::second_step::Wait;
use super::{Call, Done, Login, Refused};
use crate::dialect::{AccountKey, Endpoint, Reason, UserFacts};
use crate::identity::Subject;
use crate::secret::{Digest, SecretString};
use crate::session::{AttemptKind, LoginProgress};
use crate::users::{Lookup, Name, User, canonical_account};

impl Login {
    /// A password for a session, or for a code that is to follow.
    pub(super) async fn log_in(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        name: &str,
        password: &SecretString,
    ) -> Result<Done, Refused> {
        let name = account_name(endpoint, name);
        let lookup = self.begin(call, &name).await.map_err(|refused| self.told(refused))?;
        let account = canonical_account(&name, lookup.key.as_ref());
        let services = &self.services;
        let counted = (account, AttemptKind::Password);
        let attempt = services.reserve_attempt(&self.trier(call), &lookup, counted).await?;
        let checked = match self.check_password(call, (&name, &lookup), password).await {
            Ok(user) => self.wait_for(endpoint, call, &user).await.map(|wait| (user, wait)),
            Err(refused) => Err(refused),
        };
        let (user, wait) = match checked {
            Ok(checked) => checked,
            Err(refused) => {
                services.not_passed(attempt, &lookup, &refused, call.now).await;
                return Err(refused);
            }
        };
        let progress = self.progress(&user, wait.as_ref()).await?;
        services.passed(attempt, progress, call.now).await?;
        let Some(wait) = wait else {
            return self.start_session(endpoint, call, &user).await;
        };
        let account = match lookup.key {
            Some(_) => account,
            // Some sources know a name only once its password was right; the code comes after that.
            None => self.account(call, &name).await?,
        };
        self.pend(endpoint, call, account, (&user, wait)).await
    }

    /// How far the right password has brought a user. One whose second step is due elsewhere, but
    /// not at this login, has not passed it here either: their address is not known by half of what
    /// they have.
    async fn progress(&self, user: &User, wait: Option<&Wait>) -> Result<LoginProgress, Refused> {
        let has_step = match (wait, self.config.totp) {
            (Some(_), _) => true,
            (None, true) => false,
            (None, false) => self.services.store.find_totp(&user.source, &user.id).await?.is_some(),
        };
        Ok(if has_step { LoginProgress::Step } else { LoginProgress::Login })
    }

    async fn check_password(
        &self,
        call: &Call,
        name: (&Name, &Lookup),
        password: &SecretString,
    ) -> Result<User, Refused> {
        let (trier, users) = (self.trier(call), &self.config.users);
        let checked = self.services.check_password(&trier, users, name, password).await;
        checked.map_err(|refused| self.told(refused))
    }

    /// A refusal as the client is told it.
    fn told(&self, refused: Refused) -> Refused {
        match refused.reason {
            Reason::UnknownUser => Refused { reason: self.unknown_user(), ..refused },
            _ => refused,
        }
    }

    /// An unknown user is told from a wrong password only where the dialect has two answers and
    /// the operator lets it.
    fn unknown_user(&self) -> Reason {
        if self.config.dialect.tells_unknown_user && self.config.reveal_unknown_user {
            Reason::UnknownUser
        } else {
            Reason::InvalidCredentials
        }
    }

    /// What attempts are counted for.
    async fn account(&self, call: &Call, name: &Name) -> Result<Digest, Refused> {
        let (users, group) = (&self.services.users, call.address_group());
        let lookup = users.look_for(&self.config.users, name, group).await?;
        Ok(canonical_account(name, lookup.key.as_ref()))
    }
}

/// What an endpoint calls a user by.
pub(super) fn account_name(endpoint: &Endpoint, name: &str) -> Name {
    match endpoint.account {
        AccountKey::Username => Name::Username(name.to_owned()),
        AccountKey::Email => Name::Email(name.to_owned()),
    }
}

/// A user as templates see them, with the id that they have everywhere.
pub(super) fn user_facts(user: &User, subject: &Subject) -> UserFacts {
    UserFacts {
        id: subject.to_string(),
        name: user.name.clone(),
        email: user.email.clone(),
        roles: user.roles.clone(),
        scopes: user.scopes.clone(),
        claims: user.claims.clone(),
    }
}
