//! Rate limits of a route: counted before and after it is known who calls, refused with 429.

use super::{Exchange, origin};
use crate::dialect::Reason;
use crate::gateway::Route;
use crate::identity::Identity;
use crate::rejection::Rejection;
use crate::throttle::{Caller, Told};

impl Exchange<'_> {
    /// Asks the rules by client and route, before anything is spent on the request.
    pub(super) fn admit_client(&mut self, route: &Route, told: &mut Told) -> Result<(), Rejection> {
        if route.limits.is_empty() {
            return Ok(());
        }
        let address = self.counted_address();
        self.admit(route, Caller::Unproved { address }, told)
    }

    /// Asks the rules by subject and session. Who was let through without proving who he is is
    /// counted by his address there too.
    pub(super) fn admit_subject(
        &mut self,
        route: &Route,
        identity: Option<&Identity>,
        told: &mut Told,
    ) -> Result<(), Rejection> {
        if route.limits.is_empty() {
            return Ok(());
        }
        let caller = match identity {
            Some(identity) => Caller::Proved(identity),
            None => Caller::Unknown { address: self.counted_address() },
        };
        self.admit(route, caller, told)
    }

    fn admit(
        &mut self,
        route: &Route,
        caller: Caller<'_>,
        told: &mut Told,
    ) -> Result<(), Rejection> {
        let Some(broken) = route.limits.admit(caller, self.now, told) else { return Ok(()) };
        self.gateway.shared.metrics.rate_limited(&route.name, broken.rule);
        let mut rejection = Rejection::new(Reason::RateLimited)
            .because(format!("over the rate limit by {}", broken.rule))
            .retry_after(broken.exceeded.retry_after);
        rejection.limits = Some(Box::new(told.clone()));
        let identity = match caller {
            Caller::Proved(identity) => Some(identity),
            Caller::Unproved { .. } | Caller::Unknown { .. } => None,
        };
        self.observe(route, rejection, identity)
    }

    /// The client's address; `None` for an address that many clients share, which would be one
    /// share, or one limit, for all of them.
    pub(super) fn counted_address(&self) -> Option<std::net::IpAddr> {
        let shared = origin::shares_address(&self.client, &self.generation.config);
        self.client.address.filter(|_| !shared)
    }
}
