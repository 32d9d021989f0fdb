//! A request for a login endpoint: its place is taken and its body read here, the step runs in the
//! back room.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

use super::Exchange;
use crate::body::{Body, BodyError, Response};
use crate::client::address_group;
use crate::dialect::Reason;
use crate::gateway::LoginEndpoint;
use crate::identity::Subject;
use crate::login::{Call, Refused};
use crate::rejection::{Rejection, respond};
use crate::telemetry::record::Outcome;

/// For a whole login body: a form that a person filled in, or a token.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Nobody who types notices; whoever tries without end has a try a second on each stream.
const FLOOD_WAIT: Duration = Duration::from_secs(1);

impl<'a> Exchange<'a> {
    /// Has the step carried out; its refusal is answered in the endpoint's own form.
    pub(super) async fn login(
        &mut self,
        endpoint: &'a LoginEndpoint,
        head: Parts,
        body: Body,
    ) -> Result<Response, Rejection> {
        let login = &endpoint.login;
        self.form = login.errors(endpoint.number);
        self.grpc = None;
        self.cors = login.config.cors.clone();
        self.finish.record.route = Some(endpoint.metrics.clone());
        if self.client.scheme == crate::client::Scheme::Http && !self.may_be_plain() {
            return Err(Rejection::new(Reason::TlsRequired).because("a credential without TLS"));
        }
        let origin = self.counted_address().map(address_group);
        // Before the body: who waits with half a body waits in a place of their own share.
        let back_room = &self.gateway.shared.back_room;
        let place = back_room.reserve(login.work(endpoint.number, &head), origin)?;
        let room = self.gateway.shared.bodies.open(origin);
        let body = body.timed(self.client.bounds.body_idle);
        let reading = body.read_within(login.config.body_limit, room);
        let overdue = |_| Err(BodyError::Overdue { limit: BODY_TIME });
        let body = tokio::time::timeout(BODY_TIME, reading).await.unwrap_or_else(overdue)?;
        let call = Call {
            endpoint: endpoint.number,
            head,
            body,
            client: self.client.clone(),
            request_id: self.request_id.as_str().to_owned(),
            shared_address: origin.is_none(),
            // Read again: a client may take its time with the body, and what is counted by time must
            // not be counted by the time that he chose.
            now: self.gateway.shared.clock.now(),
        };
        if let Some((refused, is_flood)) = login.refused_already(&call) {
            drop((call, place));
            self.hold_back(is_flood, origin).await;
            return Err(refused.into());
        }
        let step = Arc::clone(login).handle(call);
        let done = back_room
            .carry_out(place, step)
            .await
            .ok_or_else(|| Rejection::new(Reason::Internal).because("a panic in a login step"))??;
        self.finish.record.outcome = Outcome::Answered;
        self.finish.record.subject = done.subject.map(Subject::new);
        self.finish.record.session = done.session;
        Ok(respond(done.answer))
    }

    /// Has a flood wait for its refusals. Without it they cost a client nothing but the next request,
    /// and the more of those there are, the later others have their turn on this worker.
    pub(super) async fn hold_back(&self, is_flood: bool, origin: Option<IpAddr>) {
        if !is_flood {
            return;
        }
        // Who waits is memory, too: whoever has too many waiting is told at once.
        if let Ok(_place) = self.gateway.shared.held_back.take(origin) {
            // Boxed: it is rare, and its size would be every login's.
            Box::pin(tokio::time::sleep(FLOOD_WAIT)).await;
        }
    }

    /// Whether this listener takes credentials from a client that came without TLS: on loopback, by
    /// a unix socket, or on the operator's word. Where the listener itself speaks TLS, a trusted
    /// proxy has said that the client did not: the credential has crossed a network in the clear,
    /// however it came on from there.
    pub(super) fn may_be_plain(&self) -> bool {
        self.generation.listener(&self.client.listener).is_some_and(|listener| {
            let is_near =
                || self.client.local.is_none_or(|local| local.ip().to_canonical().is_loopback());
            // The connection's own TLS: a reload may have changed the listener's meanwhile.
            let came_by_tls = self.client.names.is_some();
            listener.allow_plain_http || (!came_by_tls && is_near())
        })
    }
}

impl From<Refused> for Rejection {
    fn from(refused: Refused) -> Self {
        let mut rejection = Self::new(refused.reason).because(refused.cause);
        rejection.retry_after = refused.retry_after;
        rejection
    }
}
