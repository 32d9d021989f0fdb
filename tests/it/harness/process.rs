//! The program itself, started as an operator would.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{Client, PATIENCE};
use super::gateway;

/// A running `tollhouse`; ended when dropped.
pub struct Process {
    child: Child,
    pub dir: Arc<tempfile::TempDir>,
    /// The folder it was started in: `dir`, or one below it.
    folder: PathBuf,
    /// What follows the names of the files that its output goes to.
    suffix: String,
    pub port: u16,
}

/// What a command that ended has told.
#[derive(Debug)]
pub struct CommandOutput {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl CommandOutput {
    /// It succeeded; what it printed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, Some(0), "{self:?}");
        self.stdout
    }

    /// It failed with this status, printed nothing, and told every part on standard error.
    #[track_caller]
    pub fn failed(self, status: i32, parts: &[&str]) -> String {
        assert_eq!((self.status, self.stdout.as_str()), (Some(status), ""), "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part} is not in {}", self.stderr);
        }
        self.stderr
    }
}

/// Runs a command to its end in `dir`, with `input` on standard input.
pub fn run_in(dir: &Path, words: &[&str], input: &str) -> CommandOutput {
    let mut child = tollhouse()
        .current_dir(dir)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have failed before it read anything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    CommandOutput { status: output.status.code(), stdout, stderr }
}

/// Waits until `look` finds something.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "{what}: did not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A folder with the tests' users and a `gateway.toml`: one plain listener, the native login,
/// and `sections`.
pub fn folder(sections: &str) -> (tempfile::TempDir, u16) {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let users = dir.path().join("users.toml");
    std::fs::write(&users, gateway::users()).unwrap();
    std::fs::set_permissions(&users, Permissions::from_mode(0o600)).unwrap();
    write_config(dir.path(), port, sections);
    (dir, port)
}

/// Writes the `gateway.toml` of `folder`.
pub fn write_config(dir: &Path, port: u16, sections: &str) {
    let head = HEAD.replace("{port}", &port.to_string());
    std::fs::write(dir.join("gateway.toml"), format!("{head}{sections}")).unwrap();
}

const HEAD: &str = r#"
listener = [{ address = "127.0.0.1:{port}" }]
users = [{ name = "staff", kind = "file", path = "users.toml" }]
login = [{ dialect = "native" }]
[token]
issuer = "https://gateway.example"
audience = ["legacy"]
"#;

/// An echo behind a route that wants a credential, and another that wants none.
pub const ECHO_ROUTES: &str = r#"
[process]
drain_delay = "0s"
[[upstream]]
name = "u"
servers = ["builtin:echo"]
[[route]]
path = "/"
upstream = "u"
[[route]]
path = "/open/"
upstream = "u"
auth = []
"#;

/// The program under test.
pub fn tollhouse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollhouse"));
    command.env_remove("TOLLHOUSE_CONFIG").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Copies the program under test to `path`, where every user of the machine may run it.
///
/// A process of its own writes the copy. Were it written here, then a child that another test starts
/// meanwhile would have it open for writing, and it could not be run ("text file busy").
pub fn copy_program(path: &Path) {
    let program = env!("CARGO_BIN_EXE_tollhouse");
    let copied = Command::new("install").args(["-m", "755", program]).arg(path).status();
    assert!(copied.unwrap().success(), "{}", path.display());
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
        let folder = dir.path().to_owned();
        Self::start_below(Arc::new(dir), folder, port)
    }

    /// Starts on the `gateway.toml` in `folder`, which is below `dir` and may be one of several
    /// there.
    pub fn start_below(dir: Arc<tempfile::TempDir>, folder: PathBuf, port: u16) -> Self {
        let mut process = Self::spawn(dir, folder, port, "", "info");
        process.wait_until_it_listens();
        process
    }

    /// Starts on the `gateway.toml` in `dir` by another program.
    pub fn start_command(command: Command, dir: tempfile::TempDir, port: u16) -> Self {
        let folder = dir.path().to_owned();
        let mut process = Self::spawn_command(command, Arc::new(dir), folder, port, "");
        process.wait_until_it_listens();
        process
    }

    /// Starts on a `folder`, with diagnostics of `level`.
    pub fn logging(level: &str, sections: &str) -> Self {
        let (dir, port) = folder(sections);
        let folder = dir.path().to_owned();
        let mut process = Self::spawn(Arc::new(dir), folder, port, "", level);
        process.wait_until_it_listens();
        process
    }

    fn spawn(
        dir: Arc<tempfile::TempDir>,
        folder: PathBuf,
        port: u16,
        suffix: &str,
        level: &str,
    ) -> Self {
        let mut command = tollhouse();
        command.env("TOLLHOUSE_LOG", level);
        Self::spawn_command(command, dir, folder, port, suffix)
    }

    fn spawn_command(
        mut command: Command,
        dir: Arc<tempfile::TempDir>,
        folder: PathBuf,
        port: u16,
        suffix: &str,
    ) -> Self {
        let file = |name| std::fs::File::create(folder.join(format!("{name}{suffix}"))).unwrap();
        command.current_dir(&folder).stdout(file("stdout")).stderr(file("stderr"));
        let suffix = suffix.to_owned();
        Self { child: command.spawn().unwrap(), dir, folder, suffix, port }
    }

    /// Starts another in the same folder, and waits for nothing.
    pub fn successor(&self) -> Self {
        Self::spawn(self.dir.clone(), self.folder.clone(), self.port, ".next", "info")
    }

    /// Starts another in the same folder with these words, which writes to files of this suffix, and
    /// waits for nothing.
    pub fn another(&self, words: &[&str], suffix: &str) -> Self {
        let mut command = tollhouse();
        command.args(words).env("TOLLHOUSE_LOG", "info");
        let (dir, folder) = (self.dir.clone(), self.folder.clone());
        Self::spawn_command(command, dir, folder, self.port, suffix)
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
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

    /// Starts on a `folder`.
    pub fn plain(sections: &str) -> Self {
        let (dir, port) = folder(sections);
        Self::start(dir, port)
    }

    /// Starts on a `folder` with `ECHO_ROUTES`; its admin socket answers.
    pub fn with_echo(sections: &str) -> Self {
        let process = Self::plain(&format!("{ECHO_ROUTES}{sections}"));
        process.wait_for_commands();
        process
    }

    /// Waits until the admin socket answers commands.
    pub fn wait_for_commands(&self) {
        until("commands", || (self.command(&["key", "list"]).status == Some(0)).then_some(()));
    }

    pub fn client(&self) -> Client {
        Client::plain(SocketAddr::from(([127, 0, 0, 1], self.port)))
    }

    /// A native login's access token.
    pub async fn token(&self, name: &str) -> String {
        let login = serde_json::json!({ "username": name, "password": gateway::PASSWORD });
        let reply = self.client().post("/auth/login").json(login).send().await;
        reply.assert_status(200).member("access_token")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
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
        std::fs::read_to_string(self.path(&format!("stdout{}", self.suffix))).unwrap()
    }

    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.path(&format!("stderr{}", self.suffix))).unwrap()
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
    pub fn command(&self, words: &[&str]) -> CommandOutput {
        run_in(&self.folder, words, "")
    }

    /// Waits until standard error has `part`.
    #[track_caller]
    pub fn wait_for_stderr(&self, part: &str) {
        until(part, || self.stderr().contains(part).then_some(()));
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
