//! Lifts the limits of attempts for a user who was locked out by mistake.
//!
//! Only the counts of the account are forgotten; limits by address stay, because they may hold back
//! somebody else.

use serde_json::json;

use super::operations::{AdminOperations, CommandResult, failed, unknown};
use crate::users::{LoginName, canonical_account};

impl AdminOperations {
    /// Forgets the attempts that were counted for a name, in every source that knows it. If a
    /// source cannot be asked, the limits that could be found are lifted all the same, and the
    /// failure is reported.
    pub(super) async fn lift_limits(&self, name: String) -> CommandResult {
        let shared = &self.gateway.shared;
        let generation = self.gateway.generation();
        let sources: Vec<String> =
            generation.config.users.iter().map(|one| one.name.clone()).collect();
        let now = shared.clock.now();
        // Attempts are counted by user if the user is known, and which source knows the user
        // depends on the login; otherwise they are counted by the name as it was typed. All of
        // these counts are lifted.
        let mut silent = None;
        let mut known = false;
        let mut lifted = false;
        for name in [LoginName::Username(name.clone()), LoginName::Email(name.clone())] {
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
        // The command is audited even if it fails below: some limits may have been lifted.
        self.audit("limits lift", &name);
        match silent {
            Some(error) => Err(failed(error)),
            // A misspelt name must not look as if somebody had been let in again.
            None if !known && !lifted => Err(unknown(&format!("user `{name}`"))),
            None => Ok(json!({ "lifted": lifted })),
        }
    }
}
