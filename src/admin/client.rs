//! The client of the admin socket: it asks a running gateway.
//!
//! One connection carries one request and one JSON answer. The command line uses it, and so does a
//! start that looks for its predecessor. The command line has no runtime that could run the
//! connection as a task, so the connection is driven here, beside the request.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Upper bound on the time of a request. A backup of a large store takes seconds; anything longer
/// is stuck.
const LIMIT: Duration = Duration::from_secs(30);
/// Upper bound on an answer in bytes. A list of all sessions is smaller.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// The reason why a call to the gateway failed. The command line prints it with its cause.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens at the socket, or this user may not connect to it.
    #[error("the admin socket cannot be reached")]
    Connect(#[source] std::io::Error),
    /// The path or a header field is not valid.
    #[error("the request cannot be made")]
    Request(#[source] http::Error),
    /// The connection broke.
    #[error("the gateway did not answer")]
    Http(#[source] hyper::Error),
    /// The answer broke off, or is too long.
    #[error("the answer could not be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is no JSON.
    #[error("the answer is not JSON")]
    Json(#[source] serde_json::Error),
    /// The gateway went on in HTTP.
    #[error("the gateway did not change the protocol")]
    Upgrade,
    /// No answer came in time.
    #[error("the gateway did not answer within 30 seconds")]
    Late,
}

/// Sends one request, and returns the status and the JSON of the answer; an empty answer is `null`.
/// An error status of the gateway is no error here. The call ends after `LIMIT` at the latest. The
/// error says at which step the exchange failed.
pub async fn call(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<(StatusCode, Value), CallError> {
    let answer = tokio::time::timeout(LIMIT, ask(socket, method, path, body)).await;
    answer.unwrap_or(Err(CallError::Late))
}

/// Asks the gateway to leave HTTP for `protocol`, and returns the bare connection, on which the
/// gateway waits for the first word. If the gateway refuses, the result is its status and answer. The
/// call ends after `LIMIT` at the latest. The error says at which step the exchange failed.
pub async fn upgrade(
    socket: &Path,
    path: &str,
    protocol: &'static str,
) -> Result<Result<UnixStream, (StatusCode, Value)>, CallError> {
    let upgraded = tokio::time::timeout(LIMIT, ask_upgrade(socket, path, protocol)).await;
    upgraded.unwrap_or(Err(CallError::Late))
}

async fn ask_upgrade(
    socket: &Path,
    path: &str,
    protocol: &'static str,
) -> Result<Result<UnixStream, (StatusCode, Value)>, CallError> {
    let request = Request::post(path)
        .header(header::HOST, HeaderValue::from_static("localhost"))
        .header(header::CONNECTION, HeaderValue::from_static("upgrade"))
        .header(header::UPGRADE, HeaderValue::from_static(protocol))
        .body(Full::<Bytes>::default())
        .map_err(CallError::Request)?;
    let stream = UnixStream::connect(socket).await.map_err(CallError::Connect)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(CallError::Http)?;
    let exchange = async move {
        let mut answer = sender.send_request(request).await.map_err(CallError::Http)?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return read_answer(answer).await.map(Err);
        }
        let upgraded = hyper::upgrade::on(&mut answer).await.map_err(CallError::Http)?;
        // The gateway says nothing before the first word of this side, so nothing was read ahead.
        let parts = upgraded.downcast::<TokioIo<UnixStream>>().map_err(|_| CallError::Upgrade)?;
        Ok(Ok(parts.io.into_inner()))
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        _ = connection.with_upgrades() => exchange.await,
    }
}

async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<(StatusCode, Value), CallError> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, HeaderValue::from_static("localhost"));
    if body.is_some() {
        let json = HeaderValue::from_static("application/json");
        request = request.header(header::CONTENT_TYPE, json);
    }
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = request.body(Full::new(Bytes::from(body))).map_err(CallError::Request)?;

    let stream = UnixStream::connect(socket).await.map_err(CallError::Connect)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(CallError::Http)?;
    // The exchange owns the sender. When it is done, the sender is dropped, and the connection ends
    // by itself.
    let exchange = async move {
        read_answer(sender.send_request(request).await.map_err(CallError::Http)?).await
    };
    tokio::pin!(exchange);
    // If the connection ends first, its error reaches the exchange as well, with a better message.
    tokio::select! {
        answer = &mut exchange => answer,
        _ = connection => exchange.await,
    }
}

async fn read_answer(answer: Response<Incoming>) -> Result<(StatusCode, Value), CallError> {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    let body = body.map_err(CallError::Body)?.to_bytes();
    if body.is_empty() {
        return Ok((status, Value::Null));
    }
    Ok((status, serde_json::from_slice(&body).map_err(CallError::Json)?))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn an_answer_comes_back_with_its_status() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let length = stream.read(&mut head).await.unwrap();
            let answer = b"HTTP/1.1 409 Conflict\r\ncontent-length: 13\r\n\r\n{\"error\":\"x\"}";
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&head[..length]).into_owned()
        };

        let (answer, head) = tokio::join!(call(&socket, Method::POST, "/reload", None), serve);

        let (status, answer) = answer.unwrap();
        assert_eq!((status.as_u16(), answer["error"].as_str()), (409, Some("x")));
        assert!(head.starts_with("POST /reload HTTP/1.1\r\n"), "{head}");
    }

    #[tokio::test]
    async fn a_missing_socket_is_told_as_such() {
        let folder = tempfile::tempdir().unwrap();

        let answer = call(&folder.path().join("s"), Method::GET, "/keys", None).await;

        assert!(matches!(answer, Err(CallError::Connect(_))), "{answer:?}");
    }
}
