//! A connection to a server, as the pool handles it: the way to send on it, and how long it may
//! be kept.
//!
//! An upstream that says how long it waits for the next request (`Keep-Alive: timeout=5`) is
//! believed, less a second for the way there. A connection to an address that its name no longer
//! stands for is not used again.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderMap;
use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use crate::body::Body;

/// What requests are sent on.
pub(super) enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
    /// HTTP/2 to a server that lets WebSockets be opened, for the one that is to be.
    WebSocket(http2::SendRequest<Body>),
}

/// What the clocks of two machines and the way between them may differ by.
const MARGIN: Duration = Duration::from_secs(1);

/// An open connection.
pub(super) struct Link {
    pub(super) sender: Sender,
    /// Where it leads, if a name was resolved for it.
    pub(super) address: Option<Address>,
    /// How long it may stay unused.
    keep: Duration,
    /// It has not answered yet.
    new: bool,
}

/// An address and when it was known to be the name's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    /// See `Names::is_current`.
    pub(super) epoch: u32,
}

impl Link {
    pub(super) fn new(sender: Sender, address: Option<Address>, keep: Duration) -> Self {
        Self { sender, address, keep, new: true }
    }

    /// The same connection once more, if requests can share it.
    pub(super) fn shared(&self) -> Option<Self> {
        let Sender::Http2(sender) = &self.sender else { return None };
        let sender = Sender::Http2(sender.clone());
        Some(Self { sender, address: self.address, keep: self.keep, new: false })
    }

    /// False once it is closed, or while a request is on it.
    pub(super) fn is_ready(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_ready(),
            Sender::Http2(sender) | Sender::WebSocket(sender) => sender.is_ready(),
        }
    }

    /// Takes the upstream's word for how long it keeps the connection. Only once: it says the same
    /// every time.
    pub(super) fn heed(&mut self, answer: &HeaderMap) {
        if std::mem::take(&mut self.new)
            && let Some(told) = told(answer)
        {
            self.keep = self.keep.min(told.saturating_sub(MARGIN));
        }
    }
}

/// `timeout=` of `Keep-Alive`.
fn told(answer: &HeaderMap) -> Option<Duration> {
    let told = answer.get("keep-alive")?.to_str().ok()?;
    let seconds = told.split(',').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse().ok())?
    });
    seconds.map(Duration::from_secs)
}

/// A connection nobody uses, or that all share.
pub(super) struct Kept {
    pub(super) link: Link,
    pub(super) since: Instant,
}

/// A connection out of those that were kept.
pub(super) struct Taken {
    pub(super) link: Link,
    /// How long nobody had used it.
    pub(super) unused: Duration,
}

impl Kept {
    pub(super) fn now(link: Link) -> Self {
        Self { link, since: Instant::now() }
    }

    /// True if it was not unused for too long.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now - self.since < self.link.keep
    }

    pub(super) fn take(self, now: Instant) -> Taken {
        Taken { link: self.link, unused: now - self.since }
    }
}

impl Taken {
    pub(super) fn at_once(link: Link) -> Self {
        Self { link, unused: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_upstream_says_of_its_patience_is_understood() {
        for (field, expected) in [
            ("timeout=5", Some(5)),
            ("max=100, Timeout = 7", Some(7)),
            ("timeout=0", Some(0)),
            ("timeout=soon", None),
            ("max=3", None),
            ("timeout=-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("keep-alive", field.parse().unwrap());
            assert_eq!(told(&headers), expected.map(Duration::from_secs), "{field}");
        }
    }
}
