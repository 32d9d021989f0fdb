//! The path of a request through the gateway.
//!
//! `handle` answers one request and never fails: every error inside becomes an answer, even a
//! panic. `run` is the path itself: one reading of the target, then a login endpoint or a route.
//! The order of the steps is a rule of security; in particular, `route` forwards nothing before it
//! is permitted. The listener calls `handle`.

mod access_log;
mod authenticate;
mod catch_panic;
mod client_address;
mod compress;
mod dry_run;
mod explain;
mod forged;
mod identity;
mod lifetime;
mod local_response;
mod login;
mod mirror;
mod pass;
mod private;
mod route;
mod signed;
mod throttle;
mod zero_length;

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Version};
use hyper::body::Incoming;

pub(crate) use self::dry_run::explain;
pub use self::dry_run::{ExplainError, ExplainRequest};

use self::access_log::AccessLogGuard;
use self::explain::Grounds;
use crate::answer::{self, cors};
use crate::body::{Body, Response};
use crate::client::{Client, Scheme};
use crate::clock::Timestamp;
use crate::dialect::{CallCarrier, Carrier, CorsPolicy, ErrorFormat, Reason, RequestValues};
use crate::gateway::{Generation, LoginEndpoint, ServedRoute, WorkerView};
use crate::headers::{self, QueryCredentials, RequestId, X_FORWARDED_FOR, X_REQUEST_ID};
use crate::rejection::{Rejection, RejectionContext, grpc};
use crate::routing::{RouteMatch, Target};
use crate::runtime::Worker;
use crate::settings::{IssuerSettings, RouteCors, SignatureSettings};
use crate::telemetry::access_record::{AccessRecord, RequestOutcome};

/// The protocol in an access line of HTTP/2, which has no `Connection` field.
const HTTP2: &str = "2";

/// One request on its way, with the facts known so far.
struct RequestContext<'a> {
    gateway: &'a Arc<WorkerView>,
    generation: &'a Arc<Generation>,
    worker: &'a Arc<Worker>,
    client: Arc<Client>,
    now: Timestamp,
    request_id: RequestId,
    /// The record of the request. If it is dropped without an answer, then it says that the client
    /// left.
    finish: AccessLogGuard,
    /// The form of a refusal at this moment. It changes when the endpoint or route is known.
    form: &'a Arc<ErrorFormat>,
    /// The content type of a gRPC call. Refusals are then written for gRPC, whatever `form` says.
    grpc: Option<HeaderValue>,
    /// The policy for cross-origin requests (CORS), by which answers are marked.
    cors: Option<Arc<CorsPolicy>>,
    /// The values of a request for an endpoint that an error may show.
    shown: RequestValues,
    grounds: Grounds<'a>,
}

/// Answers one request.
pub(crate) async fn handle(
    gateway: Arc<WorkerView>,
    worker: Arc<Worker>,
    client: Arc<Client>,
    request: http::Request<Incoming>,
) -> Response {
    let (mut head, incoming) = request.into_parts();
    let over_http2 = head.version == Version::HTTP_2;
    let (body, received) = Body::of_client(incoming, over_http2.then_some(&worker));
    headers::as_upgrade(&mut head);
    let by_connect = headers::is_by_connect(&head.extensions);
    let origin = head.headers.get(header::ORIGIN).cloned();
    let client = client_address::client(
        &client,
        &head.headers,
        &gateway.generation,
        gateway.shared.clock.now(),
    );
    let mut exchange = RequestContext::new(&gateway, &worker, client, &head);
    exchange.finish.received = received;
    // Pinned in place: passing the future on would copy all of it.
    let answered = catch_panic::unpanicked(pin!(exchange.run(&mut head, body))).await;
    let answered = answered.unwrap_or_else(|| {
        Err(Rejection::new(Reason::Internal).because("a panic while answering").closing())
    });
    // To a client with extended CONNECT, any success status means an open tunnel. An ordinary
    // success must therefore not reach it. The answer becomes a refusal, which cannot be mistaken.
    let answered = match answered {
        Ok(response) if by_connect && answer::tunnel::is_mistakable(&response) => {
            Err(Rejection::new(Reason::NotImplemented).because("no tunnel was opened"))
        }
        answered => answered,
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(rejection) => exchange.refuse(rejection),
    };
    // The steps below apply to every answer, refusals included, so that no path can leave them out.
    if exchange.finish.record.method == Method::HEAD {
        answer::leave_body_out(&mut response);
    }
    if let Some(policy) = &exchange.cors {
        cors::mark(policy, origin.as_ref(), response.headers_mut());
    }
    let id = exchange.request_id.value().clone();
    response.headers_mut().insert(X_REQUEST_ID, id);
    exchange.explain();
    exchange.finish.answered(response)
}

