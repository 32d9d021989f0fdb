//! Copies of requests for a route's mirror, sent beside the request and never in its way.
//!
//! A copy is made when the request is permitted and its fields are final. It contains none of the
//! caller's credentials, cookies included, and no token of ours; the mirror's own credential is set
//! as for any request there, a token that is made for each user included. The body is collected while it is streamed to the real upstream. The
//! answer is read and discarded. The number of copies under way is bounded; a request beyond it, or
//! with a larger body, is not copied and is counted. `route` is the caller.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;

use super::{RequestContext, dry_run};
use crate::authn::VerifiedCredential;
use crate::body::{Body, BodyError, Request};
use crate::client::Client;
use crate::clock::Timestamp;
use crate::gateway::{RouteMirror, ServedRoute, WorkerView};
use crate::headers::{
    self, CredentialFields, ForwardedCredential, HeaderEdits, HeaderFacts, RequestId,
};
use crate::runtime::Worker;
use crate::secret;
use crate::settings::{IdentityForm, PassRule};
use crate::telemetry::metrics::MirrorResult;
use crate::upstream::{self, BodyMemory};

/// Time limit from the copy's last byte to the end of its answer. Nobody reads the answer, so a
/// longer wait only occupies a connection.
const LONGEST: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read before its connection is dropped. A connection can be reused
/// only if its answer was read to the end.
const READ: usize = 1 << 20;

impl RequestContext<'_> {
    /// Returns `request`. A copy is on its way to the route's mirror, or will be when the body has
    /// passed. The copy is never the reason for a refusal: without a free place, or with a body
    /// that is too large, there is none.
    pub(super) fn mirrored(
        &self,
        route: &Arc<ServedRoute>,
        request: Request,
        facts: &HeaderFacts<'_>,
        verified: Option<&Arc<VerifiedCredential>>,
    ) -> Request {
        let Some(mirror) = &route.mirror else { return request };
        // A tunnel has no end that could be copied.
        let tunnels = request.headers().contains_key(header::UPGRADE)
            || request.method() == http::Method::CONNECT;
        if let Some(notes) = self.gateway.shared.dry_run.as_ref().filter(|_| !tunnels) {
            dry_run::omitted_copy(notes, mirror);
            return request;
        }
        if tunnels || !is_sampled(mirror.config.percent) {
            return request;
        }
        let metrics = &self.gateway.shared.metrics;
        let limit = mirror.config.body_limit;
        if request.body().size_hint().lower() > limit {
            metrics.mirrored(&route.name, MirrorResult::TooLarge);
            return request;
        }
        let Ok(place) = mirror.places.clone().try_acquire_owned() else {
            metrics.mirrored(&route.name, MirrorResult::TooMany);
            return request;
        };
        let copied = MirrorRequest {
            request: self.copy_of(route, &request),
            mirror: mirror.clone(),
            route: route.clone(),
            gateway: self.gateway.clone(),
            worker: self.worker.clone(),
            client: self.client.clone(),
            request_id: self.request_id.clone(),
            host: facts.host.to_owned(),
            authority: facts.authority.to_owned(),
            verified: verified.cloned(),
            now: self.now,
            place,
        };
        if request.body().is_end_stream() {
            copied.send(Bytes::new());
            return request;
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let collected = Some(Box::new(BodyCollector { copied, bytes: BytesMut::new(), limit }));
        request.map(|body| Body::boxed(TeeBody { body, collected }))
    }

    /// The head of the copy, without credentials.
    fn copy_of(&self, route: &ServedRoute, request: &Request) -> http::Request<()> {
        let mut copy = http::Request::new(());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        let (mut head, ()) = copy.into_parts();
        let api_key = self.generation.services.api_keys.header();
        let carriers = route.carriers.removed();
        let fields = CredentialFields { in_query: true, api_key, carriers, kept: &[] };
        headers::remove_credentials(&mut head, ForwardedCredential::Nothing, fields);
        remove_secrets(&mut head.headers, &route.config.identity);
        for rule in &route.config.pass {
            if let PassRule::Header(name) = rule {
                head.headers.remove(name);
            }
        }
        http::Request::from_parts(head, ())
    }
}

/// Removes the secrets that are left after the usual credential fields: our token for the upstream,
/// and cookies. `Trailer` is removed because trailers are not collected.
fn remove_secrets(fields: &mut HeaderMap, identity: &IdentityForm) {
    if let IdentityForm::Jwt(name) = identity {
        fields.remove(name);
    }
    for name in [header::COOKIE, header::TRAILER] {
        fields.remove(name);
    }
}

