//! Second steps of users: a secret for an authenticator is made here, and shown once.

use http::StatusCode;
use serde_json::json;

use super::operations::{Carried, Operations, failed, unknown};
use crate::identity::{SessionId, UserId};
use crate::login::{new_totp, totp_address};
use crate::users::UserKey;

impl Operations {
    /// Makes a secret for a user's authenticator and answers with the address that it reads.
    /// From his next login on he is asked for its codes.
    pub(super) async fn make_totp(
        &self,
        user: &str,
        source: Option<&str>,
        replace: bool,
    ) -> Carried {
        let shared = &self.gateway.shared;
        let holder = self.holder(user, source).await?;
        let held = shared.store.find_totp(&holder.source, &holder.id).await.map_err(failed)?;
        if held.is_some() && !replace {
            let problem = format!("`{user}` has a second step: replace it or remove it");
            return Err((StatusCode::CONFLICT, problem));
        }
        let totp = new_totp(shared.clock.now());
        let generation = self.gateway.generation();
        let issuer = host_of(&generation.config.token.issuer);
        let address = totp_address(&totp, issuer, user)
            .ok_or_else(|| failed("an authenticator could not read that name"))?;
        shared.store.put_totp(&holder.source, &holder.id, Some(totp)).await.map_err(failed)?;
        // Passwords alone do not let him in any more.
        shared.proofs.forget();
        self.audit(if held.is_some() { "totp replaced" } else { "totp made" }, user);
        Ok(json!({ "uri": address.expose() }))
    }

    /// Takes a user's second step away; logins that wait for its code fail.
    pub(super) async fn remove_totp(&self, user: &str, source: Option<&str>) -> Carried {
        let store = &self.gateway.shared.store;
        let holder = self.holder(user, source).await?;
        if store.find_totp(&holder.source, &holder.id).await.map_err(failed)?.is_none() {
            return Err(unknown(&format!("a second step of `{user}`")));
        }
        store.put_totp(&holder.source, &holder.id, None).await.map_err(failed)?;
        self.audit("totp removed", user);
        Ok(json!({}))
    }

    /// The user of this name or id, looked for in one source or in all.
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
            // An id, perhaps of a user who is gone.
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

/// What an authenticator shows over the codes: the host of the issuer's address.
fn host_of(issuer: &str) -> &str {
    let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    rest.split(['/', ':']).next().filter(|host| !host.is_empty()).unwrap_or(issuer)
}
