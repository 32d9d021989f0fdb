//! The peer behind a connection or request.

mod certificate;
mod group;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;

use crate::clock::Timestamp;
use crate::secret::Digest;
use crate::text;

pub use self::certificate::{AlternativeName, CertificateFault, ClientCertificate};
pub use self::group::{AddressGroup, address_group};

/// Who is at the other end, as far as the transport and trusted proxies tell.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's address: the peer's own, or what a trusted proxy said. `None` on a unix
    /// socket that no trusted proxy speaks through.
    pub address: Option<IpAddr>,
    /// The address as text, once it was asked for.
    pub address_text: AddressText,
    /// The connection's other end: the socket's, or what its PROXY header said. `None` on a unix
    /// socket without one.
    pub peer: Option<SocketAddr>,
    /// The socket's own end; `None` on a unix socket.
    pub local: Option<SocketAddr>,
    /// The listener's address as configured, for logs.
    pub listener: Arc<str>,
    /// How the client speaks to us, or to the trusted proxy in front of us.
    pub scheme: Scheme,
    /// The name asked for in the TLS handshake, lower-cased.
    pub sni: Option<Arc<str>>,
    /// The names the listener has certificates for; `None` without TLS.
    pub names: Option<Arc<CertificateNames>>,
    /// The certificate it showed; `None` without one, or if that names nobody for certain.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// True if the peer is one of the listener's `trusted_proxies`.
    pub trusted_proxy: bool,
    /// True if the peer owes a PROXY header and began without one: it may ask for the health path
    /// and for nothing else.
    pub only_health: bool,
    /// True if the listener only sends clients on to https.
    pub redirect: bool,
    /// What the listener lets one request ask for.
    pub bounds: RequestBounds,
}

/// The part of a listener's limits that can only be held where a request is read.
///
/// The listener itself holds the others; HTTP/1 heads have met `header_count` already, HTTP/2
/// ones have not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestBounds {
    /// Bytes of the request target.
    pub uri_bytes: usize,
    /// Header lines.
    pub header_count: usize,
    /// The longest pause between two pieces of the body.
    pub body_idle: Duration,
    /// How slowly a body may come; `None`: as slowly as `body_idle` lets it.
    pub body_rate: Option<LeastRate>,
}

/// How slowly a body may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeastRate {
    /// In a second.
    pub bytes: u64,
    /// How far a body may be behind.
    pub grace: Duration,
}

impl Client {
    /// SHA-256 of the certificate that the client showed, while that holds.
    pub fn certificate_print(&self, now: Timestamp) -> Option<&Digest> {
        let held = self.certificate.as_deref().filter(|certificate| certificate.holds(now));
        held.map(|certificate| &certificate.fingerprint)
    }
}

/// Which certificate serves which name, as a listener chooses by SNI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// Lower-cased names, `*.example.com` among them, with the number of their certificate.
    pub names: Vec<(String, usize)>,
}

impl CertificateNames {
    /// The number of the certificate that serves `name`: an exact name before a wildcard, which
    /// stands for one label (RFC 6125 §6.4.3); 0, the default, where none does.
    pub fn chosen(&self, name: Option<&str>) -> usize {
        let Some(name) = name else { return 0 };
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let number = |wanted: &dyn Fn(&str) -> bool| {
            self.names.iter().find(|(held, _)| wanted(held)).map(|(_, number)| *number)
        };
        number(&|held| held == name)
            .or_else(|| {
                number(&|held| held.strip_prefix("*.").is_some_and(|held| Some(held) == parent))
            })
            .unwrap_or(0)
    }
}

/// An address as a field's value: the same for all requests of a connection, so it is written once.
#[derive(Clone, Debug, Default)]
pub struct AddressText(OnceLock<HeaderValue>);

impl AddressText {
    /// The text of `address`, which is always the same one.
    pub fn of(&self, address: IpAddr) -> &HeaderValue {
        self.0.get_or_init(|| {
            let mut text = Vec::with_capacity(16);
            text::address(&mut text, address);
            // Invariant: digits, dots and colons are a field's value.
            HeaderValue::from_maybe_shared(Bytes::from(text))
                .unwrap_or(HeaderValue::from_static(""))
        })
    }
}

impl Client {
    /// True if a request for `host` on this connection would have been given the same
    /// certificate as the handshake was (RFC 9110 §7.4: otherwise 421).
    pub fn is_directed_at(&self, host: &str) -> bool {
        self.names
            .as_ref()
            .is_none_or(|names| names.chosen(self.sni.as_deref()) == names.chosen(Some(host)))
    }
}

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// The scheme's name in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}
