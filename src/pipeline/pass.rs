//! Credentials that only a route's upstream can verify: passed on as they are, without identity.
//!
//! A request that carries one of them and none of ours goes on unproved; with one of ours beside
//! it, it is as ambiguous as with two of ours. What we gave out ourselves is never passed on so:
//! it is judged here, or not at all.

use http::header;
use http::request::Parts;

use super::Exchange;
use crate::authn::Presented;
use crate::config::PassRule;
use crate::dialect::Reason;
use crate::gateway::Route;
use crate::rejection::Rejection;
use crate::telemetry::record::Outcome;
use crate::upstream::headers::Kept;

impl Exchange<'_> {
    /// What of the request is kept if it is passed on unproved; `None` where it is not.
    ///
    /// # Errors
    /// Where it carries a credential that is ours to verify besides.
    pub(super) fn passed(
        &mut self,
        route: &Route,
        head: &Parts,
    ) -> Result<Option<Kept>, Rejection> {
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
        if !matches!(Presented::extract(head, route.accept, api_keys.header()), Ok(None)) {
            let cause = "a credential to be verified here beside one to be passed on";
            return Err(Rejection::new(Reason::AmbiguousCredential).because(cause));
        }
        let api_key = !api_keys.names_us(head);
        self.finish.metrics().passed();
        self.finish.record.outcome = Outcome::Passed;
        Ok(Some(Kept::Passed { authorization, api_key }))
    }

    fn has_scheme(&self, head: &Parts, scheme: &str) -> bool {
        let Some(value) = head.headers.get(header::AUTHORIZATION) else { return false };
        let value = value.as_bytes();
        let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (said, rest) = value.split_at(end);
        said.eq_ignore_ascii_case(scheme.as_bytes()) && !self.is_of_ours(rest.trim_ascii())
    }

    fn is_of_ours(&self, token: &[u8]) -> bool {
        std::str::from_utf8(token).is_ok_and(|token| self.generation.verifier.names_us(token))
    }
}
