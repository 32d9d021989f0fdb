//! Limits of attempts that an operator lifts, where the wrong one was locked out.

use serde_json::json;

use super::operations::{Carried, Operations, failed, unknown};
use crate::users::{Name, canonical_account};

impl Operations {
    /// Forgets what was counted for a name, in whatever source it is known.
    pub(super) async fn lift_limits(&self, name: String) -> Carried {
        let shared = &self.gateway.shared;
        let generation = self.gateway.generation();
        let sources: Vec<String> =
            generation.config.users.iter().map(|one| one.name.clone()).collect();
        let now = shared.clock.now();
        // Counted by user where there is one, whose source depends on the login; else by the name
        // as it was typed.
        let mut silent = None;
        let (mut known, mut lifted) = (false, false);
        for name in [Name::Username(name.clone()), Name::Email(name.clone())] {
            let mut accounts = vec![canonical_account(&name, None)];
            for source in sources.chunks(1) {
                match generation.services.users.resolve(source, &name).await {
                    Ok(Some(user)) => {
                        known = true;
                        accounts.push(canonical_account(&name, Some(&user)));
                    }
                    Ok(None) => {}
                    Err(error) => silent = Some(error),
                }
            }
            for account in accounts {
                lifted |= shared.store.lift_limits(account, now).await.map_err(failed)?;
            }
        }
        self.audit("limits lift", &name);
        match silent {
            Some(error) => Err(failed(error)),
            // A misspelt name must not look as if somebody had been let in again.
            None if !known && !lifted => Err(unknown(&format!("user `{name}`"))),
            None => Ok(json!({ "lifted": lifted })),
        }
    }
}
