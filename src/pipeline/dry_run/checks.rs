//! The checks that a request passes, in the order of the pipeline, with the outcome of each.

use std::sync::Arc;

use http::header;

use super::DryRun;
use super::explanation::Check;
use super::limits::{allowance, limit_name};
use super::step::{Step, is_own, limit_step};
use crate::authn::RequestCredential;
use crate::clock::Timestamp;
use crate::gateway::ServedRoute;
use crate::routing::RouteMatch;
use crate::settings::CredentialKind;

/// A check that belongs to a step. Several checks of one step are told apart by `part`.
struct PlannedCheck {
    step: Step,
    /// The position among the checks of its step.
    part: usize,
    check: &'static str,
    detail: String,
}

/// The parts of verifying a token, in their order, with words of the causes by which they fail. What
/// fits no other part is about the form of the token.
const TOKEN_PARTS: [(&str, &[&str]); 7] = [
    ("form", &[]),
    ("issuer", &["issuer", "no login has", "only its issuer"]),
    ("signature", &["signature", "key has this id", "keys could not"]),
    ("claims", &["meant for others", "claim", "type", "lifetime", "subject is not", "ID token"]),
    ("binding", &["its key", "not the token's", "names no key", "certificate", "bound to"]),
    ("time", &["expired", "not valid yet", "in the future", "date", "older than", "any more"]),
    ("revocation", &["revoked", "has ended", "was not reviewed"]),
];

