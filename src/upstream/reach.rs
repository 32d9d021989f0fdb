//! Whether the servers of an upstream are there: connected to as for a request, which is not sent.
//! For an operator who wants to know before a start.

use std::sync::Arc;

use super::connect::{self, Speak, Way};
use super::credential::Credential;
use super::pool::Pool;
use super::preface::Preface;
use super::resolve::Asker;
use super::transport::Stream;
use crate::runtime::BackRoom;
use crate::text::error_chain;

impl Pool {
    /// Connects to the server of this number, with TLS where it has that, and answers what was
    /// seen.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn reach(
        self: Arc<Self>,
        number: usize,
        back_room: &BackRoom,
    ) -> Result<&'static str, String> {
        let Some(path) = self.servers().get(number).and_then(|server| server.path.as_ref()) else {
            return Ok("built in");
        };
        let preface = self.proxy_protocol.map(Preface::local).transpose();
        let preface = preface.map_err(|error| error_chain(&error))?;
        let speak = if self.http2 { Speak::Http2 } else { Speak::Http1 };
        let way = Way { speak, preface: preface.as_ref() };
        let opened = connect::open(path, way, self.timeouts.connect, Asker::BackRoom(back_room));
        let opened = tokio::time::timeout(self.timeouts.connect, opened).await;
        match opened {
            Ok(Ok((Stream::Tls(_), ..))) => Ok("connected, with TLS"),
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
            Some(Credential::Login(login)) => login.reach().await.map(|()| "connected"),
            Some(Credential::Fixed(_)) | None => Ok("no login"),
        }
    }
}
