//! The peer behind a connection or a request, as values.
//!
//! `listener` makes a `Client` for each connection; a trusted proxy in front can change some of its
//! fields for single requests. `pipeline`, `authn` and `throttle` read it. Nothing here decides
//! what the client may do.

mod certificate;
mod group;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;

use crate::clock::Timestamp;
use crate::format;
use crate::secret::Digest;

pub use self::certificate::{AlternativeName, CertificateFault, ClientCertificate, ForwardedFault};
pub use self::group::{AddressGroup, address_group};

/// The other end, as far as the transport and trusted proxies tell. Everything in it was either
/// observed by the gateway or stated by a proxy that the operator trusts.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's address: the peer's own, or the one stated by a trusted proxy. `None` on a unix
    /// socket without a trusted proxy.
    pub address: Option<IpAddr>,
    /// The address as text, written when it is first needed.
    pub address_text: AddressText,
    /// The other end of the connection: of the socket, or as its PROXY header states. `None` on a
    /// unix socket without such a header.
    pub peer: Option<SocketAddr>,
    /// Our own end of the socket; `None` on a unix socket.
    pub local: Option<SocketAddr>,
    /// The listener's address as configured, for logs.
    pub listener: Arc<str>,
    /// The scheme that the client uses, towards us or towards the trusted proxy in front of us.
    pub scheme: Scheme,
    /// The server name from the TLS handshake (SNI), in lower case.
    pub sni: Option<Arc<str>>,
    /// The names that the listener has certificates for; `None` without TLS.
    pub names: Option<Arc<CertificateNames>>,
    /// The certificate that the client presented. `None` if there was none, or if it does not name
    /// anybody unambiguously. It was verified in the handshake, or is what a trusted proxy tells of
    /// its own handshake, verified alike.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// Why the certificate that a trusted proxy tells does not count.
    pub certificate_fault: Option<ForwardedFault>,
    /// True if the peer is one of the listener's `trusted_proxies`.
    pub trusted_proxy: bool,
    /// True if the peer should have sent a PROXY header and began without one. Such a peer, for
    /// example a load balancer's health check, may request the health path and nothing else.
    pub only_health: bool,
    /// True if the listener only redirects clients to https.
    pub redirect: bool,
    /// Limits of the listener for a single request.
    pub bounds: RequestBounds,
}

/// The limits of a listener that can only be checked where a request is read.
///
/// The listener itself checks the others. HTTP/1 heads have passed `header_count` already; HTTP/2
/// heads have not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestBounds {
    /// Most bytes of the request target.
    pub uri_bytes: usize,
    /// Most header lines.
    pub header_count: usize,
    /// The longest pause between two pieces of the body.
    pub body_idle: Duration,
    /// The lowest rate at which a body may arrive. `None` means that only `body_idle` limits it.
    pub body_rate: Option<LeastRate>,
}

/// The lowest rate at which a body may arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeastRate {
    /// Bytes in a second.
    pub bytes: u64,
    /// How far a body may be behind that rate, as time.
    pub grace: Duration,
}

impl Client {
    /// SHA-256 of the client's certificate, if there is one and it is valid at `now`.
    pub fn certificate_print(&self, now: Timestamp) -> Option<&Digest> {
        let shown = self.certificate.as_deref().filter(|certificate| certificate.holds(now));
        shown.map(|certificate| &certificate.fingerprint)
    }
}

/// The certificates of a listener by name, as they are chosen by SNI. Needed to tell whether a
/// request belongs on a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// Names in lower case, with wildcards such as `*.example.com`, each with the index of its
    /// certificate.
    pub names: Vec<(String, usize)>,
}

impl CertificateNames {
    /// The index of the certificate for `name`: an exact name is preferred to a wildcard, which
    /// stands for one label (RFC 6125, section 6.4.3). Without a match it is 0, the default
    /// certificate.
    pub fn chosen(&self, name: Option<&str>) -> usize {
        let Some(name) = name else { return 0 };
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let number = |wanted: &dyn Fn(&str) -> bool| {
            self.names.iter().find(|(served, _)| wanted(served)).map(|(_, number)| *number)
        };
        number(&|served| served == name)
            .or_else(|| {
                number(&|served| {
                    served.strip_prefix("*.").is_some_and(|served| Some(served) == parent)
                })
            })
            .unwrap_or(0)
    }
}

/// An address as the value of a header field. It is the same for all requests of a connection, so
/// it is written once and shared. Forwarding headers use it.
#[derive(Clone, Debug, Default)]
pub struct AddressText(OnceLock<HeaderValue>);

impl AddressText {
    /// The text of `address`. The first call decides: all calls must pass the same address.
    pub fn of(&self, address: IpAddr) -> &HeaderValue {
        self.0.get_or_init(|| {
            let mut text = Vec::with_capacity(16);
            format::address(&mut text, address);
            // Invariant: digits, letters, dots and colons are always a valid field value.
            HeaderValue::from_maybe_shared(Bytes::from(text))
                .unwrap_or(HeaderValue::from_static(""))
        })
    }
}

impl Client {
    /// True if a request for `host` would have been given the same certificate as this connection's
    /// handshake. Otherwise the answer is 421 (RFC 9110, section 7.4): an HTTP/2 client may reuse a
    /// connection for another host that the certificate covers, and the checks of that host's
    /// handshake must not be avoided in this way.
    pub fn is_directed_at(&self, host: &str) -> bool {
        self.names
            .as_ref()
            .is_none_or(|names| names.chosen(self.sni.as_deref()) == names.chosen(Some(host)))
    }
}

/// The scheme of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// The name of the scheme in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}
