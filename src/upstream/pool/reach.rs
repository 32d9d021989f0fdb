//! Whether the servers of an upstream are there: connected to as for a request, which is not sent.
//! For an operator who wants to know before a start.

use std::sync::Arc;

use super::UpstreamPool;
use super::credential::GatewayCredential;
use crate::format::error_chain;
use crate::runtime::BackgroundRuntime;
use crate::upstream::connection::{
    self, HandshakeOptions, LookupSpawner, ProxyHeaderBytes, UpstreamStream, WireProtocol,
};

impl UpstreamPool {
    /// Connects to the server of this number, with TLS where it has that, and answers what was
    /// seen.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn reach(
        self: Arc<Self>,
        number: usize,
        background: &BackgroundRuntime,
    ) -> Result<&'static str, String> {
        let Some(path) = self.servers().get(number).and_then(|server| server.path.as_ref()) else {
            return Ok("built in");
        };
        let preface = self.proxy_protocol.map(ProxyHeaderBytes::local).transpose();
        let preface = preface.map_err(|error| error_chain(&error))?;
        let speak = if self.http2 { WireProtocol::Http2 } else { WireProtocol::Http1 };
        let way = HandshakeOptions { speak, proxy_header: preface.as_ref() };
        let opened = connection::open(
            path,
            way,
            self.timeouts.connect,
            LookupSpawner::Background(background),
        );
        let opened = tokio::time::timeout(self.timeouts.connect, opened).await;
        match opened {
            Ok(Ok((UpstreamStream::Tls(_), ..))) => Ok("connected, with TLS"),
            Ok(Ok(_)) => Ok("connected"),
            Ok(Err(error)) => Err(error_chain(&error)),
            Err(_) => Err(format!("no connection within {:?}", self.timeouts.connect)),
        }
    }

    /// Connects to where the gateway itself logs in for this upstream, without logging in.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn reach_login(self: Arc<Self>) -> Result<&'static str, String> {
        match &self.credential {
            Some(GatewayCredential::Login(login)) => login.reach().await.map(|()| "connected"),
            Some(
                GatewayCredential::Fixed(_)
                | GatewayCredential::Minted(_)
                | GatewayCredential::Session(_),
            )
            | None => Ok("no login"),
        }
    }
}
