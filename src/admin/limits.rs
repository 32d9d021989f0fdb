//! Limits of attempts that an operator lifts, where the wrong one was locked out.

use serde_json::json;

use super::operations::{Carried, Operations, failed};
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
        let mut unknown = None;
        for name in [Name::Username(name.clone()), Name::Email(name.clone())] {
            let mut accounts = vec![canonical_account(&name, None)];
            for source in sources.chunks(1) {
                match shared.users.resolve(source, &name).await {
                    Ok(Some(user)) => accounts.push(canonical_account(&name, Some(&user))),
                    Ok(None) => {}
                    Err(error) => unknown = Some(error),
                }
            }
            for account in accounts {
                shared.store.lift_limits(account, now).await.map_err(failed)?;
            }
        }
        self.audit("limits lift", &name);
        unknown.map_or(Ok(json!({})), |error| Err(failed(error)))
    }
}
