//! A request for a login endpoint.
//!
//! The worker reserves a place and reads the body; the login step itself runs on the background
//! runtime, because it may hash passwords or ask directories. Refusals are answered in the form of
//! the endpoint's dialect. `RequestContext::run` is the caller.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;

use super::{RequestContext, dry_run};
use crate::body::{Body, BodyError, Response};
use crate::client::address_group;
use crate::dialect::{Reason, RequestValues};
use crate::gateway::{LoginEndpoint, ServedRoute};
use crate::identity::Subject;
use crate::login::{LoginError, LoginRequest, LoginServices};
use crate::rejection::{Rejection, respond};
use crate::routing::Target;
use crate::secret::random;
use crate::telemetry::access_record::RequestOutcome;

/// Time limit for a whole login body, which is a form that a person filled in, or a token.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The shortest and the longest delay of a refusal during a flood. A person does not notice it; a
/// program that guesses gets one attempt in two seconds on each stream. The delay is random, because
/// streams that were refused together would otherwise all come back at the same moment, and every
/// other client would wait behind them.
const FLOOD_WAIT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3);

/// The result of a request at a login's path.
enum LoginTurn {
    Answered(Response),
    /// It is for a route. Its body was read whole.
    HandedOn {
        head: Parts,
        body: Bytes,
    },
}

impl<'a> RequestContext<'a> {
    /// Carries out the step of an endpoint, or passes a request that is for none of the endpoints of
    /// its path on to `route`. A refusal is answered in the endpoint's own form, and
    /// later during a flood.
    ///
    /// # Errors
    /// No TLS, no place, a body that is too large or too slow, and every refusal of the step
    /// itself.
    pub(super) async fn login(
        &mut self,
        endpoint: &'a LoginEndpoint,
        head: Parts,
        body: Body,
        target: &Target,
        route: Option<&'a Arc<ServedRoute>>,
    ) -> Result<Response, Rejection> {
        if let Some(masked) = endpoint.login.masked_path(endpoint.number) {
            self.finish.record.uri = masked;
        }
        let answered = match self.login_step(endpoint, head, body, target).await {
            Ok(LoginTurn::Answered(answer)) => Ok(answer),
            Ok(LoginTurn::HandedOn { mut head, body }) => {
                // The body took its time: a token that has expired meanwhile is refused.
                self.now = self.gateway.shared.clock.now();
                self.grounds.login = None;
                self.cors = None;
                let route = route.ok_or_else(|| {
                    Rejection::new(Reason::NotFound).because("no endpoint and no route")
                })?;
                return self.route(route, &mut head, Body::full(body), target).await;
            }
            Err(rejection) => Err(rejection),
        };
        // The body and the place are released at this point, so a delay occupies neither.
        if let Err(rejection) = &answered {
            let origin = self.counted_address().map(address_group);
            self.hold_back(&endpoint.login.services, rejection, origin).await;
        }
        answered
    }

