//! Tunnels: what follows an upstream's agreement.
//!
//! Nothing the client sent after its request passes before the upstream has agreed: hyper holds
//! it until then, and reads it as the next request if the upstream refuses. A tunnel ends with
//! its token, session or route: a WebSocket by a close frame between two frames of the upstream's,
//! and by a cut when the route's `close_notice` is over; any other protocol by a cut at once.

use std::future::pending;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::server::InFlight;
use super::watch::Joined;
use super::websocket::{CLOSE_1008, Frames};

/// How long a client may take to receive the agreement.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);

/// How long a client may go on sending after its upstream has said its last.
const HALF_OPEN: Duration = Duration::from_secs(60);

/// How much is read at once in each direction.
const PIECE: usize = 16 * 1024;

/// A tunnel that begins when the client has received the agreement.
pub(super) struct Tunnel {
    pub(super) client: OnUpgrade,
    pub(super) upstream: OnUpgrade,
    pub(super) websocket: bool,
    /// Joined before the client knows of it, so that no revocation falls between; with how long a
    /// WebSocket has to end by itself once its time is over.
    pub(super) joined: Option<(Joined, Duration)>,
    pub(super) in_flight: InFlight,
}

impl Tunnel {
    /// Runs until either side, the session or the route ends.
    pub(super) async fn run(self) {
        let notice = self.joined.as_ref().map(|(_, notice)| *notice).filter(|_| self.websocket);
        let ended = pin!(async {
            match self.joined {
                Some((joined, _)) => joined.ended().await,
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

async fn relay(
    client: Upgraded,
    upstream: Upgraded,
    notice: Option<Duration>,
    mut ended: impl Future<Output = ()> + Unpin,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
    let (mut from_upstream, mut to_upstream) = tokio::io::split(TokioIo::new(upstream));
    let mut down = Flow::default();
    let mut up = Flow::default();
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
        // A client that does not take its close frame in time is cut off.
        let _ = timeout(notice, close).await;
    }
    Ok(())
}

/// Until both directions have ended; a client that only sends is not waited for long.
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

/// One direction. Can be left between any two steps without losing its place.
#[derive(Default)]
struct Flow {
    held: BytesMut,
    frames: Frames,
}

impl Flow {
    async fn run(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        while self.fill(from).await? {
            let written = to.write(&self.held).await?;
            self.passed(written)?;
            if self.held.is_empty() {
                to.flush().await?;
            }
        }
        to.shutdown().await
    }

    /// Reads if nothing is held; false at the end.
    async fn fill(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
        if self.held.is_empty() {
            self.held.reserve(PIECE);
            from.read_buf(&mut self.held).await?;
        }
        Ok(!self.held.is_empty())
    }

    fn passed(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.frames.pass(self.held.get(..written).unwrap_or_default());
        self.held.advance(written);
        Ok(())
    }

    /// Finishes the frame that is on its way, says that the session is over, and waits for the
    /// client to leave: a connection dropped earlier could lose the close frame.
    async fn close(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        back: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<()> {
        while !self.frames.at_boundary() {
            if !self.fill(from).await? {
                return Ok(());
            }
            let mut ahead = self.frames.clone();
            let rest = ahead.pass_frame(&self.held);
            let written = to.write(self.held.get(..rest).unwrap_or_default()).await?;
            self.passed(written)?;
        }
        to.write_all(&CLOSE_1008).await?;
        to.shutdown().await?;
        tokio::io::copy(back, &mut tokio::io::sink()).await?;
        Ok(())
    }
}
