//! Routes that answer by themselves: those in maintenance, redirects, fixed answers.
//!
//! Maintenance is answered before anybody is asked who he is. The others stand in the place of an
//! upstream: what the route demands was met before, and its `response_headers` are set after.

use http::header::{self, HeaderValue};
use http::uri::Uri;

use super::Exchange;
use crate::body::Response;
use crate::dialect::Reason;
use crate::gateway::Route;
use crate::identity::Identity;
use crate::rejection::Rejection;
use crate::routing::Target;
use crate::telemetry::record::Outcome;
use crate::upstream::headers;

impl Exchange<'_> {
    /// Everybody but some is told to come back later, before anything is looked at.
    pub(super) fn check_maintenance(&self, route: &Route) -> Result<(), Rejection> {
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

    /// An answer of the route's own on its way to the client.
    pub(super) fn answered(
        &mut self,
        route: &Route,
        target: &Target,
        identity: Option<&Identity>,
        mut response: Response,
    ) -> Response {
        if self.finish.record.outcome != Outcome::Observed {
            self.finish.record.outcome = Outcome::Answered;
        }
        let fields = response.headers_mut();
        // What not everybody may ask for is not for shared caches, which would answer everybody:
        // they know `Authorization`, but not our other credentials (RFC 9111 §3.5).
        if !route.config.is_open() && !fields.contains_key(header::CACHE_CONTROL) {
            fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        route.response_rules.apply(fields, &self.facts(identity, target, None));
        response
    }
}

/// What was asked for, without the credential that the route takes from the query: it is not for
/// whoever the client is sent to.
pub(super) fn asked_for(route: &Route, target: &Target) -> Uri {
    let mut asked = Uri::from(target.raw().clone());
    if route.config.query_credentials {
        headers::remove_from_query(&mut asked);
    }
    asked
}
