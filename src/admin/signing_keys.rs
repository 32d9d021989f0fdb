//! The commands about signing keys: list, rotate, revoke, import.

use http::StatusCode;
use serde_json::{Value, json};

use super::operations::{AdminOperations, CommandResult, failed};
use crate::algorithm::Algorithm;
use crate::format::error_chain;
use crate::secret::SecretString;
use crate::token::{KeyError, KeyEvent, KeyState};

impl AdminOperations {
    /// The public facts about each key of the ring.
    pub(super) fn keys(&self) -> Value {
        let keys = self.gateway.shared.ring.list();
        let listed = keys.iter().map(|key| {
            json!({
                "kid": &*key.kid,
                "algorithm": key.algorithm.as_str(),
                "state": match key.state {
                    KeyState::Pending => "pending",
                    KeyState::Signing => "signing",
                    KeyState::Retired => "retired",
                },
                "created": key.created.to_string(),
                "signs_from": key.signs_from.to_string(),
            })
        });
        json!({ "keys": listed.collect::<Vec<_>>() })
    }

    pub(super) async fn rotate_keys(&self, algorithm: Option<String>) -> CommandResult {
        let algorithm = algorithm_of(algorithm)?;
        self.answer_change(self.signing_keys.rotate(algorithm).await)
    }

    pub(super) async fn revoke_key(&self, kid: &str) -> CommandResult {
        self.answer_change(self.signing_keys.revoke(kid).await)
    }

    pub(super) async fn import_key(
        &self,
        key: SecretString,
        algorithm: Option<String>,
    ) -> CommandResult {
        let algorithm = algorithm_of(algorithm)?;
        self.answer_change(self.signing_keys.import(key, algorithm).await)
    }

    /// Audits each step of a change, and answers with the new list.
    fn answer_change(&self, changed: Result<Vec<KeyEvent>, KeyError>) -> CommandResult {
        let events = changed.map_err(|error| match error.is_temporary() {
            true => failed(error_chain(&error)),
            false => (StatusCode::CONFLICT, error_chain(&error)),
        })?;
        let mut failure = None;
        for event in events {
            self.audit_key(&event);
            if let KeyEvent::Failed { cause } = event {
                failure = Some(cause);
            }
        }
        failure.map_or_else(|| Ok(self.keys()), |cause| Err((StatusCode::CONFLICT, cause)))
    }
}

fn algorithm_of(name: Option<String>) -> Result<Option<Algorithm>, (StatusCode, String)> {
    match name {
        Some(name) => match Algorithm::parse(&name) {
            Some(algorithm) => Ok(Some(algorithm)),
            None => Err((StatusCode::BAD_REQUEST, format!("`{name}` is no algorithm we know"))),
        },
        None => Ok(None),
    }
}
