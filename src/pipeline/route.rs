//! A request for a route: authentication, permission, and only then the upstream.
//!
//! The steps are in an order in which nothing is forwarded before it is permitted, and cheap
//! refusals come before expensive checks.

use std::sync::Arc;

use http::Uri;
use http::header;
use http::request::Parts;
use http_body::Body as _;

use super::authenticate::AuthenticatedRequest;
use super::compress::AcceptedCodings;
use super::explain::Verdict;
use super::local_response::requested_uri;
use super::{RequestContext, private, take_head, zero_length};
use crate::answer;
use crate::authn::TokenCredential;
use crate::authz::{self, PermitError};
use crate::body::{Body, Request, Response};
use crate::client::address_group;
use crate::dialect::Reason;
use crate::format::error_chain;
use crate::gateway::{RouteTarget, ServedRoute};
use crate::headers::{self, CredentialFields, ForwardedCredential, HeaderFacts, PathPrefix};
use crate::identity::Identity;
use crate::rejection::Rejection;
use crate::routing::{PathAnomalies, Target};
use crate::secret::SecretString;
use crate::settings::{self, PrefixRule, RouteCors};
use crate::telemetry::access_record::RequestOutcome;
use crate::telemetry::report_only::RefusedCaller;
use crate::throttle::RateLimitHeaders;
use crate::upstream::{
    self, BodyMemory, CallerSession, FaultSide, ForwardError, ForwardedResponse, MintError,
    RequestFault, UpstreamPool,
};
use crate::users::LegacySessionError;

/// The facts about the caller of a request that may go on.
struct RouteDecision {
    proved: Option<AuthenticatedRequest>,
    /// The client's credentials that go along to the upstream.
    forwarded: ForwardedCredential,
}

impl<'a> RequestContext<'a> {
    /// Decides, then forwards or answers.
    pub(super) async fn route(
        &mut self,
        route: &'a Arc<ServedRoute>,
        head: &mut Parts,
        mut body: Body,
        target: &Target,
    ) -> Result<Response, Rejection> {
        self.form = &route.config.errors;
        self.finish.record.route = Some(route.metrics.clone());
        if let RouteCors::Own(cors) = &route.config.cors {
            self.cors = Some(cors.clone());
            if let Some(answer) = self.preflight(head) {
                return Ok(answer);
            }
        }
        self.check_maintenance(route)?;
        let mut rate_limits = RateLimitHeaders::default();
        self.admit_client(route, &mut rate_limits)?;
        let is_upstream_preflight =
            route.config.cors == RouteCors::Upstream && answer::cors::is_preflight(head);
        // A preflight is let through without a decision, so no field may turn it into another
        // method behind the gateway.
        let may_override = route.config.allow_method_override && !is_upstream_preflight;
        headers::strip_inbound(head, &route.protected, &self.client, may_override);
        if !may_override && !route.config.methods.is_empty() && names_method(&head.uri) {
            return Err(Rejection::new(Reason::MalformedRequest)
                .because("another method in the query, which allow_method_override lets through"));
        }
        // The wait comes before the decision: a token that expires meanwhile is refused.
        if !is_upstream_preflight && zero_length::is_open(&body) {
            // Boxed because it is rare: unboxed, it would enlarge the future of every request.
            Box::pin(zero_length::await_end(&mut body, self.client.bounds.body_idle)).await?;
            self.now = self.gateway.shared.clock.now();
        }
        let decision = if is_upstream_preflight {
            bare_preflight(head, &body)?;
            self.admit_subject(route, None, &mut rate_limits)?;
            self.grounds.verdict = Some(Verdict::Preflight);
            RouteDecision::OPEN
        } else {
            self.decide(route, head, &mut body, target, &mut rate_limits).await?
        };
        self.check_length(route, head)?;
        let is_hidden = decision.is_hidden_from_caches();
        let accepted = AcceptedCodings::of(head, route.config.compression);
        let mut answered = match &route.action {
            RouteTarget::Forward(pool) => {
                self.forward(route, pool, head, body, target, decision).await?
            }
            RouteTarget::Redirect(to) => {
                let response = answer::redirect(to, &requested_uri(route, target));
                self.answered(route, target, decision.identity(), response)
            }
            RouteTarget::Respond(fixed) => {
                self.answered(route, target, decision.identity(), answer::fixed(fixed))
            }
        };
        if route.config.query_credentials || route.carriers.are_in_query() {
            private::keep(answered.headers_mut());
        } else if is_hidden {
            private::mark(answered.headers_mut());
        }
        rate_limits.write_to(answered.headers_mut());
        match accepted {
            // Boxed because it is rare: unboxed, it would enlarge the future of every request.
            Some(accepted) => Ok(Box::pin(accepted.compress(answered)).await),
            None => Ok(answered),
        }
    }

