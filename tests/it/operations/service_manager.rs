//! The gateway as a service: the messages that systemd reads, and the unit that it starts.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use crate::harness::process::{folder, root, tollhouse, write_config};

/// A gateway that reports to `messages`, as systemd would start it.
struct Service {
    child: Child,
    messages: UnixDatagram,
    dir: tempfile::TempDir,
    port: u16,
}

impl Service {
    fn start() -> Self {
        let (dir, port) = folder("[process]\ndrain_delay = \"0s\"\n");
        let socket = dir.path().join("notify.sock");
        let messages = UnixDatagram::bind(&socket).unwrap();
        messages.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let log = std::fs::File::create(dir.path().join("stderr")).unwrap();
        let mut command = tollhouse();
        command.current_dir(dir.path()).stdout(log.try_clone().unwrap()).stderr(log);
        // Half a second between two signs of life.
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "1000000");
        Self { child: command.spawn().unwrap(), messages, dir, port }
    }

    /// The next message that has `part`. Messages before it are passed over.
    fn until(&self, part: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.messages.recv(&mut buffer).expect("a message in time");
            let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if message.contains(part) {
                return message;
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_service_manager_is_told_of_start_reload_and_end() {
    let mut service = Service::start();
    let ready = service.until("READY=1");
    assert!(ready.contains("STATUS=serving"), "{ready}");
    std::net::TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    for _ in 0..3 {
        service.until("WATCHDOG=1");
    }

    service.signal("HUP");
    let reloading = service.until("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert!(service.until("READY=1").contains("STATUS=serving\n"));

    write_config(service.dir.path(), service.port, "[process]\nworkers = \"none\"\n");
    service.signal("HUP");
    service.until("RELOADING=1");
    // The gateway goes on under the last configuration.
    service.until("READY=1");

    service.signal("TERM");
    service.until("STOPPING=1");
    assert!(service.child.wait().unwrap().success());
}

#[test]
fn the_unit_is_one_that_systemd_takes_and_confines() {
    // `verify` wants the program to be there, and does not run it.
    let tree = tempfile::tempdir().unwrap();
    let units = tree.path().join("etc/systemd/system");
    let programs = tree.path().join("usr/bin");
    std::fs::create_dir_all(&units).unwrap();
    std::fs::create_dir_all(&programs).unwrap();
    let program = programs.join("tollhouse");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let deploy = root().join("deploy/systemd");
    for name in ["tollhouse.service", "tollhouse.socket"] {
        std::fs::copy(deploy.join(name), units.join(name)).unwrap();
    }

    let verify = systemd_analyze(&["verify", "--man=no", "--recursive-errors=no"], tree.path());
    assert!(verify.0, "{}", verify.1);
    // The threshold is in tenths: 2.0 is the goal.
    let security = ["security", "--offline=true", "--threshold=20", "--no-pager"];
    let confined = systemd_analyze(&security, tree.path());
    assert!(confined.0, "{}", confined.1);
}

/// Whether the tool is content with the unit in `tree`, and its output.
fn systemd_analyze(words: &[&str], tree: &Path) -> (bool, String) {
    let mut command = Command::new("systemd-analyze");
    let root = format!("--root={}", tree.display());
    command.args(words).args([root.as_str(), "tollhouse.service"]);
    let output = command.output().expect("systemd-analyze of Debian's package systemd");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}
