//! Tells an upstream who the caller is, as the route configures it: by header fields, by a signed
//! token, or not at all.
//!
//! Only a verified identity is forwarded. `route::forward` calls it after the client's own fields
//! were removed, so that a client cannot forge them.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::RequestContext;
use crate::authn::VerifiedCredential;
use crate::dialect::Reason;
use crate::gateway::ServedRoute;
use crate::headers;
use crate::rejection::Rejection;
use crate::runtime::WorkKind;
use crate::settings::IdentityForm;
use crate::upstream::UpstreamPool;

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");

impl RequestContext<'_> {
    /// Writes the verified identity into the request's fields.
    ///
    /// # Errors
    /// A token is needed and could not be signed, or the background runtime has no place for it.
    pub(super) async fn vouch(
        &self,
        route: &ServedRoute,
        pool: &UpstreamPool,
        verified: &Arc<VerifiedCredential>,
        fields: &mut HeaderMap,
    ) -> Result<(), Rejection> {
        match &route.config.identity {
            IdentityForm::Headers => {
                let identity_headers =
                    verified.identity_headers(|| headers::identity_fields(&verified.identity));
                headers::set_identity(fields, identity_headers);
            }
            IdentityForm::Jwt(name) => {
                fields.insert(name.clone(), self.upstream_token(pool, verified).await?);
            }
            IdentityForm::None => {}
        }
        Ok(())
    }

    /// Tells the upstream the certificate that the client showed, if the route says so (RFC 9440,
    /// section 2.2). It was verified, here or in the handshake, and has to hold still.
    pub(super) fn show_certificate(&self, route: &ServedRoute, fields: &mut HeaderMap) {
        let shown = self.client.certificate.as_deref().filter(|_| route.config.forward_certificate);
        let Some(certificate) = shown.filter(|certificate| certificate.holds(self.now)) else {
            return;
        };
        let value = format!(":{}:", STANDARD.encode(&certificate.der));
        // Invariant: base64 and colons are always a valid field value.
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
            fields.insert(CLIENT_CERT, value);
        }
    }

    /// The token for the route's upstream. A recent one is reused; a new one is signed on the
    /// background runtime, because a signature would block the worker. It is not signed on the
    /// worker even once: all other requests of the worker would wait.
    async fn upstream_token(
        &self,
        pool: &UpstreamPool,
        verified: &Arc<VerifiedCredential>,
    ) -> Result<HeaderValue, Rejection> {
        let upstream = pool.name().clone();
        let now = self.now;
        let tokens = &self.generation.upstream_tokens;
        if let Some(cached) = tokens.cached(&upstream, verified.digest, now) {
            return Ok(cached);
        }
        let tokens = tokens.clone();
        let verified = verified.clone();
        let making =
            async move { tokens.make(&upstream, &verified.identity, verified.digest, now) };
        // Boxed because signing is rare: unboxed, the state would enlarge the future of every
        // request.
        match Box::pin(self.gateway.shared.background.run(WorkKind::Calling, making)).await {
            Ok(Some(Ok(token))) => Ok(token),
            Ok(Some(Err(error))) => {
                Err(Rejection::new(Reason::Internal).because(error.to_string()))
            }
            Ok(None) => Err(Rejection::new(Reason::Internal).because("a panic while signing")),
            Err(full) => Err(Rejection::new(Reason::Unavailable).because(full.to_string())),
        }
    }
}
