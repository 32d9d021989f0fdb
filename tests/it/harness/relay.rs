//! A port that leads to another one until it is cut: a server that goes away, for tests that
//! share it.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

pub struct Relay {
    pub port: u16,
    to: u16,
    accepting: AbortHandle,
}

impl Relay {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        Self { port: own, to: port, accepting: accept(listener, port) }
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
        self.accepting = accept(listener.unwrap(), self.to);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn accept(listener: TcpListener, to: u16) -> AbortHandle {
    let accepting = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", to)).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    accepting.abort_handle()
}