impl<'a> RequestContext<'a> {
    /// The state of a request before its target was read.
    fn new(
        gateway: &'a Arc<WorkerView>,
        worker: &'a Arc<Worker>,
        client: Arc<Client>,
        head: &Parts,
    ) -> Self {
        let started = Instant::now();
        let now = gateway.shared.clock.now();
        let request_id = RequestId::choose(&head.headers, &client, now, &worker.randomness);
        if !client.trusted_proxy
            && head.headers.contains_key(X_FORWARDED_FOR)
            && gateway.shared.metrics.untrusted_forwarded()
        {
            tracing::warn!(
                listener = &*client.listener,
                peer = client.peer.map(tracing::field::display),
                "X-Forwarded-For from a peer that is not in trusted_proxies; said once"
            );
        }
        let record = start_record(&client, head, &request_id);
        Self {
            finish: AccessLogGuard::start(gateway, record, started),
            form: gateway.generation.form_for(|| host_of(head)),
            grpc: grpc::grpc_content_type(&head.method, &head.headers),
            cors: None,
            shown: RequestValues::default(),
            grounds: Grounds::default(),
            gateway,
            generation: &gateway.generation,
            worker,
            client,
            now,
            request_id,
        }
    }

    /// The steps of a request. Their order is a rule of security.
    ///
    /// The head is lent and not moved, because each of the futures below would contain a copy of
    /// it.
    async fn run(&mut self, head: &mut Parts, body: Body) -> Result<Response, Rejection> {
        let target = Target::parse(head, self.client.bounds)?;
        self.finish.record.host = target.authority_owned();
        // The health check comes before everything that could refuse it: load balancers use
        // arbitrary hosts and no credentials.
        if self.is_health(&target) {
            self.finish.is_logged = self.generation.config.log.health;
            self.finish.record.outcome = RequestOutcome::Answered;
            return Ok(answer::health(self.gateway.shared.draining.load(Ordering::Relaxed)));
        }
        // A connection without the required PROXY header has an unknown client. Only health checks
        // may come that way.
        if self.client.only_health {
            let rejection = Rejection::new(Reason::MalformedRequest).because("no PROXY header");
            return Err(rejection.closing());
        }
        // An authority that verifies a name comes without a credential, and by plain HTTP to a
        // listener that redirects everything else.
        if let Some(answered) = self.challenge(&target) {
            return Ok(answered);
        }
        let Some(host) = target.host() else {
            return Err(Rejection::new(Reason::MalformedRequest).because("no Host"));
        };
        // A listener for redirects forwards nothing. It answers before routes and credentials are
        // looked at.
        if self.client.redirect {
            return self.redirect(head, &target);
        }
        // The certificate of the connection covers another host than the request names. The client
        // must not learn by such a request which routes that host has (RFC 9110 §15.5.20). The
        // client repeats the request on a connection of its own.
        if !self.client.is_directed_at(host) {
            return Err(Rejection::new(Reason::Misdirected).because("another certificate's host"));
        }
        if self.is_jwks(&target) {
            self.finish.record.outcome = RequestOutcome::Answered;
            return Ok(answer::jwks(self.gateway.shared.ring.jwks()));
        }
        let generation = self.generation;
        match generation.table.find(&target) {
            // Boxed because the future of a login is large, and would be moved with that of every
            // request.
            RouteMatch::Login(login) => {
                Box::pin(self.login(login, take_head(head), body, &target, None)).await
            }
            RouteMatch::LoginOrRoute { login, route } => match route {
                Some(route)
                    if login.login.answers_strangers(login.number)
                        && self.is_authenticated(route, head, &target).await =>
                {
                    self.route(route, head, body, &target).await
                }
                route => Box::pin(self.login(login, take_head(head), body, &target, route)).await,
            },
            RouteMatch::Route(route) => self.route(route, head, body, &target).await,
            RouteMatch::WrongMethod { allow, login, route } => {
                self.wrong_method(head, allow, login, route)
            }
            RouteMatch::AmbiguousPath => Err(Rejection::new(Reason::MalformedRequest)
                .because("a spelling of the path that its route does not allow")),
            RouteMatch::NoRoute => Err(Rejection::new(Reason::NotFound).because("no route")),
        }
    }

