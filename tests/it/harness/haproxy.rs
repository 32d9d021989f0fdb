//! HAProxy with a given configuration.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::process::{free_port, until};

/// The load balancer; ended when dropped.
pub struct HaProxy {
    child: Child,
    pub address: SocketAddr,
}

impl HaProxy {
    /// Starts it on the configuration that `text` makes for the address to listen at; its files are
    /// in `folder`.
    pub fn start(folder: &Path, text: impl FnOnce(SocketAddr) -> String) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, text(address)).unwrap();
        let log = std::fs::File::create(folder.join("haproxy.log")).unwrap();
        // Debian keeps servers where an ordinary user's PATH does not lead.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin";
        let child = Command::new("haproxy")
            .env("PATH", path)
            .args(["-db", "-f"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("haproxy is installed (tests/run does that)");
        until("haproxy", || TcpStream::connect(address).ok());
        Self { child, address }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
