//! A gateway that speaks TLS, and the sections of a configuration with one upstream and one route.

use tempfile::TempDir;

use super::certs::{self, Certificate};
use super::{Client, Gateway, GatewayBuilder};

/// An upstream `name` of one server and a route to it.
pub(crate) fn route_to(name: &str, server: &str, path: &str, keys: &str) -> String {
    format!(
        "[[upstream]]\nname = \"{name}\"\nservers = [\"{server}\"]\n\
         [[route]]\nname = \"{name}\"\npath = \"{path}\"\nupstream = \"{name}\"\n{keys}\n"
    )
}

/// The sections before the others, with `listener` as given.
pub(crate) fn head(listener: &str) -> String {
    format!(
        "[process]\nworkers = 2\nbackground_threads = 1\ndrain_delay = \"0s\"\ndrain_timeout = \"2s\"\n\
         [[listener]]\n{listener}\n[token]\nissuer = \"https://gateway.example\"\n\
         [[users]]\nname = \"staff\"\nkind = \"file\"\npath = \"users.toml\"\n"
    )
}

/// What a TLS listener for `localhost` needs, and its clients.
pub(crate) struct Secure {
    certificate: Certificate,
    _dir: TempDir,
}

impl Secure {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let certificate = Certificate::make(dir.path(), "localhost", &["localhost"]);
        Self { certificate, _dir: dir }
    }

    pub(crate) fn builder(&self) -> GatewayBuilder {
        self.builder_with("")
    }

    /// With further keys of the listener.
    pub(crate) fn builder_with(&self, keys: &str) -> GatewayBuilder {
        self.listening(keys, "")
    }

    /// With further keys of the listener's TLS.
    pub(crate) fn builder_with_tls(&self, keys: &str) -> GatewayBuilder {
        self.listening("", keys)
    }

    /// The file with its certificate, for clients of another make.
    pub(crate) fn chain(&self) -> &std::path::Path {
        &self.certificate.chain
    }

    fn listening(&self, keys: &str, tls: &str) -> GatewayBuilder {
        let Certificate { chain, key, .. } = &self.certificate;
        let listener = format!(
            "address = \"127.0.0.1:0\"\n{keys}[listener.tls]\n\
             certificates = [{{ chain = {chain:?}, key = {key:?} }}]\n{tls}"
        );
        Gateway::builder().head(&head(&listener))
    }

    pub(crate) fn client(&self, gateway: &Gateway, http2: bool) -> Client {
        let protocol: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
        let tls = certs::trusting(std::slice::from_ref(&self.certificate.der), &[protocol]);
        Client { address: gateway.address(), tls: Some((tls, "localhost".into())), http2 }
    }
}
