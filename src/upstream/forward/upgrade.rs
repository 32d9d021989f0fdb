//! Tunnels: copies bytes in both directions after an upstream has agreed to an upgrade.
//!
//! Bytes that the client sends after its request are kept by hyper until the upstream has agreed;
//! if the upstream refuses, hyper reads them as the next request. A tunnel ends with its token,
//! session or route. A WebSocket gets a close frame between two frames of the upstream, and is cut
//! when the route's `close_notice` is over; a tunnel of any other protocol is cut at once.
//! `send` starts tunnels.

use std::future::pending;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::lifetime::RegisteredStream;
use super::websocket::{CLOSE_1008, FramePosition};
use crate::upstream::pool::InFlight;

/// How long a client may take to receive the agreement.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);

/// How long a client may go on sending after the upstream has closed its direction.
const HALF_OPEN: Duration = Duration::from_secs(60);

/// Bytes that are read at once in each direction.
const PIECE: usize = 16 * 1024;

/// A tunnel that begins when the client has received the agreement.
pub(super) struct UpgradeTunnel {
    pub(super) client: OnUpgrade,
    pub(super) upstream: OnUpgrade,
    pub(super) websocket: bool,
    /// The registration among the session's streams, with the notice that a WebSocket gets. It is
    /// made before the client learns of the tunnel, so that a revocation in between ends it, too.
    pub(super) registered: Option<(RegisteredStream, Duration)>,
    pub(super) in_flight: InFlight,
}

impl UpgradeTunnel {
    /// Copies until one side, the session or the route ends. The session is watched from the start,
    /// but its end takes effect only once both sides are connected. A client that never receives
    /// the agreement is given up after `BEGINS_WITHIN`.
    pub(super) async fn run(self) {
        let notice = self.registered.as_ref().map(|(_, notice)| *notice).filter(|_| self.websocket);
        let ended = pin!(async {
            match self.registered {
                Some((registered, _)) => registered.ended().await,
                None => pending().await,
            }
        });
        let sides = async { tokio::try_join!(self.client, self.upstream) };
        let (client, upstream) = match timeout(BEGINS_WITHIN, sides).await {
            Ok(Ok(sides)) => sides,
            Ok(Err(error)) => return tracing::debug!(%error, "an upgrade came to nothing"),
            Err(_) => return tracing::debug!("a client did not take its upgrade"),
        };
        if let Err(error) = relay(client, upstream, notice, ended).await {
            tracing::debug!(%error, "a tunnel broke off");
        }
        drop(self.in_flight);
    }
}

/// Copies in both directions until both have ended or `ended` resolves. A WebSocket then has
/// `notice` to close. After that, the directions are not copied any more: only the close frame is
/// written.
async fn relay(
    client: Upgraded,
    upstream: Upgraded,
    notice: Option<Duration>,
    mut ended: impl Future<Output = ()> + Unpin,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
    let (mut from_upstream, mut to_upstream) = tokio::io::split(TokioIo::new(upstream));
    let mut down = TunnelDirection::default();
    let mut up = TunnelDirection::default();
    {
        let down = pin!(down.run(&mut from_upstream, &mut to_client));
        let up = pin!(up.run(&mut from_client, &mut to_upstream));
        tokio::select! {
            result = both(down, up) => return result,
            () = &mut ended => (),
        }
    }
    if let Some(notice) = notice {
        let close = down.close(&mut from_upstream, &mut to_client, &mut from_client);
        // A client that does not answer the close frame in time is cut off.
        let _ = timeout(notice, close).await;
    }
    Ok(())
}

/// Waits until both directions have ended. After the upstream has closed its direction, the client
/// may go on sending for a limited time only: nobody would read it for ever.
async fn both(
    mut down: impl Future<Output = io::Result<()>> + Unpin,
    mut up: impl Future<Output = io::Result<()>> + Unpin,
) -> io::Result<()> {
    tokio::select! {
        result = &mut down => {
            result?;
            timeout(HALF_OPEN, up).await.unwrap_or(Ok(()))
        }
        result = &mut up => {
            result?;
            down.await
        }
    }
}

/// One direction of a tunnel. Its future can be dropped between any two steps without losing data
/// or the position in a frame, because both are in this struct.
#[derive(Default)]
struct TunnelDirection {
    buffer: BytesMut,
    frames: FramePosition,
}

impl TunnelDirection {
    /// Copies until the end of `from`, then closes `to`.
    ///
    /// # Errors
    /// A read or write failed.
    async fn run(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        while self.fill(from).await? {
            let written = to.write(&self.buffer).await?;
            self.passed(written)?;
            // Data is flushed only when nothing more is buffered, so that several pieces can leave
            // in one TLS record.
            if self.buffer.is_empty() {
                to.flush().await?;
            }
        }
        to.shutdown().await
    }

    /// Reads if the buffer is empty; false at the end of the stream.
    async fn fill(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
        if self.buffer.is_empty() {
            self.buffer.reserve(PIECE);
            from.read_buf(&mut self.buffer).await?;
        }
        Ok(!self.buffer.is_empty())
    }

    /// Removes written bytes from the buffer and follows the frames in them.
    ///
    /// # Errors
    /// A write of zero bytes: the receiver takes no more.
    fn passed(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.frames.pass(self.buffer.get(..written).unwrap_or_default());
        self.buffer.advance(written);
        Ok(())
    }

    /// Finishes the frame that is under way, sends a close frame, and waits for the client to
    /// leave. If the connection were dropped at once, then data from the client could make the
    /// operating system reset it, and the close frame could be lost.
    async fn close(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        back: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<()> {
        while !self.frames.at_boundary() {
            // The rest of the current frame is copied first. A close frame in the middle of another
            // frame would be read as its payload. `close` may be cut off by its notice while it
            // waits for that rest; the client then gets no close frame.
            if !self.fill(from).await? {
                return Ok(());
            }
            let mut ahead = self.frames.clone();
            let rest = ahead.pass_frame(&self.buffer);
            let written = to.write(self.buffer.get(..rest).unwrap_or_default()).await?;
            self.passed(written)?;
        }
        to.write_all(&CLOSE_1008).await?;
        to.shutdown().await?;
        tokio::io::copy(back, &mut tokio::io::sink()).await?;
        Ok(())
    }
}