    /// Decides whether the request may go on: with a verified and permitted identity, or without
    /// one on an open route or one that only observes.
    async fn decide(
        &mut self,
        route: &ServedRoute,
        head: &Parts,
        body: &mut Body,
        target: &Target,
        rate_limits: &mut RateLimitHeaders,
    ) -> Result<RouteDecision, Rejection> {
        if !route.config.pass.is_empty()
            && let Some(kept) = self.passed(route, head)?
        {
            self.admit_subject(route, None, rate_limits)?;
            return Ok(RouteDecision { proved: None, forwarded: kept });
        }
        if route.config.auth.is_empty() {
            self.finish.metrics().open();
            self.grounds.verdict = Some(Verdict::Open);
            return Ok(RouteDecision::OPEN);
        }
        let proved = match self.authenticate(route, head, body, target).await {
            Ok(proved) => proved,
            Err(rejection) => {
                self.refuse_or_record(route, rejection, None)?;
                self.admit_subject(route, None, rate_limits)?;
                let kept = self.kept(route, head, None);
                return Ok(RouteDecision { proved: None, forwarded: kept });
            }
        };
        let identity = &proved.verified.identity;
        self.finish.record.subject = Some(identity.subject.clone());
        self.finish.record.session = identity.session;
        self.admit_subject(route, Some(identity), rate_limits)?;
        let config = &route.config;
        match authz::permit(&config.require, &config.issuers, &config.logins, identity) {
            Ok(()) => {
                self.finish.metrics().permitted();
                self.grounds.verdict = Some(Verdict::Permitted);
                if !config.enforce && self.finish.record.outcome != RequestOutcome::Observed {
                    self.gateway.shared.observed.permitted(&route.name);
                }
            }
            Err(denied) => {
                let rejection = self.denied(route, denied);
                self.refuse_or_record(route, rejection, Some(identity))?;
            }
        }
        let kept = self.kept(route, head, Some(&proved));
        Ok(RouteDecision { proved: Some(proved), forwarded: kept })
    }

    fn denied(&self, route: &ServedRoute, denied: PermitError) -> Rejection {
        // A token of an issuer or login that this route does not accept is an invalid token here.
        let reason = match denied {
            PermitError::Issuer | PermitError::Login => Reason::TokenInvalid,
            PermitError::Role | PermitError::Scope | PermitError::Claim => Reason::NotPermitted,
        };
        let mut rejection = Rejection::new(reason).because(denied.to_string());
        let scopes = &route.config.require.scopes;
        rejection.scope = (!scopes.is_empty()).then(|| scopes.join(" ").into());
        rejection
    }

