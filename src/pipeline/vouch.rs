//! Telling an upstream who calls by a token of ours (`identity = "jwt"`).

use std::sync::Arc;

use http::HeaderValue;

use super::Exchange;
use crate::authn::Verified;
use crate::dialect::Reason;
use crate::gateway::Route;
use crate::rejection::Rejection;
use crate::runtime::Work;

impl Exchange<'_> {
    /// The token for the route's upstream; signed in the back room unless one is at hand.
    pub(super) async fn upstream_token(
        &self,
        route: &Route,
        verified: &Arc<Verified>,
    ) -> Result<HeaderValue, Rejection> {
        let (upstream, now) = (route.pool.name().clone(), self.now);
        let tokens = &self.generation.upstream_tokens;
        if let Some(held) = tokens.held(&upstream, verified.digest, now) {
            return Ok(held);
        }
        let (tokens, verified) = (tokens.clone(), verified.clone());
        let making =
            async move { tokens.make(&upstream, &verified.identity, verified.digest, now) };
        // Boxed: it is rare, and its size would be every request's.
        match Box::pin(self.gateway.shared.back_room.ask(Work::Inquiry, making)).await {
            Ok(Some(Ok(token))) => Ok(token),
            Ok(Some(Err(error))) => {
                Err(Rejection::new(Reason::Internal).because(error.to_string()))
            }
            Ok(None) => Err(Rejection::new(Reason::Internal).because("a panic while signing")),
            Err(full) => Err(Rejection::new(Reason::Unavailable).because(full.to_string())),
        }
    }
}
