//! The commands about signing keys: list, rotate, revoke, import.

use http::StatusCode;
use serde_json::{Value, json};

use super::operations::{AdminOperations, CommandResult, failed};
use crate::algorithm::Algorithm;
use crate::format::error_chain;
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
        let ring = self.gateway.shared.ring.clone();
        let now = self.gateway.shared.clock.now();
        self.change_keys(move || ring.rotate(algorithm, now)).await
    }

    pub(super) async fn revoke_key(&self, kid: String) -> CommandResult {
        let ring = self.gateway.shared.ring.clone();
        let now = self.gateway.shared.clock.now();
        self.change_keys(move || ring.revoke(&kid, now)).await
    }

    /// Changes the key ring on a thread that may block, audits each step, and answers with the new
    /// list. Keys are written to disk, so the change must not run on a worker.
    pub(super) async fn change_keys<F>(&self, change: F) -> CommandResult
    where
        F: FnOnce() -> Result<Vec<KeyEvent>, KeyError> + Send + 'static,
    {
        let changed = self.gateway.shared.background.block_on_thread(change).await;
        let changed = changed.ok_or_else(|| failed("the key ring could not be changed"))?;
        let events = changed.map_err(|error| (StatusCode::CONFLICT, error_chain(&error)))?;
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

pub(super) fn algorithm_of(
    name: Option<String>,
) -> Result<Option<Algorithm>, (StatusCode, String)> {
    match name {
        Some(name) => match Algorithm::parse(&name) {
            Some(algorithm) => Ok(Some(algorithm)),
            None => Err((StatusCode::BAD_REQUEST, format!("`{name}` is no algorithm we know"))),
        },
        None => Ok(None),
    }
}
