//! Second steps of users: a secret for an authenticator is made here, and shown once.

use http::StatusCode;
use serde_json::json;

use super::operations::{Carried, Operations, failed, unknown};
use crate::identity::Subject;
use crate::login::{new_totp, totp_address};

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
        let subject = self.holder(user, source).await?;
        let held = shared.store.find_totp(&subject).await.map_err(failed)?;
        if held.is_some() && !replace {
            let problem = format!("`{user}` has a second step: replace it or remove it");
            return Err((StatusCode::CONFLICT, problem));
        }
        let totp = new_totp(shared.clock.now());
        let generation = self.gateway.generation();
        let issuer = host_of(&generation.config.token.issuer);
        let address = totp_address(&totp, issuer, user)
            .ok_or_else(|| failed("an authenticator could not read that name"))?;
        shared.store.put_totp(&subject, Some(totp)).await.map_err(failed)?;
        // Passwords alone do not let him in any more.
        shared.proofs.forget();
        self.audit(if held.is_some() { "totp replaced" } else { "totp made" }, user);
        Ok(json!({ "uri": address.expose() }))
    }

    /// Takes a user's second step away; logins that wait for its code fail.
    pub(super) async fn remove_totp(&self, user: &str, source: Option<&str>) -> Carried {
        let store = &self.gateway.shared.store;
        let subject = self.holder(user, source).await?;
        if store.find_totp(&subject).await.map_err(failed)?.is_none() {
            return Err(unknown(&format!("a second step of `{user}`")));
        }
        store.put_totp(&subject, None).await.map_err(failed)?;
        self.audit("totp removed", user);
        Ok(json!({}))
    }

    /// The user of this name, looked for in one source or in all.
    async fn holder(
        &self,
        user: &str,
        source: Option<&str>,
    ) -> Result<Subject, (StatusCode, String)> {
        let Some(source) = source else { return self.subject(user).await };
        let generation = self.gateway.generation();
        if !generation.config.users.iter().any(|one| one.name == source) {
            return Err(unknown(&format!("user source `{source}`")));
        }
        let subject = self.named(&[source.to_owned()], user).await?;
        subject.ok_or_else(|| unknown(&format!("user `{user}` of source `{source}`")))
    }
}

/// What an authenticator shows over the codes: the host of the issuer's address.
fn host_of(issuer: &str) -> &str {
    let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    rest.split(['/', ':']).next().filter(|host| !host.is_empty()).unwrap_or(issuer)
}
