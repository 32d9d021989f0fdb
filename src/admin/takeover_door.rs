//! The way in for a successor: a request of the admin socket that becomes a bare connection.
//!
//! A process that was started with `run --takeover` asks for it. HTTP cannot carry descriptors, so
//! the connection leaves HTTP (101, RFC 9110, section 15.2.2), and `server::takeover` speaks with the
//! successor. One successor at a time; only the gateway's own user and root may ask.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body::{Body, Response};
use crate::runtime::BackgroundRuntime;

/// The path of the request.
pub(crate) const TAKEOVER_PATH: &str = "/takeover";
/// The protocol after HTTP, for the field `Upgrade`.
pub(crate) const TAKEOVER_PROTOCOL: &str = "tollhouse-takeover";

/// Where the admin socket brings successors.
#[derive(Clone, Debug)]
pub(crate) struct TakeoverDoor {
    successors: Sender<ArrivedSuccessor>,
    place: Arc<Semaphore>,
}

/// A successor that has connected. No other one is let in before this value is dropped.
#[derive(Debug)]
pub(crate) struct ArrivedSuccessor {
    pub(crate) stream: UnixStream,
    pub(crate) place: OwnedSemaphorePermit,
}

impl TakeoverDoor {
    /// A door, and the end at which successors arrive.
    pub(crate) fn new() -> (Self, Receiver<ArrivedSuccessor>) {
        let (successors, arrived) = channel(1);
        (Self { successors, place: Arc::new(Semaphore::new(1)) }, arrived)
    }

    /// The answer to the request of a successor. After a 101 the connection arrives at the other end.
    /// The error is the status and the text to refuse it with.
    pub(super) fn admit(
        &self,
        background: &BackgroundRuntime,
        request: &mut Request<Incoming>,
    ) -> Result<Response, (StatusCode, &'static str)> {
        let wanted = request.headers().get(header::UPGRADE);
        if wanted.is_none_or(|wanted| wanted.as_bytes() != TAKEOVER_PROTOCOL.as_bytes()) {
            let text = "this path is for tollhouse run --takeover";
            return Err((StatusCode::UPGRADE_REQUIRED, text));
        }
        let place = self.place.clone().try_acquire_owned();
        let place = place.map_err(|_| (StatusCode::CONFLICT, "another takeover is under way"))?;
        let upgrading = hyper::upgrade::on(request);
        let successors = self.successors.clone();
        background.spawn(async move {
            let Ok(upgraded) = upgrading.await else { return };
            let Ok(parts) = upgraded.downcast::<TokioIo<UnixStream>>() else { return };
            let stream = parts.io.into_inner();
            // Nobody takes it where the gateway is ending; then the successor sees the connection
            // end.
            let _ = successors.send(ArrivedSuccessor { stream, place }).await;
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(TAKEOVER_PROTOCOL));
        Ok(response)
    }
}