/// True for `percent` of a hundred calls, chosen at random.
fn is_sampled(percent: u8) -> bool {
    percent >= 100 || u32::from_ne_bytes(secret::random()) % 100 < u32::from(percent)
}

/// A copy that waits for its body.
struct MirrorRequest {
    request: http::Request<()>,
    mirror: Arc<RouteMirror>,
    route: Arc<ServedRoute>,
    gateway: Arc<WorkerView>,
    worker: Arc<Worker>,
    client: Arc<Client>,
    request_id: RequestId,
    host: String,
    authority: String,
    /// The caller, for a mirror whose credential is a token of the user's.
    verified: Option<Arc<VerifiedCredential>>,
    now: Timestamp,
    place: OwnedSemaphorePermit,
}

impl MirrorRequest {
    /// Sends the copy as a task of its own on the worker. A shutdown does not wait for it.
    fn send(self, body: Bytes) {
        let worker = self.worker.clone();
        worker.spawn_detached(async move {
            let sending = tokio::time::timeout(LONGEST, self.exchange(body));
            let result = match sending.await {
                Ok(true) => MirrorResult::Answered,
                Ok(false) | Err(_) => MirrorResult::Failed,
            };
            self.gateway.shared.metrics.mirrored(&self.route.name, result);
            drop(self.place);
        });
    }

    /// Sends the copy and reads its answer. True if there was one.
    async fn exchange(&self, body: Bytes) -> bool {
        let facts = HeaderFacts {
            client: &self.client,
            identity: self.verified.as_ref().map(|verified| &verified.identity),
            request_id: &self.request_id,
            host: &self.host,
            authority: &self.authority,
            // The prefix is only used for `Location` in an answer that nobody sees.
            prefix: None,
        };
        let exchange = upstream::ForwardContext {
            facts: &facts,
            protected: &self.route.protected,
            response_rules: &HeaderEdits::default(),
            lifetime: None,
            key: self.mirror.pool.key(self.request.headers(), &facts),
            background: &self.gateway.shared.background,
            // The copy's body is in memory already, so the budget is not used.
            memory: BodyMemory { budget: &self.gateway.shared.bodies, origin: None },
            session: None,
            now: self.now,
        };
        let mut request = self.request.clone().map(|()| Body::full(body));
        let forwarded = self.mirror.pool.forward(&self.worker, &mut request, &exchange);
        let Ok(answer) = forwarded.await else { return false };
        let mut body = answer.response.into_body();
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > READ {
                break;
            }
        }
        true
    }
}

/// The body of a request that also collects what has passed.
struct TeeBody {
    body: Body,
    collected: Option<Box<BodyCollector>>,
}

/// The collected bytes and the copy that waits for them.
struct BodyCollector {
    copied: MirrorRequest,
    bytes: BytesMut,
    limit: usize,
}

impl TeeBody {
    /// Collects a piece. Beyond the limit the copy is given up and its memory freed; the request
    /// itself goes on. The budget for bodies is not charged; the bound is the limit times the
    /// number of places.
    fn keep(&mut self, data: &Bytes) {
        let Some(collected) = &mut self.collected else { return };
        if collected.bytes.len().saturating_add(data.len()) <= collected.limit {
            collected.bytes.extend_from_slice(data);
            return;
        }
        let Some(collected) = self.collected.take() else { return };
        let metrics = &collected.copied.gateway.shared.metrics;
        metrics.mirrored(&collected.copied.route.name, MirrorResult::TooLarge);
    }

    /// Sends the copy with the collected body.
    fn send(&mut self) {
        if let Some(collected) = self.collected.take() {
            collected.copied.send(collected.bytes.freeze());
        }
    }
}

impl HttpBody for TeeBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.keep(data);
                }
                // hyper does not poll for the end of a body whose length it knows. Without this
                // check, the copy of such a request would never be sent. Trailers are not copied,
                // so a frame of trailers ends the copy's body as well.
                if frame.is_trailers() || self.body.is_end_stream() {
                    self.send();
                }
            }
            // A request that broke off was never complete at the real upstream. A copy of its first
            // part would be another request.
            Some(Err(_)) => self.collected = None,
            None => self.send(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
