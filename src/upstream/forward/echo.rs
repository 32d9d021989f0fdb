//! `builtin:echo`, a sample upstream inside the gateway: it answers with the received request as
//! JSON.
//!
//! It shows an operator which fields an upstream would receive. It connects to nothing and refuses
//! bodies above `MAX_BODY`. `send` calls it for a server of this kind.

use http::header::{self, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::body::{Body, Request, Response};
use crate::upstream::error::{ForwardError, RequestFault};

/// Largest body in bytes. The echo keeps the body in memory.
const MAX_BODY: u64 = 1024 * 1024;

/// Reads `request` to its end and renders the answer.
///
/// # Errors
/// The client's body failed or is too large.
pub(super) async fn answer(request: Request) -> Result<Response, ForwardError> {
    let (head, body) = request.into_parts();
    let body = body.read_all(MAX_BODY).await.map_err(|error| RequestFault::of(&error))?;
    let mut received = json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "headers": fields(&head.headers),
    });
    let (name, value) = match std::str::from_utf8(&body) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => ("body_base64", STANDARD.encode(&body)),
    };
    if let Some(received) = received.as_object_mut() {
        received.insert(name.to_owned(), value.into());
    }
    let mut response = Response::new(Body::full(format!("{received:#}\n")));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

/// Every header line in order: `[["accept", "*/*"], …]`. Repeated fields stay visible.
fn fields(headers: &HeaderMap) -> Vec<Value> {
    let line = |(name, value): (&header::HeaderName, &HeaderValue)| {
        json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
    };
    headers.iter().map(line).collect()
}