    /// Returns a refusal, or only records it on a route that observes. An ambiguous request (400)
    /// is refused there, too: the upstream could read another request than was checked.
    pub(super) fn refuse_or_record(
        &mut self,
        route: &ServedRoute,
        rejection: Rejection,
        identity: Option<&Identity>,
    ) -> Result<(), Rejection> {
        self.finish.metrics().refused(rejection.reason);
        // A check that could not be completed (503) is no refusal that the rule would make, either.
        let is_decision = !matches!(
            rejection.reason,
            Reason::AmbiguousCredential | Reason::Unavailable | Reason::Internal
        );
        // A part of a body that could not be read whole is gone, so nothing is left to forward.
        let is_decision = is_decision && !rejection.close;
        if route.config.enforce || !is_decision {
            return Err(rejection);
        }
        // Only the first reason is recorded.
        if self.finish.record.outcome == RequestOutcome::Observed {
            return Ok(());
        }
        let who = match (identity, self.client.address) {
            (Some(identity), _) => RefusedCaller::Subject {
                id: identity.subject.clone(),
                name: identity.username.clone(),
            },
            (None, Some(address)) => RefusedCaller::Address(address_group(address)),
            (None, None) => RefusedCaller::Others,
        };
        let observed = &self.gateway.shared.observed;
        let code = rejection.reason.code();
        observed.refused(&route.name, code, who, self.now);
        self.finish.record.outcome = RequestOutcome::Observed;
        self.finish.record.reason = Some(rejection.reason.code());
        self.finish.record.cause = rejection.cause.as_ref().map(ToString::to_string);
        Ok(())
    }

    /// The credentials that go along: the verified one if the route forwards it. On a route that
    /// observes, all that the upstream may still know; credentials of the gateway are none of
    /// those.
    fn kept(
        &self,
        route: &ServedRoute,
        head: &Parts,
        proved: Option<&AuthenticatedRequest>,
    ) -> ForwardedCredential {
        if let Some(proved) = proved.filter(|_| route.config.forward_credential) {
            return proved.forwarded;
        }
        let tokens = || {
            let known = TokenCredential::tokens(&head.headers, head.uri.query(), route.accept);
            known.into_iter().chain(route.carriers.values(head))
        };
        let verifier = &self.generation.verifier;
        let is_ours = |token: &SecretString| {
            verifier.claims_local_issuer(token.expose())
                && !verifier.is_known_foreign(token.expose(), self.now)
        };
        let is_our_key = || self.generation.services.api_keys.claims_local_key(head);
        // A valid password belongs to a user of the gateway.
        let is_password = || proved.is_some_and(|proved| proved.is_password());
        if route.config.enforce
            || tokens().any(|token| is_ours(&token))
            || is_our_key()
            || is_password()
        {
            ForwardedCredential::Nothing
        } else {
            ForwardedCredential::All
        }
    }

