//! A port that leads to another one until it is cut: a server that goes away, for tests that
//! share it.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub struct Relay {
    pub port: u16,
    to: u16,
    accepting: AbortHandle,
    /// Whether bytes pass.
    is_open: watch::Sender<bool>,
}

impl Relay {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let is_open = watch::Sender::new(true);
        let accepting = accept(listener, port, is_open.subscribe());
        Self { port: own, to: port, accepting, is_open }
    }

    /// Closes every connection and takes no more.
    pub async fn cut(&self) {
        self.accepting.abort();
        // The port is free once the task is gone.
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// Takes every connection from now on and never says anything, as where packets are dropped.
    pub async fn mute(&mut self) {
        self.cut().await;
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], self.port))).await;
        let listener = listener.unwrap();
        let accepting = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok(connection) = listener.accept().await {
                held.push(connection);
            }
        });
        self.accepting = accepting.abort_handle();
    }

    /// Leads on again.
    pub async fn mend(&mut self) {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], self.port))).await;
        self.accepting = accept(listener.unwrap(), self.to, self.is_open.subscribe());
    }

    /// Lets no byte pass any more, on connections that are open and on new ones, as where packets
    /// are dropped. None of them is closed.
    pub fn hold(&self) {
        self.is_open.send_replace(false);
    }

    /// Lets bytes pass again, also those that were held, as TCP sends lost packets again.
    pub fn release(&self) {
        self.is_open.send_replace(true);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn accept(listener: TcpListener, to: u16, is_open: watch::Receiver<bool>) -> AbortHandle {
    let accepting = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            connections.spawn(lead(client, to, is_open.clone()));
        }
    });
    accepting.abort_handle()
}

async fn lead(client: TcpStream, to: u16, mut is_open: watch::Receiver<bool>) {
    let _ = is_open.wait_for(|open| *open).await;
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    for one in [&client, &server] {
        one.set_nodelay(true).unwrap();
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        pass(from_client, to_server, is_open.clone()),
        pass(from_server, to_client, is_open.clone()),
    );
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut is_open: watch::Receiver<bool>,
) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut piece).await.unwrap_or(0);
        // The end of a connection is held back, too: it is a packet like others.
        let _ = is_open.wait_for(|open| *open).await;
        if read == 0 || to.write_all(&piece[..read]).await.is_err() {
            let _ = to.shutdown().await;
            return;
        }
    }
}
