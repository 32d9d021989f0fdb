//! One TLS handshake, with an end to it.
//!
//! Failures are told apart by class for the metrics; what the peer sent is never repeated.

use std::io;
use std::time::Duration;

use rustls::{Error, InvalidMessage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certs::Certificates;
use super::gate::HandshakeFailure;

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
