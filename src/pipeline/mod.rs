//! The request's path, in the only order that is safe.
//!
//! `handle` answers one request and never fails: what goes wrong inside becomes a response, a
//! panic too. `run` is the path itself: nothing is forwarded before it is permitted, and nothing
//! that the client says about identity survives `strip_inbound`.

mod finish;
mod guard;
mod origin;
mod route;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Version};
use hyper::body::Incoming;

use self::finish::Finish;
use crate::answer::{self, cors};
use crate::body::{Body, Response};
use crate::client::Client;
use crate::clock::Timestamp;
use crate::dialect::{Cors, ErrorForm, Reason};
use crate::gateway::{Gateway, Generation, LoginEndpoint, Route};
use crate::login::Call;
use crate::rejection::{Rejection, RejectionContext, respond};
use crate::routing::{Found, Target};
use crate::runtime::{Work, Worker};
use crate::telemetry::record::Record;
use crate::upstream::headers::RequestId;

/// One request on its way, and what is known of it so far.
pub(crate) struct Exchange<'a> {
    gateway: &'a Arc<Gateway>,
    generation: &'a Arc<Generation>,
    worker: &'a Arc<Worker>,
    client: Arc<Client>,
    now: Timestamp,
    request_id: RequestId,
    record: &'a mut Record,
    /// The shape of a refusal, were it to happen now.
    form: Arc<ErrorForm>,
    /// Whose cross-origin calls are marked, and the request's fields that the mark depends on.
    cors: Option<Arc<Cors>>,
}

/// Answers one request.
pub(crate) async fn handle(
    gateway: Arc<Gateway>,
    worker: Arc<Worker>,
    client: Arc<Client>,
    request: http::Request<Incoming>,
) -> Response {
    let started = Instant::now();
    let generation = gateway.generation();
    let now = gateway.shared.clock.now();
    let (head, body) = request.into_parts();
    let client = origin::client(&client, &head.headers, &generation.config);
    let request_id = RequestId::choose(&head.headers, &client, now);
    let mut finish = Finish::start(&gateway, &generation, &client, &head, started);
    let http1 = head.version != Version::HTTP_2;
    let origin = head.headers.get(header::ORIGIN).cloned();
    let path = head.uri.path().to_owned();
    let mut exchange = Exchange {
        gateway: &gateway,
        generation: &generation,
        worker: &worker,
        client,
        now,
        request_id,
        form: generation.form_for(None).clone(),
        cors: None,
        record: finish.record(now),
    };
    let answered = guard::unpanicked(exchange.run(head, body.into())).await;
    let answered = answered.unwrap_or_else(|| {
        Err(Rejection::new(Reason::Internal).because("a panic while answering").closing())
    });
    let mut response = match answered {
        Ok(response) => response,
        Err(rejection) => exchange.refuse(rejection, &path, http1),
    };
    if let Some(policy) = &exchange.cors {
        let request = origin.into_iter().map(|origin| (header::ORIGIN, origin)).collect();
        cors::mark(policy, &request, response.headers_mut());
    }
    response.headers_mut().insert("x-request-id", exchange.request_id.value().clone());
    finish.answered(response)
}

impl Exchange<'_> {
    /// The steps, in the only order that is safe.
    async fn run(&mut self, mut head: Parts, body: Body) -> Result<Response, Rejection> {
        let target = Target::parse(&head, &self.generation.config.limits())?;
        self.form = self.generation.form_for(target.host()).clone();
        self.record.target(&target);
        if self.is_health(&target) {
            return Ok(answer::health(self.gateway.shared.draining.load(Ordering::Relaxed)));
        }
        let host = target.required_host()?;
        if self.client.redirect {
            return self.redirect(&head, &target, host);
        }
        if !self.client.is_directed_at(host) {
            return Err(Rejection::new(Reason::Misdirected).because("another certificate's host"));
        }
        if self.is_jwks(&target) {
            return Ok(answer::jwks(self.gateway.shared.ring.jwks()));
        }
        let generation = self.generation.clone();
        match generation.table.find(&target) {
            Found::Login { login, .. } => self.login(login, head, body, &target).await,
            Found::LoginOr { login, route } => {
                match route {
                    Some(route) if self.is_authenticated(route, &head) => {
                        self.route(route, &mut head, body, &target).await
                    }
                    _ => self.login(login, head, body, &target).await,
                }
            }
            Found::Route(route) => self.route(route, &mut head, body, &target).await,
            Found::WrongMethod { allow, login, route } => {
                self.wrong_method(&head, allow, login, route)
            }
            Found::NoRoute => Err(Rejection::new(Reason::NotFound).because("no route")),
        }
    }
}
