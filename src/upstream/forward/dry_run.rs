//! The end of a dry run: the request as its server would receive it, kept instead of sent.
//!
//! Everything before it is the code of every request. `send` comes here for a server to which no way
//! leads; `pool` keeps the request, and the dry run of the pipeline takes it out.

use std::sync::Arc;

use super::attempt::Delivery;
use super::context::ForwardedResponse;
use super::request;
use super::upgrade_request;
use crate::body::{Body, Request, Response};
use crate::upstream::error::ForwardError;
use crate::upstream::pool::{CapturedRequest, DryRunEnd, PoolServer};

impl Delivery<'_> {
    /// Writes `request` for `server` as an attempt does, and keeps it.
    ///
    /// # Errors
    /// The request cannot be written for HTTP/2.
    pub(super) fn capture(
        &self,
        end: &DryRunEnd,
        server: &Arc<PoolServer>,
        mut request: Request,
    ) -> Result<ForwardedResponse, ForwardError> {
        if self.pool.http2 {
            request::for_http2(&mut request, end.is_encrypted(server))?;
            if self.upgrade_request.is_some() {
                upgrade_request::for_http2(&mut request);
            }
        } else {
            if let Some(upgrade_request) = &self.upgrade_request {
                upgrade_request.for_http1(&mut request);
            }
            request::for_http1(&mut request);
        }
        let (head, _) = request.into_parts();
        end.keep(CapturedRequest {
            server: server.name.clone(),
            method: head.method,
            target: head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            version: head.version,
            headers: head.headers,
            lacks_login: false,
        });
        let response = Response::new(Body::empty());
        Ok(ForwardedResponse { response, server: server.name.clone(), tunnel: false })
    }
}
