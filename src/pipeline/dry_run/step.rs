//! The step of the pipeline at which a request failed, and the key of `gateway.toml` that decided.
//!
//! The step is derived from the results of the run: the reason and its cause, how far the grounds
//! of the decision came, and whether the caller was proved.

use crate::authz::PermitError;
use crate::dialect::Reason;
use crate::gateway::{OmittedStep, RouteTarget, ServedRoute};
use crate::identity::{SELF_ISSUER, Subject};
use crate::pipeline::RequestContext;
use crate::pipeline::explain::Verdict;
use crate::settings::{CredentialKind, LimitBy, RateLimit};
use crate::telemetry::access_record::RequestOutcome;

use super::explanation::Place;
use super::{Answered, DryRun, is_of_omission};

/// The steps of a request that can fail, in their order. A limit has the number of its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Target,
    Listener,
    Table,
    Maintenance,
    ClientLimit(usize),
    MethodOverride,
    Preflight,
    Credential,
    Tls,
    Site,
    Proof,
    SubjectLimit(usize),
    Issuers,
    Logins,
    Roles,
    Scopes,
    Claims,
    BodyLimit,
    Rewrite,
    Hops,
    Upstream,
}

/// The traces that a run has left behind.
pub(super) struct RunFacts {
    pub(super) status: u16,
    pub(super) outcome: RequestOutcome,
    pub(super) reason: Option<&'static str>,
    pub(super) cause: Option<String>,
    /// The name of the form that a refusal has.
    pub(super) form: String,
    /// The route's name, or `login:` and that of the login.
    pub(super) route: Option<String>,
    pub(super) subject: Option<Subject>,
    pub(super) credential: Option<CredentialKind>,
    pub(super) verdict: Option<Verdict>,
    /// The value of `RateLimit`, as the client would see it.
    pub(super) rate_limits: Option<String>,
    /// False if the run ended at a step that was left out.
    is_answered: bool,
}

impl RunFacts {
    /// The facts of a run that has `answered`.
    pub(super) fn of(context: &mut RequestContext<'_>, answered: Answered) -> Self {
        let mut form = context.form.name().to_owned();
        let mut is_answered = true;
        let response = match answered {
            Ok(response) => response,
            Err(rejection) => {
                is_answered = !is_of_omission(&rejection);
                if let Some(own) = &rejection.form {
                    form = own.name().to_owned();
                }
                context.refuse(rejection)
            }
        };
        if context.grpc.is_some() {
            form = "grpc".to_owned();
        }
        let record = &context.finish.record;
        let rate_limits = response.headers().get("ratelimit");
        Self {
            status: response.status().as_u16(),
            outcome: record.outcome,
            reason: record.reason,
            cause: record.cause.clone(),
            form,
            route: record.route.as_ref().map(|route| route.name().to_owned()),
            subject: record.subject.clone(),
            credential: context.grounds.credential,
            verdict: context.grounds.verdict,
            rate_limits: rate_limits.and_then(|value| value.to_str().ok()).map(str::to_owned),
            is_answered,
        }
    }

    fn has_reason(&self, reason: Reason) -> bool {
        self.reason == Some(reason.code())
    }

    /// True if the cause begins like this.
    fn is_because(&self, cause: &str) -> bool {
        self.cause.as_deref().is_some_and(|found| found.starts_with(cause))
    }

    /// True if a rule was broken and only recorded.
    pub(super) fn is_observed(&self) -> bool {
        self.outcome == RequestOutcome::Observed
    }
}

/// The word for the verdict of a route.
pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Open => "open",
        Verdict::Preflight => "preflight",
        Verdict::Passed => "passed",
        Verdict::Permitted => "permitted",
    }
}

