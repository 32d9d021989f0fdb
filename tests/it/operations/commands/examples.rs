//! Every example of the help, run as it is printed. One that is new is run too: it has to succeed
//! here, beside a gateway that has what examples speak of.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::gateway::PASSWORD;
use crate::harness::process::{CommandOutput, Process, folder, root, run_in, tollhouse, until};
use crate::harness::terminal::at_terminal;

/// The file that `tollhouse man --markdown` makes.
const REFERENCE: &str = "docs/reference/commands.md";

/// A password that nobody has yet.
const NEW_PASSWORD: &str = "quite another password";

/// What examples speak of, besides the users of the tests.
const SECTIONS: &str = r#"
[process]
drain_delay = "0s"
[[upstream]]
name = "api"
servers = ["builtin:echo"]
[[route]]
path = "/"
upstream = "api"
[[api_key]]
id = "nightly-job"
hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
"#;

/// The command that an example is of, and the example.
struct Example {
    command: String,
    line: String,
}

/// The examples of the reference, which is made of the same table as the help and the manual.
fn printed() -> Vec<Example> {
    let dir = tempfile::tempdir().unwrap();
    let page = run_in(dir.path(), &["man", "--markdown"], "").ok();
    let mut examples = Vec::new();
    for section in page.split("\n## ").skip(1) {
        let command = section.lines().next().unwrap();
        let (_, block) = section.split_once("```sh\n").unwrap_or_else(|| panic!("{section}"));
        let (block, _) = block.split_once("```").unwrap();
        let lines = block.replace("\\\n", "");
        let lines = lines.lines().filter(|line| !line.starts_with('#'));
        examples.extend(lines.map(|line| Example { command: command.into(), line: line.into() }));
    }
    examples
}

/// Runs a line with `sh` in a folder; `tollhouse` is the program under test. Whoever is asked for a
/// password answers the first of the users'.
fn sh(dir: &Path, line: &str) -> CommandOutput {
    let mut child = shell(dir, line).stdin(Stdio::piped()).spawn().unwrap();
    // It may not read it.
    let _ = child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    CommandOutput { status: output.status.code(), stdout, stderr }
}

