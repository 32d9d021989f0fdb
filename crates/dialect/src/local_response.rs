//! An answer that the gateway gives itself, with the header fields that each of them has.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::Value;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer of the gateway itself, complete except for headers that concern the connection.
#[derive(Clone, Debug)]
pub struct LocalResponse {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// An answer with the headers that every answer of the gateway has. `Cache-Control: no-store` (RFC
/// 9111, section 5.2.2.5) is among them: answers contain tokens, or concern one client only.
pub(crate) fn answer(status: StatusCode, content_type: &HeaderValue, body: Bytes) -> LocalResponse {
    let mut headers = Vec::with_capacity(2);
    if !body.is_empty() {
        headers.push((CONTENT_TYPE, content_type.clone()));
    }
    headers.push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
    LocalResponse { status, headers, body }
}

/// An answer in JSON; without a value the body is empty.
pub(crate) fn json_answer(status: StatusCode, body: Option<&Value>) -> LocalResponse {
    answer(status, &JSON, body.map(bytes_of).unwrap_or_default())
}

fn bytes_of(value: &Value) -> Bytes {
    // A `Value` has only text keys and finite numbers, so writing it as JSON cannot fail.
    serde_json::to_vec(value).unwrap_or_default().into()
}