impl DryRun<'_> {
    /// The step that failed; `None` if none did.
    pub(super) fn failed_step(&self) -> Option<Step> {
        let facts = &self.facts;
        if !facts.is_answered {
            return Some(Step::Proof);
        }
        facts.reason?;
        if self.target.is_err() {
            return Some(Step::Target);
        }
        if facts.has_reason(Reason::TlsRequired) {
            let is_late = facts.route.is_some();
            return Some(if is_late { Step::Tls } else { Step::Listener });
        }
        match self.route() {
            Some(route) => Some(self.failed_step_of(route)),
            None if self.client.redirect => Some(Step::Listener),
            None => Some(Step::Table),
        }
    }

    fn failed_step_of(&self, route: &ServedRoute) -> Step {
        let facts = &self.facts;
        if facts.is_because("maintenance") && facts.has_reason(Reason::Unavailable) {
            return Step::Maintenance;
        }
        if let Some(rule) = self.broken_limit(route) {
            return rule;
        }
        if facts.has_reason(Reason::BodyTooLarge) {
            return Step::BodyLimit;
        }
        if facts.is_because("another method in the query") {
            return Step::MethodOverride;
        }
        if facts.is_because("a preflight with a body") {
            return Step::Preflight;
        }
        // The one refusal of a credential with this reason: permissions are looked at later.
        if facts.has_reason(Reason::NotPermitted) && facts.subject.is_none() {
            return Step::Site;
        }
        match (facts.verdict, facts.credential, &facts.subject) {
            (Some(_), ..) if facts.has_reason(Reason::MethodNotAllowed) => Step::Hops,
            (Some(_), ..) if facts.has_reason(Reason::MalformedRequest) => Step::Rewrite,
            (Some(_), ..) => Step::Upstream,
            (None, None, _) => Step::Credential,
            (None, Some(_), None) => Step::Proof,
            (None, Some(_), Some(_)) => self.failed_permit().unwrap_or(Step::Upstream),
        }
    }

    /// The part of the rule that the identity does not fulfil.
    fn failed_permit(&self) -> Option<Step> {
        let failed = |error: PermitError| self.facts.is_because(&error.to_string());
        [
            (PermitError::Issuer, Step::Issuers),
            (PermitError::Login, Step::Logins),
            (PermitError::Role, Step::Roles),
            (PermitError::Scope, Step::Scopes),
            (PermitError::Claim, Step::Claims),
        ]
        .into_iter()
        .find_map(|(error, step)| failed(error).then_some(step))
    }

    /// The limit that was broken. Its name is that of `throttle`: rules of a kind are numbered.
    fn broken_limit(&self, route: &ServedRoute) -> Option<Step> {
        let cause = self.facts.cause.as_deref()?;
        let broken = cause.strip_prefix("over the rate limit by ")?;
        let number = route.limits.names().position(|name| name == broken)?;
        Some(limit_step(number, route.config.rate_limit.get(number)?))
    }

    /// The key of the configuration that decided, with its line. `None` if nothing in it did: no
    /// route matches, or the request itself is wrong.
    pub(super) fn decided_by(&self, failed: Option<Step>) -> Option<Place> {
        let key = match failed {
            Some(Step::Target) => return None,
            Some(Step::Listener | Step::Tls) => self.listener_key(match self.client.redirect {
                true => "redirect_to_https",
                false => "allow_plain_http",
            })?,
            Some(step) => match (self.route(), step) {
                (Some(route), step) => self.key_of(route, step)?,
                (None, _) => self.table_key()?,
            },
            None => self.granting_key()?,
        };
        Some(self.place(key))
    }

    /// The key of a route by which `step` fails.
    fn key_of(&self, route: &ServedRoute, step: Step) -> Option<String> {
        let key = |key: &str| self.route_key(&route.name, key);
        match step {
            Step::Target | Step::Listener | Step::Table | Step::Tls | Step::Preflight => key(""),
            Step::Maintenance => key("maintenance"),
            Step::ClientLimit(number) | Step::SubjectLimit(number) => {
                key(&format!("rate_limit[{number}]"))
            }
            Step::MethodOverride => key("allow_method_override"),
            Step::Credential | Step::Site => key("auth"),
            Step::Proof => self.proof_key().or_else(|| key("auth")),
            Step::Issuers => key("issuers"),
            Step::Logins => key("logins"),
            Step::Roles => key("require.roles"),
            Step::Scopes => key("require.scopes"),
            Step::Claims => key("require.claims"),
            Step::BodyLimit => key("body_limit"),
            Step::Rewrite => key("allow_path"),
            Step::Hops => None,
            Step::Upstream => self.upstream_key(route),
        }
    }

    /// The key by which a request without a route fails: that of the method, or of the spelling.
    fn table_key(&self) -> Option<String> {
        use crate::routing::RouteMatch;
        match self.found()? {
            RouteMatch::WrongMethod { route: Some(route), .. } => {
                self.route_key(&route.name, "methods")
            }
            RouteMatch::WrongMethod { login: Some(login), .. } => {
                self.login_key(&login.login.config.name)
            }
            _ => None,
        }
    }

    /// The key by which a request is let through or answered.
    fn granting_key(&self) -> Option<String> {
        if let Some(endpoint) = self.endpoint() {
            return self.login_key(&endpoint.login.config.name);
        }
        let Some(route) = self.route() else {
            let config = &self.view.generation.config;
            let path = self.target.as_ref().ok()?.path();
            let is = |own: &Option<String>| own.as_deref() == Some(path);
            return match (is(&config.health.path), is(&config.token.jwks_path)) {
                (true, _) => Some("health.path".to_owned()),
                (_, true) => Some("token.jwks_path".to_owned()),
                _ if self.client.redirect => self.listener_key("redirect_to_https"),
                _ => None,
            };
        };
        let key = match (self.facts.verdict, &route.action) {
            (None | Some(Verdict::Preflight), _) if self.captured.is_none() => "cors",
            (Some(Verdict::Preflight), _) => "cors",
            (Some(Verdict::Open), _) => "auth",
            (Some(Verdict::Passed), _) => "pass",
            (_, RouteTarget::Redirect(_)) => "redirect",
            (_, RouteTarget::Respond(_)) => "respond",
            _ => "",
        };
        self.route_key(&route.name, key)
    }

    /// The key by which a credential was refused: the section that it belongs to.
    fn proof_key(&self) -> Option<String> {
        let config = &self.view.generation.config;
        if self.omitted.iter().any(|step| matches!(step, OmittedStep::PasswordCheck { .. })) {
            return None;
        }
        let claimed = self.claimed()?;
        let text = |name: &str| claimed.claims.get(name).and_then(serde_json::Value::as_str);
        let issuer = text("iss");
        let mut issuers = config.issuers.iter();
        let number = issuers.position(|one| Some(one.issuer.as_str()) == issuer);
        let login = text("client_id").and_then(|login| self.login_key(login));
        number.map(|number| format!("issuer[{number}]")).or(login)
    }

    fn upstream_key(&self, route: &ServedRoute) -> Option<String> {
        let name = route.config.upstream()?;
        let mut upstreams = self.view.generation.config.upstreams.iter();
        upstreams.position(|one| one.name == name).map(|number| format!("upstream[{number}]"))
    }

    fn listener_key(&self, key: &str) -> Option<String> {
        let mut listeners = self.view.generation.config.listeners.iter();
        let number = listeners.position(|one| *one.name == *self.client.listener)?;
        Some(format!("listener[{number}].{key}"))
    }

    fn login_key(&self, name: &str) -> Option<String> {
        let mut logins = self.view.generation.config.logins.iter();
        logins.position(|login| login.name == name).map(|number| format!("login[{number}]"))
    }

    /// The path of a key of the route with this name; of the route itself if `key` is empty.
    pub(super) fn route_key(&self, name: &str, key: &str) -> Option<String> {
        let mut routes = self.view.generation.config.routes.iter();
        let number = routes.position(|route| route.name == name)?;
        let point = if key.is_empty() { "" } else { "." };
        Some(format!("route[{number}]{point}{key}"))
    }

    /// A key with its line.
    pub(super) fn place(&self, key: String) -> Place {
        let config = &self.view.generation.config;
        let line = config.lines.line(&key);
        Place { key, file: config.path.display().to_string(), line }
    }
}

/// The step at which a limit is applied. See `throttle::LimitCaller`.
pub(super) fn limit_step(number: usize, rule: &RateLimit) -> Step {
    match rule.by {
        LimitBy::Client | LimitBy::Route => Step::ClientLimit(number),
        LimitBy::Subject | LimitBy::Session => Step::SubjectLimit(number),
    }
}

/// True for the name of our own issuer, as routes list it.
pub(super) fn is_own(issuer: &str) -> bool {
    issuer == SELF_ISSUER
}
