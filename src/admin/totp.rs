//! Second steps of users: secrets for authenticators are made here, and shown once.
//!
//! The secret is stored with the user's account, whatever source the account is from. It is shown
//! only in the answer to the command that made it; nobody can ask for it again.

use http::StatusCode;
use serde_json::json;

use super::operations::{AdminOperations, CommandResult, failed, unknown};
use crate::identity::{SessionId, UserId};
use crate::login::{new_totp, totp_address};
use crate::users::UserKey;

impl AdminOperations {
    /// Makes a secret for a user's authenticator, and answers with the address (`otpauth://`) that
    /// authenticators read. From the next login on, the user is asked for its codes. The answer is
    /// the only place where the secret is ever shown. An existing second step is a conflict unless
    /// `replace` is given.
    pub(super) async fn make_totp(
        &self,
        user: &str,
        source: Option<&str>,
        replace: bool,
    ) -> CommandResult {
        let shared = &self.gateway.shared;
        let holder = self.holder(user, source).await?;
        // An existing second step is replaced only on request: otherwise a command for a mistyped
        // name would lock somebody out.
        let existing = shared.store.find_totp(&holder.source, &holder.id).await.map_err(failed)?;
        if existing.is_some() && !replace {
            let problem = format!("`{user}` has a second step: replace it or remove it");
            return Err((StatusCode::CONFLICT, problem));
        }
        let totp = new_totp(shared.clock.now());
        let generation = self.gateway.generation();
        let issuer = host_of(&generation.config.token.issuer);
        // The address is made before the secret is stored. If the name does not fit into one,
        // nothing has changed; in the other order the user would be asked for codes that nobody can
        // make.
        let address = totp_address(&totp, issuer, user)
            .ok_or_else(|| failed("an authenticator could not read that name"))?;
        shared.store.put_totp(&holder.source, &holder.id, Some(totp)).await.map_err(failed)?;
        // Remembered passwords (Basic) are forgotten, because a password alone does not let this
        // user in any more.
        shared.password_cache.forget();
        self.audit(if existing.is_some() { "totp replaced" } else { "totp made" }, user);
        Ok(json!({ "uri": address.expose() }))
    }

    /// Removes a user's second step. Logins that wait for its code fail.
    pub(super) async fn remove_totp(&self, user: &str, source: Option<&str>) -> CommandResult {
        let store = &self.gateway.shared.store;
        let holder = self.holder(user, source).await?;
        if store.find_totp(&holder.source, &holder.id).await.map_err(failed)?.is_none() {
            return Err(unknown(&format!("a second step of `{user}`")));
        }
        store.put_totp(&holder.source, &holder.id, None).await.map_err(failed)?;
        self.audit("totp removed", user);
        Ok(json!({}))
    }

    /// The user with this name or id, in the given source or in all of them. An ambiguous id is a
    /// conflict, and an unknown name is reported with the source that was searched.
    async fn holder(
        &self,
        user: &str,
        source: Option<&str>,
    ) -> Result<UserKey, (StatusCode, String)> {
        let generation = self.gateway.generation();
        let all = generation.config.users.iter().map(|one| one.name.clone());
        let sources: Vec<String> =
            all.filter(|name| source.is_none_or(|source| source == name)).collect();
        let (named, of) = match source {
            Some(source) if sources.is_empty() => {
                return Err(unknown(&format!("user source `{source}`")));
            }
            Some(source) => (self.named(&sources, user).await?, format!(" of source `{source}`")),
            None => (self.named(&sources, user).await?, String::new()),
        };
        match (named, SessionId::parse(user), sources.as_slice()) {
            (Some(user), ..) => Ok(user),
            // The id may be of a user who does not exist any more, but whose second step is still
            // stored. Without a source it would be open whose second step is meant.
            (None, Some(_), [source]) => {
                Ok(UserKey { source: source.clone(), id: UserId::new(user) })
            }
            (None, Some(_), _) => {
                let problem = format!("of which source is the id `{user}`? Say --source");
                Err((StatusCode::CONFLICT, problem))
            }
            (None, None, _) => Err(unknown(&format!("user `{user}`{of}"))),
        }
    }
}

/// The name that an authenticator shows above the codes: the host of the issuer's URL.
fn host_of(issuer: &str) -> &str {
    let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    rest.split(['/', ':']).next().filter(|host| !host.is_empty()).unwrap_or(issuer)
}