    /// Refuses a declared length that is too large before the client is invited to send the body.
    fn check_length(&self, route: &ServedRoute, head: &Parts) -> Result<(), Rejection> {
        let length = head.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > route.config.body_limit) {
            return Err(Rejection::new(Reason::BodyTooLarge).because("Content-Length").closing());
        }
        Ok(())
    }

    async fn forward(
        &mut self,
        route: &Arc<ServedRoute>,
        pool: &Arc<UpstreamPool>,
        head: &mut Parts,
        body: Body,
        target: &Target,
        decision: RouteDecision,
    ) -> Result<Response, Rejection> {
        let config = &route.config;
        // On a route that observes, a caller without permission still has a verified identity,
        // which the upstream may know.
        let verified = decision.proved.map(|proved| proved.verified);
        let identity = verified.as_deref().map(|verified| &verified.identity);
        let api_key = self.generation.services.api_keys.header();
        let kept = match decision.forwarded {
            ForwardedCredential::Login(carrier) => route.carriers.places(carrier),
            ForwardedCredential::Signature => route.carriers.signature_places(),
            _ => &[],
        };
        let fields = CredentialFields {
            in_query: config.query_credentials,
            api_key,
            carriers: route.carriers.removed(),
            kept,
        };
        headers::remove_credentials(head, decision.forwarded, fields);
        let prefix = rewrite_path(head, config, target)?;
        if !headers::count_hop(head) {
            return Err(Rejection::method_not_allowed(Vec::new()));
        }
        let facts = self.facts(identity, target, prefix);
        headers::set_forwarded(&mut head.headers, &facts);
        if let Some(verified) = &verified {
            self.vouch(route, pool, verified, &mut head.headers).await?;
        }
        self.show_certificate(route, &mut head.headers);
        route.request_rules.apply(&mut head.headers, &facts);
        let lifetime = self.lifetime(route, verified.as_deref());
        let exchange = upstream::ForwardContext {
            facts: &facts,
            protected: &route.protected,
            response_rules: &route.response_rules,
            lifetime: Some(&lifetime),
            key: pool.key(&head.headers, &facts),
            background: &self.gateway.shared.background,
            memory: self.body_memory(&body),
            session: self.caller_session(identity),
            now: self.now,
        };
        let by_connect = headers::is_by_connect(&head.extensions);
        let bounds = &self.client.bounds;
        // The lowest rate does not apply to HTTP/2 upstreams: streams of one connection do not
        // block each other, and long gRPC calls transfer few bytes.
        let least = bounds.body_rate.filter(|_| pool.is_one_by_one());
        let body = body.limited(config.body_limit).paced(bounds.body_idle, least);
        let request = Request::from_parts(take_head(head), body);
        let mut request = self.mirrored(route, request, &facts, verified.as_ref());
        let forwarded = pool.forward(self.worker, &mut request, &exchange).await;
        match forwarded {
            Ok(forwarded) => Ok(self.forwarded(forwarded, by_connect)),
            Err(error) => {
                self.finish.record.upstream = error.server().map(Into::into);
                Err(error.into())
            }
        }
    }

    /// The caller's session, if it may have a credential of a legacy system.
    fn caller_session(&self, identity: Option<&Identity>) -> Option<CallerSession<'a>> {
        let legacy = self.generation.services.legacy.as_ref()?;
        Some(CallerSession { id: identity?.session?, legacy })
    }

    /// The memory for `body`. The client's share is looked up only if there is a body.
    fn body_memory(&self, body: &Body) -> BodyMemory<'a> {
        let address = if body.is_full() { None } else { self.counted_address() };
        let origin = address.map(address_group);
        BodyMemory { budget: &self.gateway.shared.bodies, origin }
    }

    /// The facts from which header fields are made.
    pub(super) fn facts<'f>(
        &'f self,
        identity: Option<&'f Identity>,
        target: &'f Target,
        prefix: Option<PathPrefix<'f>>,
    ) -> HeaderFacts<'f> {
        let host = target.host().unwrap_or_default();
        let authority = target.authority();
        let client = &*self.client;
        let request_id = &self.request_id;
        HeaderFacts { client, identity, request_id, host, authority, prefix }
    }

    /// Records the server that answered. A tunnel is opened in the client's own way of asking.
    fn forwarded(&mut self, mut forwarded: ForwardedResponse, by_connect: bool) -> Response {
        self.finish.record.upstream = Some(forwarded.server);
        if !matches!(self.finish.record.outcome, RequestOutcome::Observed | RequestOutcome::Passed)
        {
            self.finish.record.outcome = RequestOutcome::Forwarded;
        }
        if forwarded.tunnel {
            answer::tunnel::open(&mut forwarded.response, by_connect);
        }
        forwarded.response
    }
}

impl RouteDecision {
    /// No caller was required.
    const OPEN: Self = Self { proved: None, forwarded: ForwardedCredential::Nothing };

    /// True if the answer is for one caller and no cache can tell that from the request.
    fn is_hidden_from_caches(&self) -> bool {
        let by_field =
            matches!(self.forwarded, ForwardedCredential::Passed { authorization: false, .. });
        by_field
            || self
                .proved
                .as_ref()
                .is_some_and(|one| one.forwarded != ForwardedCredential::Authorization)
    }

