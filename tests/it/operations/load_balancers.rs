//! The load balancers of `docs/behind-a-load-balancer.md`, each in front of the page's gateway.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::certs::CertificateAuthority;
use crate::harness::client::PATIENCE;
use crate::harness::gateway;
use crate::harness::process::{Process, free_port, root, until};

/// An address of this machine that is not the load balancer's, as a client's has to be.
const CLIENT: &str = "127.0.0.2";
/// What a client claims that wants to be somebody else.
const FORGED: &str = "203.0.113.9";

/// The nth block of a language on the page.
fn block(language: &str, nth: usize) -> String {
    let page = std::fs::read_to_string(root().join("docs/behind-a-load-balancer.md")).unwrap();
    let fence = format!("```{language}\n");
    let block = page.split(&fence).nth(nth + 1).unwrap_or_else(|| panic!("{language} {nth}"));
    block.split("\n```").next().unwrap().to_owned() + "\n"
}

/// The text with each of `changes`, all of which it must contain.
fn changed(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in {text}");
        text.replace(from, to)
    })
}

/// The page's gateway, with the sample upstream, on a free port; its certificate's files are beside
/// its configuration.
fn gateway(changes: &[(&str, &str)]) -> Process {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let authority = CertificateAuthority::new();
    let (chain, key) = authority.issue(&["api.example.com"]);
    let text = changed(&block("toml", 0), changes);
    let text = changed(
        &text,
        &[
            ("0.0.0.0:8443", &format!("127.0.0.1:{port}")),
            ("10.0.0.5", "127.0.0.1"),
            ("http://10.0.0.21:8080", "builtin:echo"),
            ("path = \"/\"", "path = \"/\"\nauth = []"),
        ],
    );
    for (name, content) in [
        ("gateway.toml", text.as_str()),
        ("users.toml", &gateway::users()),
        ("fullchain.pem", &chain),
        ("privkey.pem", &key),
        ("both.pem", &format!("{chain}{key}")),
        ("ca.pem", &authority.pem()),
    ] {
        let file = dir.path().join(name);
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }
    Process::start(dir, port)
}

/// A load balancer; ended when dropped.
struct Balancer {
    child: Child,
    address: SocketAddr,
}

impl Balancer {
    fn haproxy(nth: usize, gateway: &Process) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let text = changed(
            &block("haproxy", nth),
            &[
                ("bind :443", &format!("bind {address}")),
                ("10.0.0.11:8443", &format!("127.0.0.1:{}", gateway.port)),
            ],
        );
        let file = gateway.dir.path().join("haproxy.cfg");
        std::fs::write(&file, with_certificates(&text, gateway.dir.path())).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(file);
        Self::start(command, address)
    }

    fn nginx(nth: usize, gateway: &Process) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = gateway.dir.path();
        let text = changed(
            &block("nginx", nth),
            &[
                ("listen 443", &format!("listen {address}")),
                ("10.0.0.11:8443", &format!("127.0.0.1:{}", gateway.port)),
            ],
        );
        // What nginx writes stays in the folder, since the test may not be root.
        let mut own = "http {\naccess_log off;\n".to_owned();
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            own.push_str(&format!("{kind}_temp_path {}/{kind};\n", folder.display()));
        }
        let text = with_certificates(&text.replace("http {\n", &own), folder);
        let file = folder.join("nginx.conf");
        std::fs::write(&file, format!("pid {}/pid;\n{text}", folder.display())).unwrap();
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-g", "daemon off; master_process off;"]);
        command.arg("-c").arg(file);
        Self::start(command, address)
    }

    fn start(mut command: Command, address: SocketAddr) -> Self {
        // Debian keeps servers where an ordinary user's PATH does not lead.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin";
        command.env("PATH", path).stdout(Stdio::null()).stderr(Stdio::null());
        let balancer = Self { child: command.spawn().unwrap(), address };
        until("the load balancer", || TcpStream::connect(address).ok());
        balancer
    }

    /// A request from `CLIENT`, which claims to be `FORGED`.
    fn call(&self, path: &str) {
        let port = self.address.port();
        let mut curl = Command::new("curl");
        curl.args(["-sSfk", "--interface", CLIENT]);
        curl.args(["--resolve", &format!("api.example.com:{port}:127.0.0.1")]);
        curl.args(["-H", &format!("X-Forwarded-For: {FORGED}")]);
        curl.arg(format!("https://api.example.com:{port}{path}"));
        let output = curl.output().unwrap();
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{path}: {failed}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(path));
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with_certificates(text: &str, folder: &Path) -> String {
    let folder = folder.display();
    [
        ("/etc/haproxy/api.pem", "both.pem"),
        ("/etc/haproxy/gateway-ca.pem", "ca.pem"),
        ("/etc/nginx/gateway-ca.pem", "ca.pem"),
        ("/etc/nginx/api.crt", "fullchain.pem"),
        ("/etc/nginx/api.key", "privkey.pem"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, name)| text.replace(from, &format!("{folder}/{name}")))
}

/// The address that the access log has for the request to `path`.
fn logged_client(gateway: &Process, path: &str) -> String {
    let line = until("the access line", || {
        let log = gateway.stdout();
        log.lines().find(|line| line.contains(path)).map(ToOwned::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    line["client.address"].as_str().unwrap().to_owned()
}

const TRUSTING: [(&str, &str); 1] = [("proxy_protocol", "trusted_proxies")];

#[test]
fn each_load_balancer_of_the_page_says_who_the_client_is_and_nobody_else_can() {
    let passed_on = gateway(&[]);
    let ended_in_front = gateway(&TRUSTING);
    for (balancer, gateway, path) in [
        (Balancer::haproxy(0, &passed_on), &passed_on, "/passed-on-by-haproxy"),
        (Balancer::nginx(0, &passed_on), &passed_on, "/passed-on-by-nginx"),
        (Balancer::haproxy(1, &ended_in_front), &ended_in_front, "/ended-in-haproxy"),
        (Balancer::nginx(1, &ended_in_front), &ended_in_front, "/ended-in-nginx"),
    ] {
        balancer.call(path);

        assert_eq!(logged_client(gateway, path), CLIENT, "{path}");
    }
}

#[test]
fn behind_haproxy_a_connection_waits_for_a_gateway_that_restarts() {
    let mut old = gateway(&[]);
    let balancer = Balancer::haproxy(0, &old);
    old.signal("TERM");
    until("its end", || (!old.is_running()).then_some(()));

    // HAProxy accepts it, and finds nobody to pass it on to.
    let mut waiting = TcpStream::connect(balancer.address).unwrap();
    let _next = old.successor();

    // Only the gateway answers such bytes, with a TLS alert (RFC 8446, section 6).
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    waiting.write_all(b"these bytes are no handshake\r\n").unwrap();
    let mut answer = [0];
    waiting.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [21]);
}
