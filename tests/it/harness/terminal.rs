//! A person at a terminal: a pseudo terminal of Python's, on which each answer is typed when its
//! question has been shown.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::process::tollhouse;

/// Types an answer after each prompt, as a person would, and shows everything that appeared. A word
/// `^D` is the end of the input. What runs on after the last answer is waited for.
const PERSON: &str = r#"
import os, pty, select, sys, time
answers, command = sys.argv[1].split("\x1f"), sys.argv[2:]
if answers == [""]: answers = []
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
shown, fresh, until = b"", b"", time.time() + 60
while time.time() < until:
    if fresh.endswith((b"> ", b"[y/N] ")) and answers:
        answer = answers.pop(0)
        os.write(terminal, b"\x04" if answer == "^D" else answer.encode() + b"\n")
        fresh = b""
    if not select.select([terminal], [], [], 0.2)[0]:
        continue
    try:
        read = os.read(terminal, 65536)
    except OSError:
        break
    if not read:
        break
    fresh += read
    try:
        os.write(1, read)
    except BrokenPipeError:
        pass # Whoever started this has seen enough.
else:
    os.kill(pid, 9)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.exit(status if status >= 0 else 128 - status)
"#;

/// The sign between two answers in an argument of Python's.
const SEPARATOR: &str = "\u{1f}";

/// A shell line on a terminal in `dir`, with `answers` to type. `tollhouse` is the program under test.
pub fn spawn_at_terminal(dir: &Path, line: &str, answers: &[&str]) -> Child {
    let program = tollhouse().get_program().to_owned();
    let programs = Path::new(&program).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    Command::new("python3")
        .args(["-c", PERSON, &answers.join(SEPARATOR), "sh", "-c", line])
        .current_dir(dir)
        .env("PATH", path)
        .env_remove("TOLLHOUSE_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The exit status of a line on a terminal, and everything that was shown.
pub fn at_terminal(dir: &Path, line: &str, answers: &[&str]) -> (Option<i32>, String) {
    let output = spawn_at_terminal(dir, line, answers).wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).replace('\r', ""))
}
