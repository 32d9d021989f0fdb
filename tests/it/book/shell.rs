//! One shell for a page: what an earlier block set, a later one has.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::harness::process::tollhouse;

/// A dash, which has nothing more than POSIX says; ended with all that it started when dropped.
pub struct Shell {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// Blocks are read from files here: a command of theirs that reads standard input must not
    /// read the rest of the script.
    blocks: tempfile::TempDir,
}

/// What ends the output of a block, before the status of its last command.
const END: char = '\u{1}';

/// For one block.
const PATIENCE: Duration = Duration::from_secs(90);

impl Shell {
    /// Starts one in `folder`, with this build's `tollhouse` on its path.
    pub fn start(folder: &Path) -> Self {
        let program = tollhouse();
        let mut path = OsString::from(Path::new(program.get_program()).parent().unwrap());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let mut child = Command::new("dash")
            .args(["-eu", "-s"])
            .current_dir(folder)
            .env("PATH", path)
            .envs([("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("NO_COLOR", "1")])
            .env_remove("TOLLHOUSE_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        // A terminal shows both, too.
        input.write_all(b"exec 2>&1\n").unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut piece) {
                if send.send(piece[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, input, output, blocks: tempfile::tempdir().unwrap() }
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &str) {
        let value = value.replace('\'', r"'\''");
        writeln!(self.input, "{name}='{value}'").unwrap();
    }

    /// Runs a block, of which each command has to succeed, or the last one has to end with
    /// `status`; what it printed, or what went wrong.
    pub fn run(&mut self, block: &str, status: Option<i32>) -> Result<String, String> {
        let file = self.blocks.path().join("block");
        std::fs::write(&file, block).unwrap();
        let (before, after) =
            if status.is_some() { ("set +e; ", "; _s=$?; set -e") } else { ("", "; _s=$?") };
        let file = file.display();
        writeln!(self.input, "{before}. {file} </dev/null{after}; printf '\\001%d\\n' $_s")
            .map_err(|_| "the shell is gone".to_owned())?;
        let mut bytes = Vec::new();
        loop {
            let piece = self.output.recv_timeout(PATIENCE);
            bytes.extend_from_slice(piece.as_deref().unwrap_or_default());
            let told = String::from_utf8_lossy(&bytes);
            if piece.is_err() {
                return Err(format!("a command failed, or does not end:\n{told}"));
            }
            if let Some((printed, ended)) = told.split_once(END)
                && ended.ends_with('\n')
            {
                let ended: i32 = ended.trim().parse().unwrap();
                if ended == status.unwrap_or(0) {
                    return Ok(printed.to_owned());
                }
                return Err(format!("ended with {ended}:\n{printed}"));
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}