fn shell(dir: &Path, line: &str) -> Command {
    let program = tollhouse().get_program().to_owned();
    let programs = Path::new(&program).parent().unwrap().display().to_string();
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("set -eo pipefail; {line}")])
        .current_dir(dir)
        .env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap()))
        .env_remove("TOLLHOUSE_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A running gateway with all that examples name: users `ann`, `bob` and `eve`, an API key, a legacy
/// login (another such gateway), a token, a key to import, a file with a password.
struct Fixture {
    gateway: Process,
    _legacy: Process,
    legacy_url: String,
}

impl Fixture {
    fn start() -> Self {
        let (dir, port) = fixture_folder("");
        let legacy = Process::start(dir, port);
        let legacy_url = format!("http://127.0.0.1:{}", legacy.port);
        let (dir, port) = fixture_folder(&format!(
            ", {{ name = \"legacy\", kind = \"http\", url = \"{legacy_url}\", dialect = \"nomic\", \
             import = true }}"
        ));
        let gateway = Process::start(dir, port);
        gateway.wait_for_commands();
        let dir = gateway.dir.path().to_owned();
        for user in ["ann", "eve"] {
            let add = ["user", "--source", "staff", "add", user];
            run_in(&dir, &add, &format!("{PASSWORD}\n")).ok();
        }
        run_in(legacy.dir.path(), &["user", "add", "ann"], &format!("{PASSWORD}\n")).ok();
        fs::write(dir.join("new-password"), format!("{NEW_PASSWORD}\n")).unwrap();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        fs::write(dir.join("legacy.pem"), key.serialize_pem()).unwrap();
        fs::set_permissions(dir.join("legacy.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        // Running gateways see a changed users file within five seconds.
        let token = until("ann is known", || {
            let minted = gateway.command(&["token", "mint", "ann", "--login", "native"]);
            (minted.status == Some(0)).then_some(minted.stdout)
        });
        fs::write(dir.join("token"), token).unwrap();
        Self { gateway, _legacy: legacy, legacy_url }
    }

    /// Runs the example as it is printed, but for the address of the legacy system.
    fn run(&self, example: &Example) -> CommandOutput {
        let line = example.line.replace("https://legacy.example", &self.legacy_url);
        sh(self.gateway.dir.path(), &line)
    }
}

/// A `folder` that serves nomic as well, with `more` sources of users.
fn fixture_folder(more: &str) -> (tempfile::TempDir, u16) {
    let (dir, port) = folder(SECTIONS);
    let path = dir.path().join("gateway.toml");
    let text = fs::read_to_string(&path).unwrap();
    let logins = "[{ dialect = \"native\" }, { dialect = \"nomic\" }]";
    let text = text
        .replace("[{ dialect = \"native\" }]", logins)
        .replace("\"users.toml\" }]", &format!("\"users.toml\" }}{more}]"));
    fs::write(&path, text).unwrap();
    (dir, port)
}

#[test]
fn every_example_of_the_help_runs_as_it_is_printed() {
    let examples = printed();
    assert!(examples.len() > 50, "{}", examples.len());
    let fixture = Fixture::start();
    let mut failed = Vec::new();
    for example in &examples {
        let output = match example.command.as_str() {
            // These serve until they are ended, or write files that must not be there.
            "tollhouse run" => serve(&example.line),
            "tollhouse init" => write(&example.line),
            // Only what no gateway has can be moved.
            "tollhouse store export" | "tollhouse store import" => moved(&example.line),
            // A test of `init` types the answers.
            _ if example.line == "tollhouse init && tollhouse" => continue,
            _ => fixture.run(example),
        };
        if output.status != Some(0) {
            failed.push(format!("{}: {}\n{output:?}", example.command, example.line));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// Runs a line that serves, until it listens; then ends it.
fn serve(line: &str) -> CommandOutput {
    let (dir, port) = folder(SECTIONS);
    let mut child = shell(dir.path(), &format!("{line} & echo $! > pid; wait $!")).spawn().unwrap();
    // On a busy machine the gateway may listen before the shell has written the file.
    let pid = until("it listens", || {
        if child.try_wait().unwrap().is_some() {
            return Some(String::new());
        }
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        let pid = fs::read_to_string(dir.path().join("pid")).ok();
        pid.filter(|pid| pid.ends_with('\n'))
    });
    if !pid.is_empty() {
        let _ = Command::new("kill").args(["-TERM", pid.trim()]).status().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    CommandOutput { status: output.status.code(), stdout, stderr }
}

/// Runs a line that writes a configuration: as it is printed, or on a terminal where it asks. What is
/// written passes `check`.
fn write(line: &str) -> CommandOutput {
    let dir = tempfile::tempdir().unwrap();
    let written = if line == "tollhouse init" {
        let answers = ["", "", "", "", "", ""];
        let (status, stdout) = at_terminal(dir.path(), line, &answers);
        CommandOutput { status, stdout, stderr: String::new() }
    } else {
        sh(dir.path(), line)
    };
    let files: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    for file in &files {
        run_in(dir.path(), &["-c", file.to_str().unwrap(), "check"], "").ok();
    }
    assert_eq!(files.is_empty(), line.contains("--print"), "{line}: {written:?}");
    written
}

/// Runs a line that moves a store, in a folder whose gateway has ended. An import finds what an
/// export wrote, and no store.
fn moved(line: &str) -> CommandOutput {
    let (dir, port) = folder(SECTIONS);
    let mut gateway = Process::start(dir, port);
    gateway.wait_for_commands();
    gateway.signal("TERM");
    gateway.wait();
    let dir = gateway.dir.path();
    run_in(dir, &["store", "seal-key", "seal.key"], "").ok();
    if line.contains("import") {
        let export = ["store", "export", "store.export", "--seal", "seal.key"];
        run_in(dir, &export, "").ok();
        for file in ["store.redb", "store.seen"] {
            fs::remove_file(dir.join("state").join(file)).unwrap();
        }
    }
    sh(dir, line)
}

#[test]
fn the_help_of_every_command_has_the_examples_of_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    let mut shown = String::new();
    let mut of = String::new();
    for Example { command, line } in printed() {
        if of != command {
            let words: Vec<&str> = command.split(' ').skip(1).chain(["--help"]).collect();
            shown = run_in(dir.path(), &words, "").ok();
            of.clone_from(&command);
            assert!(shown.contains("\nExit status:\n"), "{command}: {shown}");
        }
        let first = line.split("    ").next().unwrap();
        assert!(shown.contains(&format!("\n  {first}")), "{line} is not in {shown}");
    }
}

#[test]
fn the_reference_of_commands_is_that_of_this_program() {
    let made = run_in(root(), &["man", "--markdown"], "").ok();
    let path = root().join(REFERENCE);
    if std::env::var_os("TOLLHOUSE_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }

    let committed = fs::read_to_string(&path).unwrap_or_default();

    assert!(
        committed == made,
        "{REFERENCE} is not what `tollhouse man --markdown` prints: TOLLHOUSE_BLESS=1 writes it"
    );
}
