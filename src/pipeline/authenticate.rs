//! Who calls a route: its one credential, proved.
//!
//! What is in memory is judged on the worker; where somebody else has to be asked first, the back
//! room asks and the request waits.

use std::sync::Arc;

use http::request::Parts;

use super::Exchange;
use crate::authn::{Credential, Unproved, Verified};
use crate::client::Scheme;
use crate::dialect::Reason;
use crate::gateway::Route;
use crate::rejection::Rejection;
use crate::runtime::Work;
use crate::upstream::headers::Kept;

/// A credential that was found good, and where the request has it.
pub(super) struct Proved {
    pub(super) verified: Arc<Verified>,
    pub(super) carrier: Kept,
}

impl Exchange<'_> {
    pub(super) async fn authenticate(
        &self,
        route: &Route,
        head: &Parts,
    ) -> Result<Proved, Rejection> {
        let found = Credential::extract(&head.headers, head.uri.query(), route.accept);
        let found =
            found.map_err(|error| Rejection::new(error.reason()).because(error.to_string()))?;
        let credential = found
            .ok_or_else(|| Rejection::new(Reason::CredentialMissing).because("no credential"))?;
        if self.client.scheme == Scheme::Http && !self.may_be_plain() {
            return Err(Rejection::new(Reason::TlsRequired).because("a credential without TLS"));
        }
        let carrier = match credential {
            Credential::Bearer(_) => Kept::Bearer,
            // A pair in both places would have been refused.
            Credential::Pair { .. } if route.accept.token_key && has_pair(head) => Kept::TokenKey,
            Credential::Pair { .. } => Kept::Query,
        };
        let verified = match self.generation.verifier.verify(&credential, self.now) {
            Ok(verified) => verified,
            Err(Unproved::Refused(refusal)) => {
                return Err(Rejection::new(refusal.reason).because(refusal.cause));
            }
            // Boxed: it is rare, and its size would be every request's.
            Err(Unproved::Ask(_)) => Box::pin(self.inquire(credential)).await?,
        };
        Ok(Proved { verified, carrier })
    }

    /// Whether the route would take the credential: for endpoints that answer only without one.
    pub(super) async fn is_authenticated(&self, route: &Route, head: &Parts) -> bool {
        self.authenticate(route, head).await.is_ok()
    }

    async fn inquire(&self, credential: Credential) -> Result<Arc<Verified>, Rejection> {
        let (verifier, now) = (self.generation.verifier.clone(), self.now);
        let proving = async move { verifier.prove(&credential, now).await };
        match self.gateway.shared.back_room.ask(Work::Inquiry, proving).await {
            Ok(Some(Ok(verified))) => Ok(verified),
            Ok(Some(Err(refusal))) => Err(Rejection::new(refusal.reason).because(refusal.cause)),
            Ok(None) => Err(Rejection::new(Reason::Internal).because("a panic in an inquiry")),
            Err(full) => Err(Rejection::new(Reason::Unavailable).because(full.to_string())),
        }
    }
}

fn has_pair(head: &Parts) -> bool {
    head.headers.contains_key("x-access-token")
}
