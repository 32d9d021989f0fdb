//! Routes that the gateway answers itself: maintenance, redirects and fixed answers.
//!
//! Maintenance is answered before authentication. Redirects and fixed answers stand in the place of
//! an upstream: the route's requirements have been met before, and its `response_headers` are
//! applied after. `route` is the caller.

use http::header::{self, HeaderValue};
use http::uri::Uri;

use super::RequestContext;
use crate::body::Response;
use crate::dialect::Reason;
use crate::gateway::ServedRoute;
use crate::headers::{self, QueryCredentials};
use crate::identity::Identity;
use crate::rejection::Rejection;
use crate::routing::Target;
use crate::telemetry::access_record::RequestOutcome;

impl RequestContext<'_> {
    /// Refuses requests during maintenance, except from the configured networks. It comes first, so
    /// that no work is done for a request that is refused anyway.
    ///
    /// # Errors
    /// `Unavailable` with the configured message and time to come back.
    pub(super) fn check_maintenance(&self, route: &ServedRoute) -> Result<(), Rejection> {
        let Some(maintenance) = &route.config.maintenance else { return Ok(()) };
        let is_in = |address| maintenance.networks.iter().any(|net| net.contains(&address));
        if self.client.address.is_some_and(is_in) {
            return Ok(());
        }
        let mut rejection = Rejection::new(Reason::Unavailable)
            .because("maintenance")
            .retry_after(maintenance.retry_after);
        rejection.detail = maintenance.message.as_deref().map(Into::into);
        Err(rejection)
    }

    /// Completes an answer of the route's own for the client.
    pub(super) fn answered(
        &mut self,
        route: &ServedRoute,
        target: &Target,
        identity: Option<&Identity>,
        mut response: Response,
    ) -> Response {
        if self.finish.record.outcome != RequestOutcome::Observed {
            self.finish.record.outcome = RequestOutcome::Answered;
        }
        let fields = response.headers_mut();
        // On a route that is not open, the answer must not be stored in shared caches, which would
        // give it to everybody. Caches know `Authorization`, but not the other credentials of the
        // gateway (RFC 9111 §3.5).
        if !route.config.is_open() && !fields.contains_key(header::CACHE_CONTROL) {
            fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        route.response_rules.apply(fields, &self.facts(identity, target, None));
        response
    }
}

/// The requested URI without the credential in its query. The target of a redirect must not get
/// that credential.
pub(super) fn requested_uri(route: &ServedRoute, target: &Target) -> Uri {
    let mut requested = Uri::from(target.raw().clone());
    let names = QueryCredentials {
        in_query: route.config.query_credentials,
        carriers: route.carriers.removed(),
        kept: &[],
    };
    headers::remove_from_query(&mut requested, names);
    requested
}
