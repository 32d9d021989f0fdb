//! One TLS handshake, with an end to it.
//!
//! Failures are told apart by class for the metrics; what the peer sent is never repeated.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::{Error, InvalidMessage};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certs::Certificates;
use super::gate::HandshakeFailure;
use super::socket::{Socket, Stream};

/// Speaks TLS on `io`, or says within `limit` why not.
pub(super) async fn accept<S>(
    certificates: &Certificates,
    io: S,
    limit: Duration,
) -> Result<TlsStream<S>, HandshakeFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = TlsAcceptor::from(certificates.server()).accept(io);
    match tokio::time::timeout(limit, handshake).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(classify(&error)),
        Err(_) => Err(HandshakeFailure::Timeout),
    }
}

/// A ClientHello with a post-quantum key share fits.
const GREETING: usize = 2048;

/// What the client begins with, after what was read `ahead`: one piece of it at least.
pub(super) async fn greeting(
    stream: &mut Stream,
    ahead: Bytes,
    limit: Duration,
) -> Result<Bytes, HandshakeFailure> {
    if !ahead.is_empty() {
        return Ok(ahead);
    }
    let mut read = BytesMut::with_capacity(GREETING);
    match tokio::time::timeout(limit, stream.read_buf(&mut read)).await {
        Ok(Ok(0) | Err(_)) => Err(HandshakeFailure::Closed),
        Ok(Ok(_)) => Ok(read.freeze()),
        Err(_) => Err(HandshakeFailure::Timeout),
    }
}

/// Whether it is a request in plain text: a method's first letter, where TLS has 0x16. A PROXY header
/// (version 1) from a peer that has no business to send one is no request.
pub(super) fn is_plain_http(greeting: &[u8]) -> bool {
    greeting.first().is_some_and(u8::is_ascii_uppercase) && !greeting.starts_with(b"PROXY ")
}

/// Says in words what is wrong: a TLS alert would be garbage to such a client.
pub(super) async fn refuse_plain(mut socket: Socket) -> io::Result<()> {
    socket.write_all(PLAIN_REFUSED.as_bytes()).await?;
    socket.shutdown().await
}

const PLAIN_REFUSED: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    cache-control: no-store\r\ncontent-length: 66\r\nconnection: close\r\n\r\n\
    Plain HTTP was sent to an HTTPS port: write https:// for http://.\n";

fn classify(error: &io::Error) -> HandshakeFailure {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    match cause {
        None => HandshakeFailure::Closed,
        Some(Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        )) => HandshakeFailure::NotTls,
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => {
            HandshakeFailure::Incompatible
        }
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => {
            HandshakeFailure::ClientCertificate
        }
        Some(Error::AlertReceived(_)) => HandshakeFailure::Alert,
        Some(_) => HandshakeFailure::Protocol,
    }
}
