//! A port that leads to another one, until it is frozen: connections stay, new ones are accepted,
//! and nothing goes through any more, as where a firewall drops packets.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(super) struct Relay {
    pub(super) port: u16,
    is_frozen: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Relay {
    pub(super) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let is_frozen = watch::Sender::new(false);
        let state = is_frozen.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (client_read, client_write) = client.into_split();
                let (server_read, server_write) = server.into_split();
                tokio::spawn(copy(client_read, server_write, state.subscribe()));
                tokio::spawn(copy(server_read, client_write, state.subscribe()));
            }
        });
        Self { port: own, is_frozen, accepting }
    }

    /// Connections that are frozen stay so.
    pub(super) fn freeze(&self) {
        self.is_frozen.send_replace(true);
    }

    /// Lets new connections through.
    pub(super) fn thaw(&self) {
        self.is_frozen.send_replace(false);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = Arc::new([0; 16 * 1024]);
    loop {
        let buffer = Arc::make_mut(&mut buffer);
        let length = tokio::select! {
            biased;
            _ = frozen.wait_for(|is_frozen| *is_frozen) => break,
            length = from.read(buffer) => length.unwrap_or(0),
        };
        if length == 0 || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // Both ends stay open, and hear nothing.
    std::future::pending::<()>().await;
}