    fn identity(&self) -> Option<&Identity> {
        self.proved.as_ref().map(|proved| &proved.verified.identity)
    }
}

/// True if the query has `_method`, which many frameworks use as the method of a POST. PHP reads
/// other characters in its first place as the same name and ignores leading spaces.
fn names_method(uri: &Uri) -> bool {
    let Some(query) = uri.query().filter(|query| query.contains(['_', '%', '.', '[', '+'])) else {
        return false;
    };
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| {
        let name = name.trim_start_matches(' ');
        name.strip_suffix("method").is_some_and(|sign| matches!(sign, "_" | "." | "["))
    })
}

/// Reduces a preflight that is let through without a decision to its head: a body or the bytes of a
/// tunnel must not reach the upstream with it.
fn bare_preflight(head: &mut Parts, body: &Body) -> Result<(), Rejection> {
    head.headers.remove(header::CONNECTION);
    head.headers.remove(header::UPGRADE);
    if body.is_end_stream() {
        return Ok(());
    }
    Err(Rejection::new(Reason::MalformedRequest).because("a preflight with a body").closing())
}

/// Rewrites the target for the upstream. Returns the prefix that was taken away.
fn rewrite_path<'a>(
    head: &mut Parts,
    config: &'a settings::RouteSettings,
    target: &Target,
) -> Result<Option<PathPrefix<'a>>, Rejection> {
    let (outer, inner) = match &config.prefix {
        PrefixRule::Keep => {
            head.uri = origin_form(&head.uri);
            return Ok(None);
        }
        PrefixRule::Strip(prefix) => (prefix.trim_end_matches('/'), ""),
        PrefixRule::Replace { from, to } => (from.as_str(), to.as_str()),
    };
    let allowed = PathAnomalies::allowed(&config.allow_path);
    let replaced = target.replace_prefix(outer, inner, head.uri.query(), allowed)?;
    head.uri = Uri::from(replaced);
    Ok(Some(PathPrefix { outer, inner }).filter(|prefix| prefix.outer != prefix.inner))
}

/// Path and query alone: the gateway names the authority itself.
fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().map(Uri::from).unwrap_or_default()
}

impl From<ForwardError> for Rejection {
    fn from(error: ForwardError) -> Self {
        let reason = match (&error, error.fault()) {
            (ForwardError::RequestBody(RequestFault::TooLarge { .. }), _) => Reason::BodyTooLarge,
            (
                ForwardError::RequestBody(RequestFault::Stalled { .. } | RequestFault::Slow { .. }),
                _,
            ) => Reason::RequestTimeout,
            (ForwardError::RequestBody(RequestFault::Gone), _) => Reason::MalformedRequest,
            (ForwardError::Tunnels { .. }, _) => Reason::RateLimited,
            (ForwardError::Mint { source: MintError::Missing { .. }, .. }, _) => {
                Reason::NotPermitted
            }
            (ForwardError::Session { source, .. }, _) => match source {
                LegacySessionError::Ended(_) | LegacySessionError::Gone => Reason::TokenExpired,
                LegacySessionError::Foreign => Reason::NotPermitted,
                LegacySessionError::Unavailable(_) => Reason::Unavailable,
            },
            _ if error.is_busy() => Reason::Unavailable,
            (_, FaultSide::Us) => Reason::Internal,
            (ForwardError::NoServer { .. }, _) => Reason::Unavailable,
            _ if error.is_timeout() => Reason::GatewayTimeout,
            _ => Reason::BadGateway,
        };
        let mut rejection = Self::new(reason).because(error_chain(&error));
        rejection.retry_after = error.retry_after();
        match error {
            // The rest of the request's body was not read, so the connection cannot be used again.
            ForwardError::RequestBody(_) => rejection.closing(),
            _ => rejection,
        }
    }
}
