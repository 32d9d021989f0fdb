//! Verifies a request that is signed.
//!
//! The body is read only after the key, its network and the time were found good, within the route's
//! `body_limit`, the client's share of memory, and the time for which the signed time still counts.
//! It is forwarded as it was read. A request with a valid signature is remembered and not accepted
//! again. `authenticate` is the caller.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body as _;

use super::{RequestContext, dry_run};
use crate::authn::{
    PendingSignature, RequestSignature, SignedOnce, SignedRequest, TokenError, VerifiedCredential,
};
use crate::body::{Body, BodyError};
use crate::client::address_group;
use crate::dialect::Reason;
use crate::gateway::ServedRoute;
use crate::rejection::Rejection;
use crate::routing::Target;
use crate::runtime::WorkKind;

/// The largest body whose signature is verified on the worker. A larger one takes longer than a
/// millisecond, for which all other requests of the worker would wait.
const AT_ONCE: usize = 64 << 10;

impl RequestContext<'_> {
    /// Verifies the signature of a request, and reads its body if it is signed.
    ///
    /// # Errors
    /// The refusal of the signature, and a body that is too large, too slow or broken off.
    pub(super) async fn by_signature(
        &mut self,
        route: &ServedRoute,
        presented: RequestSignature,
        body: &mut Body,
        target: &Target,
    ) -> Result<Arc<VerifiedCredential>, Rejection> {
        let verifier = route.carriers.signature();
        let verifier = verifier.ok_or_else(|| Rejection::new(Reason::Internal))?;
        let pending = verifier.find(presented, self.client.address, self.now)?;
        let mut request = signed_request(target);
        if verifier.needs_body() && !body.is_end_stream() {
            if let Some(notes) = &self.gateway.shared.dry_run {
                return Err(dry_run::omitted_signature(notes));
            }
            request.body = self.read_signed(route, body, &pending).await?;
        }
        let signed = self.verify_signed(&pending, request).await??;
        let seen = &self.gateway.shared.seen_signatures;
        let verified = pending.identity(self.now)?;
        match self.gateway.shared.dry_run {
            None => seen.remember(&signed, self.now)?,
            Some(_) => seen.check(&signed)?,
        }
        Ok(verified)
    }

    /// Reads the body into memory, and leaves one in its place that is there already. The clock is
    /// read again, because the client may have taken its time.
    async fn read_signed(
        &mut self,
        route: &ServedRoute,
        body: &mut Body,
        pending: &PendingSignature,
    ) -> Result<Bytes, Rejection> {
        let bounds = &self.client.bounds;
        let room = self.gateway.shared.bodies.open(self.counted_address().map(address_group));
        let arriving = std::mem::take(body).paced(bounds.body_idle, bounds.body_rate);
        let reading = arriving.read_within(route.config.body_limit, room);
        let limit = pending.time_left(self.now);
        let overdue = |_| Err(BodyError::Overdue { limit });
        let bytes = tokio::time::timeout(limit, reading).await.unwrap_or_else(overdue)?;
        *body = Body::full(bytes.clone());
        self.now = self.gateway.shared.clock.now();
        Ok(bytes)
    }

    /// Verifies the signature here, or on the background runtime if the body is large.
    async fn verify_signed(
        &self,
        pending: &PendingSignature,
        request: SignedRequest,
    ) -> Result<Result<SignedOnce, TokenError>, Rejection> {
        if request.body.len() <= AT_ONCE {
            return Ok(pending.verify(&request));
        }
        let origin = self.counted_address().map(address_group);
        // The signed bytes contain a copy of the body.
        let mut room = self.gateway.shared.bodies.open(origin);
        room.grow_to(request.body.len()).map_err(BodyError::from)?;
        let background = &self.gateway.shared.background;
        let place = background.reserve(WorkKind::Lookup, origin)?;
        let pending = pending.clone();
        let verifying = async move {
            let verified = pending.verify(&request);
            drop(room);
            verified
        };
        let verified = background.run_reserved(place, verifying).await;
        verified.ok_or_else(|| Rejection::new(Reason::Internal).because("a panic in a signature"))
    }
}

/// The request as it is signed, still without its body.
pub(super) fn signed_request(target: &Target) -> SignedRequest {
    SignedRequest {
        method: target.method().clone(),
        target: target.raw().clone(),
        host: target.authority().to_owned(),
        body: Bytes::new(),
    }
}
