//! Credentials that only a route's upstream can verify. They are passed on as they are, without an
//! identity.
//!
//! A request with such a credential, and without one of ours, goes on unverified. With one of ours
//! beside it the request is ambiguous and refused. A token or key that the gateway itself issued is
//! never passed on in this way: it is verified here or not used at all. `route::decide` is the
//! caller.

use http::header;
use http::request::Parts;

use super::RequestContext;
use super::explain::Verdict;
use crate::authn::RequestCredential;
use crate::dialect::Reason;
use crate::gateway::ServedRoute;
use crate::headers::ForwardedCredential;
use crate::rejection::Rejection;
use crate::settings::PassRule;
use crate::telemetry::access_record::RequestOutcome;

impl RequestContext<'_> {
    /// The credentials that are kept if the request is passed on unverified; `None` if it is not
    /// passed on.
    ///
    /// # Errors
    /// The request also has a credential that the gateway would verify.
    pub(super) fn passed(
        &mut self,
        route: &ServedRoute,
        head: &Parts,
    ) -> Result<Option<ForwardedCredential>, Rejection> {
        let mut by_field = false;
        let mut authorization = false;
        for rule in &route.config.pass {
            match rule {
                PassRule::Header(name) => {
                    let mut values = head.headers.get_all(name).iter();
                    by_field |= values.any(|value| !self.is_of_ours(value.as_bytes()));
                }
                PassRule::Scheme(scheme) => authorization |= self.has_scheme(head, scheme),
            }
        }
        if !by_field && !authorization {
            return Ok(None);
        }
        let api_keys = &self.generation.services.api_keys;
        let own =
            RequestCredential::extract(head, route.accept, api_keys.header(), &route.carriers);
        if !matches!(own, Ok(None)) {
            let cause = "a credential to be verified here beside one to be passed on";
            return Err(Rejection::new(Reason::AmbiguousCredential).because(cause));
        }
        let api_key = !api_keys.claims_local_key(head);
        self.finish.metrics().passed();
        self.finish.record.outcome = RequestOutcome::Passed;
        self.grounds.verdict = Some(Verdict::Passed);
        Ok(Some(ForwardedCredential::Passed { authorization, api_key }))
    }

    /// True if `Authorization` has this scheme and its token is not ours.
    fn has_scheme(&self, head: &Parts, scheme: &str) -> bool {
        let Some(value) = head.headers.get(header::AUTHORIZATION) else { return false };
        let value = value.as_bytes();
        let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (said, rest) = value.split_at(end);
        said.eq_ignore_ascii_case(scheme.as_bytes()) && !self.is_of_ours(rest.trim_ascii())
    }

    /// True if the token names the gateway as its issuer.
    fn is_of_ours(&self, token: &[u8]) -> bool {
        std::str::from_utf8(token)
            .is_ok_and(|token| self.generation.verifier.claims_local_issuer(token))
    }
}