    /// True for a request to the health path.
    fn is_health(&self, target: &Target) -> bool {
        // Some load balancers (HAProxy's `httpchk`) use OPTIONS if no method is configured.
        self.generation.config.health.path.as_deref() == Some(target.raw().path())
            && matches!(*target.method(), Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// The answer to an authority that verifies a name over plain HTTP (RFC 8555, section 8.3).
    /// `None` for every other request, and whenever no challenge is pending.
    fn challenge(&mut self, target: &Target) -> Option<Response> {
        let is_asked = self.client.scheme == Scheme::Http
            && matches!(*target.method(), Method::GET | Method::HEAD);
        let path = target.raw().path();
        let answer = is_asked.then(|| self.gateway.shared.challenges.http_answer(path))??;
        self.finish.record.outcome = RequestOutcome::Answered;
        Some(answer::challenge(answer))
    }

    /// True for a request for the published key set.
    fn is_jwks(&self, target: &Target) -> bool {
        self.generation.config.token.jwks_path.as_deref() == Some(target.path())
            && matches!(*target.method(), Method::GET | Method::HEAD)
    }

    /// Redirects to https. Only configured hosts are answered with a redirect: a `Host` that the
    /// client chose freely would make the gateway redirect to any site.
    ///
    /// # Errors
    /// A host that is not configured, and a request with a body or a credential. Both have crossed
    /// the network in the clear already, and the client must notice that.
    fn redirect(&mut self, head: &Parts, target: &Target) -> Result<Response, Rejection> {
        let host = target.host().unwrap_or_default();
        if !self.generation.is_configured_host(host) {
            return Err(Rejection::new(Reason::TlsRequired).because("not a configured host"));
        }
        self.finish.record.outcome = RequestOutcome::Answered;
        let authority = match self.generation.https_port {
            Some(port) => Cow::Owned(format!("{host}:{port}")),
            None => Cow::Borrowed(host),
        };
        let api_key = self.generation.services.api_keys.header();
        let path = target.raw().as_str();
        let config = &self.generation.config;
        let calls = config.logins.iter().flat_map(|login| &login.dialect.call);
        let signed = config.signatures.iter().flat_map(SignatureSettings::places);
        let legacy = config.issuers.iter().filter_map(IssuerSettings::sessions_carrier);
        let calls = calls.chain(legacy).flat_map(CallCarrier::places);
        let places: Vec<Carrier> = calls.chain(signed).cloned().collect();
        let names = QueryCredentials { in_query: true, carriers: &places, kept: &[] };
        let fields = places.iter().filter_map(|place| match place {
            Carrier::Field(name) => Some(name),
            _ => None,
        });
        let has_credential = fields.chain(api_key).any(|name| head.headers.contains_key(name))
            || target.raw().query().is_some_and(|query| names.are_in(query));
        Ok(answer::redirect_to_https(head, &authority, path, has_credential)?)
    }

    /// Answers a path that is known, but not by this method: a CORS preflight, or 405. The form of
    /// the refusal and the CORS policy are those of the endpoint or route with this path.
    fn wrong_method(
        &mut self,
        head: &Parts,
        allow: Vec<Method>,
        login: Option<&'a LoginEndpoint>,
        route: Option<&'a Arc<ServedRoute>>,
    ) -> Result<Response, Rejection> {
        self.grounds.login = login;
        if let Some(endpoint) = login {
            if let Some(masked) = endpoint.login.masked_path(endpoint.number) {
                self.finish.record.uri = masked;
            }
            self.form = endpoint.login.errors(endpoint.number);
            self.grpc = None;
            self.cors = endpoint.login.config.cors.clone();
        } else if let Some(route) = route {
            self.form = &route.config.errors;
            if let RouteCors::Own(cors) = &route.config.cors {
                self.cors = Some(cors.clone());
            }
        }
        match self.preflight(head) {
            Some(answer) => Ok(answer),
            None => Err(Rejection::method_not_allowed(allow)),
        }
    }

    /// The answer to a CORS preflight, if the gateway has a policy.
    fn preflight(&mut self, head: &Parts) -> Option<Response> {
        let policy = self.cors.clone().filter(|_| cors::is_preflight(head))?;
        // The answer has its CORS fields already. Marking it again would repeat `Vary`.
        self.cors = None;
        self.finish.record.outcome = RequestOutcome::Answered;
        Some(cors::preflight(&policy, &head.headers))
    }

    /// Records a refusal and renders it in the form for this request.
    fn refuse(&mut self, rejection: Rejection) -> Response {
        self.finish.record.outcome = RequestOutcome::Refused;
        self.finish.record.reason = Some(rejection.reason.code());
        self.finish.record.cause = rejection.cause.as_ref().map(ToString::to_string);
        rejection.into_response(&RejectionContext {
            form: self.form,
            grpc: self.grpc.as_ref(),
            realm: &self.generation.config.token.issuer,
            path: self.finish.record.uri.path(),
            request_id: self.request_id.as_str(),
            shown: &self.shown,
            now: self.now,
            http1: self.finish.record.protocol != HTTP2,
        })
    }
}

/// Takes the head out, for code that must own it. An empty head stays behind.
fn take_head(head: &mut Parts) -> Parts {
    let (nothing, ()) = http::Request::new(()).into_parts();
    std::mem::replace(head, nothing)
}

/// The facts for the log that are known at the start.
fn start_record(client: &Client, head: &Parts, request_id: &RequestId) -> AccessRecord {
    AccessRecord {
        method: head.method.clone(),
        uri: head.uri.clone(),
        protocol: match head.version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => HTTP2,
            _ => "1.1",
        },
        client_address: client.address.map(|address| client.address_text.of(address).clone()),
        user_agent: head.headers.get(header::USER_AGENT).cloned(),
        request_id: Some(request_id.value().clone()),
        ..AccessRecord::default()
    }
}

/// The host that chooses the form of a refusal, read before the target was checked. It is used for
/// nothing else.
fn host_of(head: &Parts) -> Option<&str> {
    let authority = head.uri.authority().map(Authority::as_str);
    let named = authority.or_else(|| head.headers.get(header::HOST)?.to_str().ok())?;
    // Colons within the brackets of an IPv6 address do not separate a port.
    let port = named.rfind(':').filter(|colon| !named.ends_with(']') && *colon > 0);
    let host = port.map_or(named, |colon| named.get(..colon).unwrap_or(named));
    Some(host.trim_end_matches('.'))
}
