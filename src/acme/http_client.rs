//! The calls of the ACME library, by the gateway's own client: with its bounds, its roots or the CA
//! of the configuration, and its one TLS stack.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use parking_lot::Mutex;

use crate::clock::{Clock, Timestamp};
use crate::outbound::{self, OutboundClient, OutboundOptions};
use crate::settings::AcmeSettings;
use crate::tls_roots::TrustError;

/// Authorities may be slow when they finalize an order.
const TIMEOUT: Duration = Duration::from_secs(30);
/// More than any answer of an authority: a chain has some KiB.
const LARGEST: usize = 256 << 10;
const PARALLEL: usize = 2;

/// Authorities ask clients to name themselves (RFC 8555, section 6.1).
const AGENT: &str = concat!("tollhouse/", env!("CARGO_PKG_VERSION"), " instant-acme");

/// The client for one order. It remembers how long the authority has asked to wait, which the
/// library does not report.
#[derive(Clone, Debug)]
pub(super) struct AcmeHttpClient {
    client: Arc<OutboundClient>,
    clock: Clock,
    wait: Arc<Mutex<Option<Duration>>>,
}

/// An answer that is an error, and no problem document (RFC 8555, section 6.7): it comes from a
/// proxy or from another kind of server.
#[derive(Debug, thiserror::Error)]
#[error("`{host}` answered {status}, which is no answer of an ACME server")]
struct StrangeAnswer {
    host: String,
    status: u16,
}

impl AcmeHttpClient {
    pub(super) fn new(settings: &AcmeSettings, clock: Clock) -> Result<Self, TrustError> {
        let options = OutboundOptions {
            ca: settings.ca.clone(),
            timeout: TIMEOUT,
            largest: LARGEST,
            parallel: PARALLEL,
        };
        let client = Arc::new(OutboundClient::new(&options)?);
        Ok(Self { client, clock, wait: Arc::default() })
    }

    /// How long the authority asked to wait in the last answer that was an error.
    pub(super) fn asked_to_wait(&self) -> Option<Duration> {
        *self.wait.lock()
    }

    async fn call(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let host = outbound::host(request.uri());
        let (mut head, body) = request.into_parts();
        head.headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        let answer = self.client.send(Request::from_parts(head, body)).await;
        let answer = answer.map_err(|error| Error::Other(error.into()))?;
        if answer.status >= 400 {
            *self.wait.lock() = retry_after(&answer.headers, self.clock.now());
            if !is_json(&answer.headers) {
                let strange = StrangeAnswer { host, status: answer.status };
                return Err(Error::Other(strange.into()));
            }
        }
        let mut response = Response::builder().status(answer.status);
        if let Some(headers) = response.headers_mut() {
            *headers = answer.headers;
        }
        Ok(BytesResponse::from(response.body(Full::new(answer.body))?))
    }
}

impl HttpClient for AcmeHttpClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().call(request))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.contains("json"))
}

/// The wait in `Retry-After`, which is a number of seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_secs(at.as_secs()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_as_seconds_and_as_a_date() {
        let now = Timestamp::from_secs(784_111_777);
        for (text, expected) in [
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:51:37 GMT", Some(120)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);

            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
        }
    }
}
