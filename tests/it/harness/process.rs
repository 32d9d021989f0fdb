//! The program itself, started as an operator would.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A running `tollhouse`; ended when dropped.
pub struct Process {
    child: Child,
    pub dir: tempfile::TempDir,
    pub port: u16,
}

/// The program under test.
pub fn tollhouse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollhouse"));
    command.env_remove("TOLLHOUSE_CONFIG").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Process {
    /// Starts on the repository's own `gateway.toml`, only with ports that are free.
    pub fn sample() -> Self {
        Self::sample_with("", "")
    }

    /// The same with one text of the configuration replaced.
    pub fn sample_with(from: &str, to: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(root().join("gateway.toml")).unwrap();
        let port = free_port();
        let text = text
            .replace("127.0.0.1:8443", &format!("127.0.0.1:{port}"))
            .replace("127.0.0.1:9901", &format!("127.0.0.1:{}", free_port()));
        let text = if from.is_empty() { text } else { text.replace(from, to) };
        std::fs::write(dir.path().join("gateway.toml"), text).unwrap();
        Self::start(dir, port)
    }

    /// Starts on the `gateway.toml` in `dir`, which listens on `port`.
    pub fn start(dir: tempfile::TempDir, port: u16) -> Self {
        let log = std::fs::File::create(dir.path().join("stderr")).unwrap();
        let child = tollhouse()
            .current_dir(dir.path())
            .stdout(std::fs::File::create(dir.path().join("stdout")).unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut process = Self { child, dir, port };
        process.wait_until_it_listens();
        process
    }

    fn wait_until_it_listens(&mut self) {
        let patience = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended with {ended:?}: {}", self.stderr());
            assert!(
                patience.elapsed() < Duration::from_secs(30),
                "does not listen: {}",
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The first user's password, once it has been written.
    pub fn first_password(&self) -> String {
        let patience = Instant::now();
        loop {
            let text =
                std::fs::read_to_string(self.path("state/first-password")).unwrap_or_default();
            if let Some(password) = text.strip_suffix('\n') {
                return password.to_owned();
            }
            assert!(patience.elapsed() < Duration::from_secs(30), "no password: {}", self.stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn stdout(&self) -> String {
        std::fs::read_to_string(self.path("stdout")).unwrap()
    }

    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.path("stderr")).unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the end and answers the exit status.
    pub fn wait(&mut self) -> Option<i32> {
        let patience = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                patience.elapsed() < Duration::from_secs(30),
                "does not end: {}",
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Another `tollhouse` command beside it, in its folder.
    pub fn command(&self, words: &[&str]) -> Output {
        tollhouse().current_dir(self.dir.path()).args(words).output().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a script with bash and answers what it printed; it must succeed.
pub fn bash(script: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {told}\n{script}", output.status);
    let lines = BufReader::new(output.stdout.as_slice()).lines().map(Result::unwrap);
    lines.collect::<Vec<_>>().join("\n")
}
