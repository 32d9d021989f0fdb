//! The client of a dry run: what a listener would know of a client that connects from an address.
//!
//! No connection is made. A client with TLS is taken to have asked for the host that it names, and
//! to have shown no certificate. The dry run of the pipeline is the caller.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::context::{ConnectedPeer, bounds_of};
use crate::client::{AddressText, Client, Scheme};
use crate::settings::{BindAddress, ListenerSettings};

/// The client that connects to `listener` from `address`, and means `host`.
pub(crate) fn imagined_client(
    listener: &ListenerSettings,
    address: IpAddr,
    host: Option<&str>,
) -> Client {
    let peer = ConnectedPeer::of(listener, Some(SocketAddr::new(address, 0)));
    let is_encrypted = listener.tls.is_some();
    Client {
        address: peer.address,
        peer: peer.socket,
        local: local_end(listener, address),
        listener: listener.name.as_str().into(),
        scheme: if is_encrypted { Scheme::Https } else { Scheme::Http },
        sni: host.filter(|_| is_encrypted).map(Arc::from),
        names: is_encrypted.then(Arc::default),
        certificate: None,
        certificate_fault: None,
        address_text: AddressText::default(),
        trusted_proxy: peer.is_trusted,
        only_health: false,
        redirect: listener.redirect_to_https,
        bounds: bounds_of(listener),
    }
}

/// The listener's own end of the connection. A listener on all addresses is reached from loopback by
/// a loopback address, and from elsewhere by another one; `None` on a unix socket.
fn local_end(listener: &ListenerSettings, from: IpAddr) -> Option<SocketAddr> {
    let bound = match listener.bind {
        BindAddress::Tcp(bound) => bound,
        BindAddress::Unix(_) => return None,
        BindAddress::Descriptor(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
    };
    if bound.ip().is_unspecified() && from.to_canonical().is_loopback() {
        return Some(SocketAddr::new(from, bound.port()));
    }
    Some(bound)
}