impl DryRun<'_> {
    /// The checks; `failed` is the step that failed.
    pub(super) fn checks(&self, failed: Option<Step>) -> Vec<Check> {
        let failed_part = failed.filter(|step| *step == Step::Proof).map(|_| self.failed_part());
        let planned = self.planned();
        let outcome = |one: &PlannedCheck| self.outcome(one, failed, failed_part);
        planned
            .iter()
            .map(|one| {
                let outcome = outcome(one);
                let cause = self.facts.cause.clone().unwrap_or_default();
                let has_failed = matches!(outcome, "failed" | "observed");
                let detail = match (has_failed && !cause.is_empty(), one.detail.as_str()) {
                    (false, detail) => detail.to_owned(),
                    (true, "") => cause,
                    (true, detail) => format!("{cause}; {detail}"),
                };
                Check { check: one.check, outcome, detail }
            })
            .collect()
    }

    fn outcome(
        &self,
        one: &PlannedCheck,
        failed: Option<Step>,
        part: Option<usize>,
    ) -> &'static str {
        let Some(failed) = failed else { return "passed" };
        let position = (one.step, one.part);
        let failure = (failed, part.unwrap_or_default());
        if position < failure {
            return "passed";
        }
        if position == failure {
            return match (self.is_undecided(), self.facts.is_observed()) {
                (true, _) => "unknown",
                (false, true) => "observed",
                (false, false) => "failed",
            };
        }
        // On a route that observes, the request goes on after the first broken rule. What is about
        // the caller is not looked at any more.
        let goes_on = matches!(one.step, Step::SubjectLimit(_)) || one.step > Step::Claims;
        if self.facts.is_observed() && goes_on { "passed" } else { "not_reached" }
    }

    fn planned(&self) -> Vec<PlannedCheck> {
        let plan = |step, check, detail| PlannedCheck { step, part: 0, check, detail };
        let path = self.target.as_ref().map(|target| format!("`{}`", target.path()));
        let mut planned = vec![plan(Step::Target, "target", path.unwrap_or_default())];
        if self.client.redirect {
            planned.push(plan(Step::Listener, "listener", "it only redirects to https".to_owned()));
        }
        if self.target.is_err() || self.client.redirect {
            return planned;
        }
        planned.push(plan(Step::Table, "route", self.found_text()));
        if let Some(route) = self.route() {
            self.plan_before(route, &mut planned);
            self.plan_credential(route, &mut planned);
            self.plan_after(route, &mut planned);
        }
        // A limit by caller stands behind the proof, whatever its number among the rules is.
        planned.sort_by_key(|one| (one.step, one.part));
        planned
    }

    /// The result of the table, in words.
    fn found_text(&self) -> String {
        match self.found() {
            Some(RouteMatch::Route(route)) => format!("`{}`", route.name),
            Some(RouteMatch::Login(login)) => format!("login `{}`", login.login.config.name),
            Some(RouteMatch::LoginOrRoute { login, route }) => {
                let below = route.map(|route| format!(", below it route `{}`", route.name));
                let name = &login.login.config.name;
                format!("login `{name}` without a valid credential{}", below.unwrap_or_default())
            }
            Some(RouteMatch::WrongMethod { allow, .. }) => {
                let allow: Vec<&str> = allow.iter().map(http::Method::as_str).collect();
                format!("the path takes {}", allow.join(", "))
            }
            Some(RouteMatch::AmbiguousPath | RouteMatch::NoRoute) | None => String::new(),
        }
    }

    fn plan_before(&self, route: &ServedRoute, planned: &mut Vec<PlannedCheck>) {
        if let Some(maintenance) = &route.config.maintenance {
            let networks = maintenance.networks.len();
            let detail = format!("the route is under maintenance, except from {networks} networks");
            planned.push(PlannedCheck {
                step: Step::Maintenance,
                part: 0,
                check: "maintenance",
                detail,
            });
        }
        for (number, rule) in route.config.rate_limit.iter().enumerate() {
            let name = limit_name(route, number);
            let detail = format!("{name}: {}", allowance(rule));
            let step = limit_step(number, rule);
            planned.push(PlannedCheck { step, part: 0, check: "rate_limit", detail });
        }
    }

    fn plan_credential(&self, route: &ServedRoute, planned: &mut Vec<PlannedCheck>) {
        let config = &route.config;
        let kinds: Vec<&str> = config.auth.iter().map(|kind| kind.name()).collect();
        let detail = match (&self.credential(), kinds.is_empty()) {
            (Some(found), _) => format!("{} in {}", found.kind, found.carrier),
            (None, true) => "none is asked for".to_owned(),
            (None, false) => format!("the route takes {}", kinds.join(", ")),
        };
        planned.push(PlannedCheck { step: Step::Credential, part: 0, check: "credential", detail });
        let Some(kind) = self.facts.credential else { return };
        let scheme = self.client.scheme.as_str();
        let detail = format!("the client speaks {scheme}");
        planned.push(PlannedCheck { step: Step::Tls, part: 0, check: "tls", detail });
        if let Some(RequestCredential::Login(token)) = self.presented(route)
            && route.carriers.forgery_rule(token.carrier).is_some()
        {
            let detail = "a browser sends the cookie by itself".to_owned();
            planned.push(PlannedCheck { step: Step::Site, part: 0, check: "site", detail });
        }
        match kind {
            CredentialKind::Bearer | CredentialKind::TokenKey | CredentialKind::Login => {
                for (part, (check, _)) in TOKEN_PARTS.into_iter().enumerate() {
                    let detail = self.token_detail(route, check);
                    planned.push(PlannedCheck { step: Step::Proof, part, check, detail });
                }
            }
            CredentialKind::ApiKey
            | CredentialKind::Signature
            | CredentialKind::Basic
            | CredentialKind::Certificate => {
                let detail = String::new();
                planned.push(PlannedCheck {
                    step: Step::Proof,
                    part: 0,
                    check: kind.name(),
                    detail,
                });
            }
        }
    }

    /// The state of one part of a token's verification, as far as it is known.
    fn token_detail(&self, route: &ServedRoute, check: &str) -> String {
        let claimed = self.claimed();
        let claim = |name: &str| {
            let value = claimed.as_ref()?.claims.get(name)?;
            Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        let time = |name: &str| {
            let seconds = claimed.as_ref()?.claims.get(name)?.as_u64()?;
            Some(Timestamp::from_secs(seconds))
        };
        match check {
            "issuer" => claim("iss").map(|issuer| format!("`{issuer}`")),
            "signature" => claimed.as_ref().map(|claimed| {
                let key = claimed.key_id.as_deref().unwrap_or("without an id");
                format!("{}, key {key}", claimed.algorithm)
            }),
            "claims" => claim("aud").map(|audience| format!("for {audience}")),
            "time" => time("exp").map(|end| format!("until {end}")),
            "revocation" => {
                let proved = self.proved(route);
                let session = proved.and_then(|verified| verified.identity.session);
                session.map(|session| format!("session {session}"))
            }
            _ => None,
        }
        .unwrap_or_default()
    }

    /// The number of the check that a credential failed.
    fn failed_part(&self) -> usize {
        if !self.facts.credential.is_some_and(CredentialKind::is_token) {
            return 0;
        }
        if self.is_undecided() {
            // The issuer is named by its token, and would have to be asked for all that follows.
            return 2;
        }
        let cause = self.facts.cause.as_deref().unwrap_or_default();
        let is_of = |(_, words): &(&str, &[&str])| words.iter().any(|word| cause.contains(word));
        // The last part that fits: "the issuer is not accepted any more" is about time.
        TOKEN_PARTS.iter().rposition(is_of).unwrap_or_default()
    }

    fn plan_after(&self, route: &ServedRoute, planned: &mut Vec<PlannedCheck>) {
        let config = &route.config;
        let mut plan =
            |step, check, detail| planned.push(PlannedCheck { step, part: 0, check, detail });
        if let Some(verified) = self.proved(route) {
            let identity = &verified.identity;
            let has = |names: &[Arc<str>]| names.join(", ");
            if !config.issuers.is_empty() {
                let of = &identity.issuer;
                let detail = format!("takes {}; is of {of}", config.issuers.join(", "));
                plan(Step::Issuers, "issuers", detail);
            }
            if !config.logins.is_empty() && is_own(&identity.issuer) {
                let of = &identity.login;
                let detail = format!("takes {}; is of {of}", config.logins.join(", "));
                plan(Step::Logins, "logins", detail);
            }
            let require = &config.require;
            if !require.roles.is_empty() {
                let wanted = require.roles.join(", ");
                let detail = format!("one of {wanted}; has {}", shown(&has(&identity.roles)));
                plan(Step::Roles, "require.roles", detail);
            }
            if !require.scopes.is_empty() {
                let wanted = require.scopes.join(", ");
                let detail = format!("all of {wanted}; has {}", shown(&has(&identity.scopes)));
                plan(Step::Scopes, "require.scopes", detail);
            }
            if !require.claims.is_empty() {
                let wanted = require.claims.iter().map(|(name, value)| format!("{name} = {value}"));
                let detail = wanted.collect::<Vec<_>>().join(", ");
                plan(Step::Claims, "require.claims", detail);
            }
        }
        if let Some(length) = self.head.headers.get(header::CONTENT_LENGTH) {
            let length = length.to_str().unwrap_or_default();
            let detail = format!("{length} of at most {} bytes", config.body_limit);
            plan(Step::BodyLimit, "body_limit", detail);
        }
        if let Some(upstream) = config.upstream() {
            let server = self.captured.as_ref().map(|request| request.server.to_string());
            let detail = match server {
                Some(server) => format!("`{upstream}`, server {server}"),
                None => format!("`{upstream}`"),
            };
            plan(Step::Upstream, "upstream", detail);
        }
    }
}

fn shown(list: &str) -> &str {
    if list.is_empty() { "none" } else { list }
}
