//! A server that must not run as root, in a folder of its own.
//!
//! A small shell holds it: when our end of the shell's input closes, because the test dropped the
//! server or the whole test process is gone, the shell ends it and removes the folder. So a
//! server that all tests share, which is never dropped, does not outlive them either.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

/// Whom servers run as where the tests run as root: a user of their package.
pub struct DaemonUser {
    name: &'static str,
    ids: Option<(u32, u32)>,
}

impl DaemonUser {
    pub fn new(name: &'static str) -> Self {
        let id = |flag: &str| -> u32 {
            let output = Command::new("id").args([flag, name]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.trim().parse().unwrap_or_else(|_| panic!("tests/run makes the user {name}"))
        };
        let ids = rustix::process::geteuid().is_root().then(|| (id("-u"), id("-g")));
        Self { name, ids }
    }

    /// A folder that is his; others may enter it.
    pub fn folder(&self) -> PathBuf {
        let folder = tempfile::Builder::new().prefix("tollhouse-").tempdir().unwrap().keep();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        self.give(&folder);
        folder
    }

    /// Makes a file his, and closes it to others.
    pub fn give_secret(&self, path: &Path) {
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        self.give(path);
    }

    fn give(&self, path: &Path) {
        if let Some((user, group)) = self.ids {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// A program with its arguments, to be run as him.
    pub fn command(&self, program: &Path) -> Vec<String> {
        let mut words = Vec::new();
        if self.ids.is_some() {
            words.push("setpriv".to_owned());
            let name = self.name;
            words.extend([format!("--reuid={name}"), format!("--regid={name}")]);
            words.push("--clear-groups".to_owned());
        }
        words.push(program.display().to_string());
        words
    }

    /// Runs a program to its end.
    #[track_caller]
    pub fn run(&self, program: &Path, folder: &Path, arguments: &[&str]) -> Output {
        let words = self.command(program);
        let output = Command::new(&words[0])
            .args(&words[1..])
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", program.display());
        output
    }
}

/// A running server.
pub struct Daemon {
    shell: Child,
    input: Option<ChildStdin>,
    pid: i32,
}

/// Ends the server with the signal it was told when its input closes, and removes the folder.
const SHELL: &str = r#"
folder=$1; signal=$2; shift 2
"$@" >>"$folder/log" 2>&1 </dev/null &
echo $!
read -r kept
kill -"$signal" $! 2>/dev/null
wait $!
[ "$kept" = keep ] || rm -rf -- "$folder"
"#;

impl Daemon {
    /// Starts `words` in `folder`; `signal` ends it.
    pub fn start(folder: &Path, signal: &str, words: &[String]) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", SHELL, "sh"])
            .arg(folder)
            .arg(signal)
            .args(words)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let input = shell.stdin.take();
        Self { shell, input, pid: line.trim().parse().unwrap() }
    }

    /// True if it has ended of itself.
    pub fn has_ended(&self) -> bool {
        let pid = rustix::process::Pid::from_raw(self.pid).unwrap();
        rustix::process::test_kill_process(pid).is_err()
    }

    /// Ends it at once and keeps its folder.
    pub fn kill(mut self) {
        use std::io::Write;
        let _ = self.input.take().unwrap().write_all(b"keep\n");
        let _ = self.shell.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.input.take().is_some() {
            let _ = self.shell.wait();
        }
    }
}
