//! The transport of a connection to an upstream: TCP, unix socket, or TLS over TCP.
//!
//! One type covers all three, so that hyper's client is compiled once and not three times. It adds
//! no protocol of its own. `connect` creates it and hands it to hyper.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::limit::ConnectionPermit;
use crate::coalesce::CoalesceBuffer;

/// A socket, and the permit to have it open if the server limits its connections. The permit is
/// released when the socket is dropped. hyper owns the transport, so the limit counts the socket
/// for exactly as long as it is open.
pub(in crate::upstream) struct UpstreamTransport {
    stream: UpstreamStream,
    _permit: Option<Arc<ConnectionPermit>>,
}

impl UpstreamTransport {
    /// Wraps an open stream.
    pub(in crate::upstream) fn new(
        stream: UpstreamStream,
        permit: Option<Arc<ConnectionPermit>>,
    ) -> Self {
        Self { stream, _permit: permit }
    }
}

/// The kinds of sockets.
pub(in crate::upstream) enum UpstreamStream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Evaluates the same expression for each kind of stream.
macro_rules! each {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport {
            UpstreamStream::Tcp($stream) => $call,
            UpstreamStream::Unix($stream) => $call,
            UpstreamStream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for UpstreamTransport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(&mut self.get_mut().stream, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for UpstreamTransport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(&mut self.get_mut().stream, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Small pieces are copied together and written at once: copying a head and a short body
        // costs less than the system call that takes several pieces (see `coalesce`).
        let mut room = CoalesceBuffer::default();
        let stream = &mut self.get_mut().stream;
        match room.gather(slices) {
            Some(whole) => each!(stream, stream => Pin::new(stream).poll_write(cx, whole)),
            None => each!(stream, stream => Pin::new(stream).poll_write_vectored(cx, slices)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        each!(&self.stream, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.get_mut().stream, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.get_mut().stream, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
