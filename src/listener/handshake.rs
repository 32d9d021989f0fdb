//! One TLS handshake, limited in time.
//!
//! Failures are classified for the metrics; bytes of the peer are never repeated in a log. A client
//! that sends plain HTTP to a TLS port is recognised and gets a readable answer. `connection` is
//! the caller.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::server::{Acceptor, ServerConfig};
use rustls::{Error, InvalidMessage};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::admission::HandshakeFailure;
use super::certificates::ListenerCertificates;
use super::socket::{ClientSocket, ClientStream};
use crate::acme;

/// Performs the TLS handshake on `io`. The error is the class of the failure; it is `Timeout` if
/// the handshake takes longer than `limit`. The time includes everything that the client sends
/// until the handshake is complete.
pub(super) async fn accept<S>(
    certificates: &ListenerCertificates,
    io: S,
    limit: Duration,
) -> Result<TlsStream<S>, HandshakeFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = async {
        match certificates.challenge() {
            None => TlsAcceptor::from(certificates.server()).accept(io).await,
            // Boxed, because it is rare and would otherwise enlarge the future of every handshake.
            Some(challenge) => Box::pin(accept_either(certificates, challenge, io)).await,
        }
    };
    match tokio::time::timeout(limit, handshake).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(classify(&error)),
        Err(_) => Err(HandshakeFailure::Timeout),
    }
}

/// Performs the handshake while an authority may come to verify a name: with the settings of the
/// challenge if the client wants nothing else, else with those of the listener. Both are chosen by
/// the whole ClientHello, however it is fragmented.
async fn accept_either<S>(
    certificates: &ListenerCertificates,
    challenge: Arc<ServerConfig>,
    io: S,
) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let begun = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
    let config = match acme::is_challenge_only(&begun.client_hello()) {
        true => challenge,
        false => certificates.server(),
    };
    begun.into_stream(config).await
}

/// Ends a connection that was for a challenge: the certificate was all that the authority wanted to
/// see (RFC 8737, section 3). It does not matter whether it still listens.
pub(super) async fn end_challenge(mut stream: TlsStream<ClientSocket>, limit: Duration) {
    let _ = tokio::time::timeout(limit, stream.shutdown()).await;
}

/// A ClientHello with a post-quantum key share fits into this many bytes.
const GREETING: usize = 2048;

/// The first bytes of the client, at least one. `ahead` are bytes that were read before; if there
/// are any, nothing more is read. The class of the error is `Closed` if the client went away, and
/// `Timeout` if nothing came in time.
pub(super) async fn greeting(
    stream: &mut ClientStream,
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

/// True if the client begins with a plain HTTP request: the first letter of a method, where TLS has
/// the byte 0x16. A PROXY header (version 1) from a peer that should not send one is not taken for
/// a request. Everything else is left to the TLS library.
pub(super) fn is_plain_http(greeting: &[u8]) -> bool {
    greeting.first().is_some_and(u8::is_ascii_uppercase) && !greeting.starts_with(b"PROXY ")
}

/// Answers in plain HTTP what is wrong. Such a client could not read a TLS alert. The answer is a
/// fixed text: nothing of the request is repeated in it.
pub(super) async fn refuse_plain(mut socket: ClientSocket) -> io::Result<()> {
    socket.write_all(PLAIN_REFUSED.as_bytes()).await?;
    socket.shutdown().await
}

const PLAIN_REFUSED: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    cache-control: no-store\r\ncontent-length: 66\r\nconnection: close\r\n\r\n\
    Plain HTTP was sent to an HTTPS port: write https:// for http://.\n";

/// The class of a failed handshake. rustls reports its own errors inside an `io::Error`; an error
/// without one is of the socket. No text of the peer is kept.
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