    async fn login_step(
        &mut self,
        endpoint: &'a LoginEndpoint,
        head: Parts,
        body: Body,
        target: &Target,
    ) -> Result<LoginTurn, Rejection> {
        let login = &endpoint.login;
        self.grounds.login = Some(endpoint);
        self.form = login.errors(endpoint.number);
        self.grpc = None;
        self.cors = login.config.cors.clone();
        self.finish.record.route = Some(endpoint.metrics.clone());
        if self.client.scheme == crate::client::Scheme::Http && !self.may_be_plain() {
            return Err(Rejection::new(Reason::TlsRequired).because("a credential without TLS"));
        }
        if let Some(notes) = &self.gateway.shared.dry_run {
            return Ok(LoginTurn::Answered(dry_run::omitted_login(notes)));
        }
        let origin = self.counted_address().map(address_group);
        // The place is reserved before the body is read: a client that sends half a body and waits
        // then occupies a place of its own share. The memory for the body is charged to the same
        // client.
        let background = &self.gateway.shared.background;
        let mut place = background.reserve(login.work(endpoint.number, &head), origin)?;
        let room = self.gateway.shared.bodies.open(origin);
        let body = body.timed(self.client.bounds.body_idle);
        let reading = body.read_within(login.config.body_limit, room);
        let overdue = |_| Err(BodyError::Overdue { limit: BODY_TIME });
        let body = tokio::time::timeout(BODY_TIME, reading).await.unwrap_or_else(overdue)?;
        let mut call = LoginRequest {
            endpoint: endpoint.number,
            variables: login.variables(endpoint.number, target.path()),
            head,
            body,
            client: self.client.clone(),
            request_id: self.request_id.as_str().to_owned(),
            program: None,
            shared_address: origin.is_none(),
            // The time is read again after the body. A client may take its time with the body, and
            // limits per time must not be counted with a time that the client chose.
            now: self.gateway.shared.clock.now(),
        };
        let chosen = login.choose(&call);
        call.endpoint = chosen.ok().flatten().unwrap_or(call.endpoint);
        self.shown = login.shown_in_errors(&call);
        let Some(chosen) = chosen? else {
            self.shown = RequestValues::default();
            return Ok(LoginTurn::HandedOn { head: call.head, body: call.body });
        };
        self.form = login.errors(chosen);
        if login.is_chosen_by_body(call.endpoint) {
            place = background.reserve(login.work_at(call.endpoint, &call.head), origin)?;
        }
        let dialect = &login.config.dialect;
        if let Some(endpoint) =
            dialect.endpoints.get(call.endpoint).filter(|endpoint| endpoint.uses_cookies())
        {
            let head = &call.head;
            // A login or a logout changes something, whatever its method says.
            let changes = endpoint.step.changes_session();
            self.refuse_forged(&head.method, &head.headers, target, changes, dialect.csrf.rule)?;
        }
        if let Some(refused) = login.refused_already(&call) {
            return Err(refused.into());
        }
        let step = Arc::clone(login).handle(call);
        let done = background
            .run_reserved(place, step)
            .await
            .ok_or_else(|| Rejection::new(Reason::Internal).because("a panic in a login step"))??;
        self.finish.record.outcome = RequestOutcome::Answered;
        self.finish.record.subject = done.subject.map(Subject::new);
        self.finish.record.session = done.session;
        Ok(LoginTurn::Answered(respond(done.answer)))
    }

    /// Counts an attempt that a limit refused, and delays the refusal during a flood.
    ///
    /// Without a delay a refusal costs a client nothing but the next request, and with many of those
    /// all other clients of this worker wait longer. Refusals count whatever the limit: a program
    /// that guesses at one account never reaches the limit of its address. The number of delayed
    /// requests is bounded.
    pub(super) async fn hold_back(
        &self,
        services: &LoginServices,
        rejection: &Rejection,
        origin: Option<IpAddr>,
    ) {
        if rejection.reason != Reason::TooManyAttempts {
            return;
        }
        let is_flood = services.counts_as_flood(origin, self.gateway.shared.clock.now());
        if !is_flood {
            return;
        }
        // A waiting request occupies memory, too. A client with too many waiting requests is
        // answered at once.
        if let Ok(_place) = self.gateway.shared.held_back.take(origin) {
            // Boxed because floods are rare: unboxed, the timer would enlarge the future of every
            // login.
            Box::pin(tokio::time::sleep(flood_wait())).await;
        }
    }

    /// True if this listener accepts credentials from a client without TLS: on loopback, by a unix
    /// socket, or if the operator allowed it (`allow_plain_http`). If the connection itself uses
    /// TLS, then a trusted proxy reported that the client did not; the credential has then crossed
    /// a network in the clear, however it came on from there.
    pub(super) fn may_be_plain(&self) -> bool {
        self.generation.listener(&self.client.listener).is_some_and(|listener| {
            let is_near =
                || self.client.local.is_none_or(|local| local.ip().to_canonical().is_loopback());
            // The TLS of the connection counts and not that of the listener: a reload may have
            // changed the listener since the connection was made.
            let came_by_tls = self.client.names.is_some();
            listener.allow_plain_http || (!came_by_tls && is_near())
        })
    }
}

/// A delay somewhere in `FLOOD_WAIT`.
fn flood_wait() -> Duration {
    let span = *FLOOD_WAIT.end() - *FLOOD_WAIT.start();
    let part = u32::from(u16::from_be_bytes(random()));
    *FLOOD_WAIT.start() + span * part / u32::from(u16::MAX)
}

impl From<LoginError> for Rejection {
    fn from(refused: LoginError) -> Self {
        let mut rejection = Self::new(refused.reason).because(refused.cause);
        rejection.retry_after = refused.retry_after;
        rejection
    }
}
