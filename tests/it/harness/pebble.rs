//! A real ACME server (Let's Encrypt's Pebble) on free ports, with a DNS server by which every name
//! leads to this machine.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use super::certs::CertificateAuthority;
use super::process::{bash, free_port, until};

/// The authority; ended when dropped.
pub struct Pebble {
    /// The port at which it expects the gateway's TLS listener, in the place of 443.
    pub tls: u16,
    /// The port at which it expects the gateway's plain listener, in the place of 80.
    pub http: u16,
    /// The port of its directory.
    pub port: u16,
    management: u16,
    dns: u16,
    authority: CertificateAuthority,
    dir: tempfile::TempDir,
    children: Vec<Child>,
}

/// How an authority differs from the usual one.
#[derive(Clone, Copy, Default)]
pub struct PebbleOptions {
    /// Accounts must be bound to the account `kid-1`, whose key is `EAB_KEY`.
    pub bound: bool,
}

/// The key of `kid-1`, as Pebble's own example has it.
pub const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

impl Pebble {
    pub fn start() -> Self {
        Self::start_with(PebbleOptions::default())
    }

    pub fn start_with(options: PebbleOptions) -> Self {
        let authority = CertificateAuthority::new();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        authority.write(dir.path(), "server", &["localhost", "127.0.0.1"]);
        let [tls, http, port, management, dns] = [(); 5].map(|()| free_port());
        let pebble =
            Self { tls, http, port, management, dns, authority, dir, children: Vec::new() };
        pebble.configure(options);
        let mut pebble = pebble;
        pebble.run();
        pebble
    }

    fn configure(&self, options: PebbleOptions) {
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": self.path("server.crt"),
            "privateKey": self.path("server.key"),
            "httpPort": self.http,
            "tlsPort": self.tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": options.bound,
            "externalAccountMACKeys": { "kid-1": EAB_KEY },
            // 90 days, as Let's Encrypt.
            "certificateValidityPeriod": 90 * 24 * 3600,
        }});
        std::fs::write(self.path("config.json"), config.to_string()).unwrap();
    }

    /// Starts it, or starts it again after `kill`: with other roots, and without its accounts.
    pub fn run(&mut self) {
        let dns = format!("127.0.0.1:{}", self.dns);
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", &dns]);
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.args(["-management", &format!("127.0.0.1:{}", free_port())]);
        let mut server = Command::new("pebble");
        server.arg("-config").arg(self.path("config.json")).args(["-dnsserver", &dns]);
        server.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        // Orders are counted: none is to be sent again.
        server.env("PEBBLE_WFE_NONCEREJECT", "0");
        for command in [&mut names, &mut server] {
            let log = std::fs::File::options()
                .create(true)
                .append(true)
                .open(self.dir.path().join("log"))
                .unwrap();
            command.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
            let child = command.spawn().expect("pebble is installed (tests/run installs it)");
            self.children.push(child);
        }
        until("pebble listens", || {
            for child in &mut self.children {
                assert!(child.try_wait().unwrap().is_none(), "pebble ended: {}", self.log());
            }
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        for mut child in self.children.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The PEM file of the CA of its own TLS.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// The authority of its own TLS, for a server that stands in front of it.
    pub fn authority(&self) -> &CertificateAuthority {
        &self.authority
    }

    /// The root of the certificates that it issues, until it is ended.
    pub fn root(&self) -> CertificateDer<'static> {
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        let pem = bash("curl -sS --fail --insecure \"$URL\"", &[("URL", &url)]);
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    /// The `acme` of a listener whose certificate it issues, with further keys.
    pub fn acme(&self, domains: &[&str], keys: &str) -> String {
        self.acme_at(self.port, domains, keys)
    }

    /// The same by a server in front of it.
    pub fn acme_at(&self, port: u16, domains: &[&str], keys: &str) -> String {
        let (ca, directory) = (self.ca(), format!("https://localhost:{port}/dir"));
        format!("acme = {{ domains = {domains:?}, directory = {directory:?}, ca = {ca:?}{keys} }}")
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.kill();
    }
}
