//! The socket of a client, TCP or unix: it is watched, and it is closed so that the last answer
//! arrives.
//!
//! It is below TLS, where a write that does not go through means that the client does not read.
//! Closing sends FIN, and then reads and throws away the bytes that the client still sends for a
//! moment. A socket that is closed with unread bytes is reset, and a reset destroys an answer that
//! the client has not read yet, such as a 413 in the middle of an upload.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::coalesce::CoalesceBuffer;

use super::admission::ListenerPermit;
use super::connection_timer::ConnectionTimer;

/// A connected socket of either kind.
#[derive(Debug)]
pub(super) enum ClientStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Calls the same method on either kind of stream.
macro_rules! on_stream {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket {
            ClientStream::Tcp($stream) => $call,
            ClientStream::Unix($stream) => $call,
        }
    };
}

impl ClientStream {
    /// Reads the bytes that have arrived; none at the end of the stream.
    pub(super) async fn read_buf(&mut self, into: &mut impl BufMut) -> io::Result<usize> {
        on_stream!(self, stream => stream.read_buf(into).await)
    }
}

/// The socket of a client, with everything that lasts as long as it does. TLS and hyper see it as
/// an ordinary stream and know nothing of the watching and of the slow end.
#[derive(Debug)]
pub(super) struct ClientSocket {
    stream: ClientStream,
    /// Bytes that were read before, while looking for a PROXY header or for TLS. They are delivered
    /// first. After them the socket is read directly.
    ahead: Bytes,
    activity: Arc<ConnectionTimer>,
    closing: ClosingPhase,
    /// Kept until the socket is closed, also by a tunnel.
    _permit: ListenerPermit,
}

#[derive(Debug, PartialEq, Eq)]
enum ClosingPhase {
    /// Open. `read_to_end` is true once the client has closed its side.
    No {
        read_to_end: bool,
    },
    /// The gateway's side is closed. Up to this many bytes are still thrown away.
    Lingering {
        left: usize,
    },
    Done,
}

/// Upper bound. More bytes than fit into the buffers on the way: a client that stops sending has
/// been read completely. Without a bound, a client could keep the connection open by sending
/// without end.
const LINGER_BYTES: usize = 4 << 20;

impl ClientSocket {
    pub(super) fn new(
        stream: ClientStream,
        activity: Arc<ConnectionTimer>,
        permit: ListenerPermit,
    ) -> Self {
        Self {
            stream,
            ahead: Bytes::new(),
            activity,
            closing: ClosingPhase::No { read_to_end: false },
            _permit: permit,
        }
    }

    /// Puts `ahead` before the bytes of the stream.
    pub(super) fn with_ahead(self, ahead: Bytes) -> Self {
        Self { ahead, ..self }
    }

    /// Records whether the socket takes bytes, and returns the outcome.
    fn noted<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Ready(_) => self.activity.sent(),
            Poll::Pending => self.activity.blocked(),
        }
        outcome
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buf.remaining());
            buf.put_slice(self.ahead.get(..length).unwrap_or_default());
            self.ahead.advance(length);
            self.activity.received();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(on_stream!(&mut self.stream, s => Pin::new(s).poll_read(cx, buf)))?;
        if buf.filled().len() > before {
            self.activity.received();
        // An empty read with room in the buffer is the end of the stream.
        } else if buf.remaining() > 0 && self.closing == (ClosingPhase::No { read_to_end: false }) {
            self.closing = ClosingPhase::No { read_to_end: true };
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = on_stream!(&mut self.stream, s => Pin::new(s).poll_write(cx, buf));
        self.noted(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Small pieces are copied into one buffer: a system call for several pieces costs more than
        // copying a head and a short body (see `gather`).
        let mut room = CoalesceBuffer::default();
        let outcome = match room.gather(bufs) {
            Some(whole) => on_stream!(&mut self.stream, s => Pin::new(s).poll_write(cx, whole)),
            None => on_stream!(&mut self.stream, s => Pin::new(s).poll_write_vectored(cx, bufs)),
        };
        self.noted(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        on_stream!(&self.stream, s => s.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(&mut self.stream, s => Pin::new(s).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // If the client has closed its side and everything was read, no reset can happen, and there
        // is nothing to wait for. Otherwise the time for it is limited by `ConnectionTimer`.
        if let ClosingPhase::No { read_to_end } = this.closing {
            ready!(on_stream!(&mut this.stream, s => Pin::new(s).poll_shutdown(cx)))?;
            this.closing = if read_to_end {
                ClosingPhase::Done
            } else {
                ClosingPhase::Lingering { left: LINGER_BYTES }
            };
            this.activity.lingering();
        }
        let mut scratch = [MaybeUninit::uninit(); 4096];
        while let ClosingPhase::Lingering { left } = this.closing {
            let mut buf = ReadBuf::uninit(&mut scratch);
            let read =
                ready!(on_stream!(&mut this.stream, s => Pin::new(s).poll_read(cx, &mut buf)));
            let left = left.saturating_sub(buf.filled().len());
            this.closing = if read.is_err() || buf.filled().is_empty() || left == 0 {
                ClosingPhase::Done
            } else {
                ClosingPhase::Lingering { left }
            };
        }
        Poll::Ready(Ok(()))
    }
}
