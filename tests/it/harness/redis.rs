//! A real Redis server on a free port, in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::Daemon;
use super::process::{free_port, until};

/// The server; ended when dropped.
pub struct Redis {
    pub port: u16,
    folder: PathBuf,
    daemon: Option<Daemon>,
}

impl Redis {
    /// A server that has on its disk whatever it has answered.
    pub fn start() -> Self {
        // What a killed server has written is not lost in memory either, and no test waits for the
        // disk of the machine.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("tollhouse-").tempdir_in(place);
        let folder = folder.unwrap().keep();
        let mut redis = Self { port: free_port(), folder, daemon: None };
        redis.run();
        redis
    }

    /// Starts it again after `kill`, on the same port and folder.
    pub fn run(&mut self) {
        let (port, dir) = (self.port.to_string(), self.folder.display().to_string());
        let words = [
            "redis-server",
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--dir",
            &dir,
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
        ];
        let daemon = Daemon::start(&self.folder, "KILL", &words.map(str::to_owned));
        until("Redis is ready", || {
            assert!(!daemon.has_ended(), "redis-server is installed (tests/run does that)");
            (self.cli(&["PING"]) == "PONG").then_some(())
        });
        self.daemon = Some(daemon);
    }

    /// Ends it at once, as `kill -9` does; what it has stored stays.
    pub fn kill(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// Removes what it has on its disk.
    pub fn empty_disk(&self) {
        std::fs::remove_dir_all(self.folder.join("appendonlydir")).unwrap();
    }

    /// What `redis-cli` prints for a command.
    pub fn cli(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(words);
        String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
    }
}
