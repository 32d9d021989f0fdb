//! The end of a session at a legacy system whose user logs out here.
//!
//! The sessions are read before they end here, and logged out there in the background. `login` calls
//! this file.

use std::sync::Arc;

use super::{KeptSystem, LegacySessions};
use crate::clock::Timestamp;
use crate::dialect::client::{self, LoginOutcome, RemoteTokens};
use crate::identity::SessionId;
use crate::session::{CredentialPlace, Session, StoreError};

/// Most sessions of one user that are logged out there together.
const MOST_OF_A_USER: usize = 1_000;

/// A session at a legacy system that is about to be logged out there.
#[derive(Debug)]
pub struct LeavingSession {
    source: String,
    tokens: RemoteTokens,
}

impl LegacySessions {
    /// The session, and all others of its user where `all` is true, before they end here.
    ///
    /// # Errors
    /// The store failed.
    pub async fn leaving(
        &self,
        id: SessionId,
        all: bool,
        now: Timestamp,
    ) -> Result<Vec<LeavingSession>, StoreError> {
        let Some(session) = self.parts.store.find(id, now).await? else { return Ok(Vec::new()) };
        let sessions = match all {
            true => {
                let found = self.parts.store.list(Some(&session.subject), MOST_OF_A_USER, now);
                let mut found = found.await?;
                found.retain(|other| other.realm == session.realm);
                found
            }
            false => vec![session],
        };
        Ok(sessions.into_iter().filter_map(|session| self.leaving_session(&session)).collect())
    }

    fn leaving_session(&self, session: &Session) -> Option<LeavingSession> {
        let tokens = self.open(CredentialPlace::Session(session.id), session.kept.as_ref()?)?;
        Some(LeavingSession { source: session.source.clone(), tokens })
    }

    /// Logs sessions out at their legacy systems, in the background. Nobody waits for it, and a
    /// failure changes nothing here: the sessions have ended.
    pub fn leave(self: &Arc<Self>, leaving: Vec<LeavingSession>) {
        for session in leaving {
            let Ok(place) = self.memory.logouts.clone().try_acquire_owned() else {
                tracing::warn!(
                    source = session.source,
                    "too many logouts at the legacy system: one is left out"
                );
                continue;
            };
            let sessions = self.clone();
            self.parts.background.spawn(async move {
                if let Err(cause) = sessions.log_out(&session).await {
                    let source = session.source;
                    tracing::warn!(
                        source,
                        "a session was not logged out at the legacy system: {cause}"
                    );
                }
                drop(place);
            });
        }
    }

    async fn log_out(&self, session: &LeavingSession) -> Result<(), String> {
        let Some(KeptSystem { legacy: system, .. }) = self.systems.get(&session.source) else {
            return Ok(());
        };
        // A dialect without a logout has nothing to be asked.
        let Ok(ask) = client::logout(system.speaker(), &session.tokens) else { return Ok(()) };
        match system.exchange(&ask).await? {
            LoginOutcome::Accepted(_) | LoginOutcome::Refused(_) | LoginOutcome::Pending(_) => {
                Ok(())
            }
            LoginOutcome::Throttled => Err("it takes no more requests now".to_owned()),
            LoginOutcome::Unexpected(cause) => Err(cause),
        }
    }
}
