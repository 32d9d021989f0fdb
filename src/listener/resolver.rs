//! The certificates that a listener serves at the moment, and the choice among them by the name
//! that a client asks for.
//!
//! `certificates` replaces the set when files have changed; the resolver itself stays.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate_file::CertificateFacts;
use crate::client::CertificateNames;

/// Certificates that are served together. A set is never changed; a renewal replaces it. Handshakes
/// that are under way keep the set with which they began. The first key is the default.
#[derive(Debug, Default)]
pub(super) struct CertificateSet {
    pub(super) keys: Vec<Arc<CertifiedKey>>,
    pub(super) names: Arc<CertificateNames>,
    pub(super) facts: Vec<CertificateFacts>,
}

/// Chooses the certificate for a handshake from the set that is served at the moment. If the client
/// sends no name, or one that no certificate has, the first certificate is used. The client then
/// decides whether it accepts that.
#[derive(Debug)]
pub(super) struct CertificateResolver {
    pub(super) set: ArcSwap<CertificateSet>,
}

impl CertificateResolver {
    pub(super) fn new(set: CertificateSet) -> Self {
        Self { set: ArcSwap::from_pointee(set) }
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let set = self.set.load();
        let name = hello.server_name().map(asked_name);
        set.keys.get(set.names.chosen(name.as_deref())).cloned()
    }
}

/// A server name (SNI) in the form in which certificates and hosts are compared: in lower case and
/// without the root's dot. Clients may send the name in any case, and some send the dot.
pub(super) fn asked_name(sni: &str) -> String {
    sni.strip_suffix('.').unwrap_or(sni).to_ascii_lowercase()
}
