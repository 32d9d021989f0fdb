//! A gateway that speaks TLS, and the sections of a configuration with one upstream and one route.

use tempfile::TempDir;

use super::certs::Certificate;
use super::{Client, Gateway, GatewayBuilder};

/// An upstream `name` of one server and a route to it.
pub(crate) fn route_to(name: &str, server: &str, path: &str, keys: &str) -> String {
    format!(
        "[[upstream]]\nname = \"{name}\"\nservers = [\"{server}\"]\n\
         [[route]]\nname = \"{name}\"\npath = \"{path}\"\nupstream = \"{name}\"\n{keys}\n"
    )
}

/// What a TLS listener for `localhost` needs, and its clients.
pub(crate) struct TlsGateway {
    certificate: Certificate,
    _dir: TempDir,
}

impl TlsGateway {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let certificate = Certificate::make(dir.path(), "localhost", &["localhost"]);
        Self { certificate, _dir: dir }
    }

    pub(crate) fn builder(&self) -> GatewayBuilder {
        Gateway::builder().tls(&self.certificate, "")
    }

    /// With further keys of the listener.
    pub(crate) fn builder_with(&self, keys: &str) -> GatewayBuilder {
        Gateway::builder().listener(keys).tls(&self.certificate, "")
    }

    /// With further keys of the listener's TLS.
    pub(crate) fn builder_with_tls(&self, keys: &str) -> GatewayBuilder {
        Gateway::builder().tls(&self.certificate, keys)
    }

    /// The file with its certificate, for clients of another make.
    pub(crate) fn chain(&self) -> &std::path::Path {
        &self.certificate.chain
    }

    pub(crate) fn client(&self, gateway: &Gateway, http2: bool) -> Client {
        Client::trusting(gateway.address(), &self.certificate, http2)
    }
}
