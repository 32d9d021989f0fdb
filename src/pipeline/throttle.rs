//! Applies a route's rate limits, before and after authentication; refuses with 429 (RFC 6585 §4).
//!
//! The counting is done by `crate::throttle`. On a route that only observes, a broken limit is
//! recorded and the request goes on. `route` is the caller.

use super::{RequestContext, client_address};
use crate::dialect::Reason;
use crate::gateway::ServedRoute;
use crate::identity::Identity;
use crate::rejection::Rejection;
use crate::throttle::{LimitCaller, RateLimitHeaders};

impl RequestContext<'_> {
    /// Applies the rules by client and by route. They come first, so that a flood costs no
    /// verification of credentials.
    ///
    /// # Errors
    /// `RateLimited`, unless the route only observes.
    pub(super) fn admit_client(
        &mut self,
        route: &ServedRoute,
        rate_limits: &mut RateLimitHeaders,
    ) -> Result<(), Rejection> {
        if route.limits.is_empty() {
            return Ok(());
        }
        let address = self.counted_address();
        self.admit(route, LimitCaller::Unproved { address }, rate_limits)
    }

    /// Applies the rules by subject and by session. A caller who was let through without an
    /// identity is counted by the client's address.
    pub(super) fn admit_subject(
        &mut self,
        route: &ServedRoute,
        identity: Option<&Identity>,
        rate_limits: &mut RateLimitHeaders,
    ) -> Result<(), Rejection> {
        if route.limits.is_empty() {
            return Ok(());
        }
        let caller = match identity {
            Some(identity) => LimitCaller::Proved(identity),
            None => LimitCaller::Unknown { address: self.counted_address() },
        };
        self.admit(route, caller, rate_limits)
    }

    /// Counts a request under the route's rules and handles the first broken one.
    ///
    /// # Errors
    /// `RateLimited`, with the time of the next attempt, unless the route only observes.
    fn admit(
        &mut self,
        route: &ServedRoute,
        caller: LimitCaller<'_>,
        rate_limits: &mut RateLimitHeaders,
    ) -> Result<(), Rejection> {
        let Some(broken) = route.limits.admit(caller, self.now, rate_limits) else { return Ok(()) };
        self.gateway.shared.metrics.rate_limited(&route.name, broken.rule);
        let mut rejection = Rejection::new(Reason::RateLimited)
            .because(format!("over the rate limit by {}", broken.rule))
            .retry_after(broken.exceeded.retry_after);
        rejection.limits = Some(Box::new(rate_limits.clone()));
        let identity = match caller {
            LimitCaller::Proved(identity) => Some(identity),
            LimitCaller::Unproved { .. } | LimitCaller::Unknown { .. } => None,
        };
        self.refuse_or_record(route, rejection, identity)
    }

    /// The client's address for counting. `None` for an address that many clients share: they would
    /// otherwise share one limit and could lock each other out.
    pub(super) fn counted_address(&self) -> Option<std::net::IpAddr> {
        let shared = client_address::shares_address(&self.client, &self.generation.config);
        self.client.address.filter(|_| !shared)
    }
}
