//! A page, followed from its first block to its last by an operator who copies what it says.
//!
//! The page has a folder of its own. A page that brings no `gateway.toml` is about the repository's,
//! on which a gateway is started before its first command.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::page::{Block, Page};
use super::shell::Shell;
use crate::harness::process::{Process, free_port, root, until};

/// Runs a page; what was not as it says.
pub fn follow(page: &Page) -> Result<(), String> {
    let mut session = None;
    let mut blocks = page.blocks.iter().peekable();
    while let Some(block) = blocks.next() {
        if block.not_run().is_some() || !(block.is("sh") || block.file().is_some()) {
            continue;
        }
        let session = session.get_or_insert_with(Session::start);
        let told = |wrong| format!("{}: {wrong}", page.place(block));
        let printed = session.follow(block).map_err(told)?;
        let Some(next) = blocks.peek() else { break };
        let compared = block.is("sh") && next.follows && (next.is("text") || next.is("json"));
        if compared && next.not_run().is_none() && !fits(&next.text, &printed) {
            let place = page.place(next);
            return Err(format!("{place}: the page says\n{}\nand it was\n{printed}", next.text));
        }
    }
    Ok(())
}

struct Session {
    folder: Arc<tempfile::TempDir>,
    shell: Shell,
    addresses: Addresses,
    /// By the path of their configuration.
    gateways: BTreeMap<PathBuf, Process>,
}

impl Session {
    fn start() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let shell = Shell::start(folder.path());
        Self { folder, shell, addresses: Addresses::default(), gateways: BTreeMap::new() }
    }

    /// What the block printed.
    fn follow(&mut self, block: &Block) -> Result<String, String> {
        let text = self.addresses.real(&block.text);
        if let Some(file) = block.file() {
            self.write(file, &text);
            if block.is_served() {
                self.serve(file);
            }
            return Ok(String::new());
        }
        // What long-lived systems have is curl 7.68.
        for newer in ["--fail-with-body", "curl --json", " --json '"] {
            if text.contains(newer) {
                return Err(format!("not every curl has {newer}"));
            }
        }
        if let Some(file) = starts_a_gateway(&block.text) {
            self.serve(file);
            return Ok(String::new());
        }
        if !self.folder.path().join("gateway.toml").exists() {
            let sample = std::fs::read_to_string(root().join("gateway.toml")).unwrap();
            let sample = self.addresses.real(&sample);
            self.write("gateway.toml", &sample);
            self.serve("gateway.toml");
        }
        let printed = self.shell.run(&text, block.exits())?;
        // What was left running in the background is there once the next block is read.
        if text.trim_end().ends_with('&') {
            for port in self.addresses.named(&block.text) {
                until("a listening port", || TcpStream::connect(("127.0.0.1", port)).ok());
            }
        }
        Ok(self.addresses.documented(&printed))
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Starts a gateway on a configuration, in the place of an earlier one on the same file.
    fn serve(&mut self, file: &str) {
        let path = self.folder.path().join(file);
        assert!(path.ends_with("gateway.toml"), "{file}: what is served is called gateway.toml");
        drop(self.gateways.remove(&path));
        let text = std::fs::read_to_string(&path).unwrap();
        let folder = path.parent().unwrap().to_owned();
        let process = Process::start_below(self.folder.clone(), folder, listens_on(&text));
        process.wait_for_commands();
        if text.contains("\nbootstrap = true") {
            self.shell.set("PASSWORD", &process.first_password());
        }
        self.gateways.insert(path, process);
    }
}

/// The configuration of which the block is the start of a gateway: a command that would not come
/// back, and that the reader gives in a terminal of its own.
fn starts_a_gateway(block: &str) -> Option<&str> {
    match block.trim() {
        "tollhouse run" => Some("gateway.toml"),
        words => words.strip_prefix("tollhouse run --config "),
    }
}

/// The port of the first listener.
fn listens_on(text: &str) -> u16 {
    let table: toml::Table = text.parse().unwrap();
    let address = table["listener"][0]["address"].as_str().unwrap();
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// The addresses on this machine that a page names, each with a port that is free here.
#[derive(Default)]
struct Addresses {
    /// Free ports by documented ones.
    ports: BTreeMap<u16, u16>,
}

impl Addresses {
    fn real(&mut self, text: &str) -> String {
        let mut real = String::new();
        let mut rest = text;
        while let Some(start) = ["127.0.0.1:", "localhost:"]
            .iter()
            .filter_map(|host| rest.find(host).map(|at| at + host.len()))
            .min()
        {
            let (before, after) = rest.split_at(start);
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let (port, after) = after.split_at(digits);
            real.push_str(before);
            if let Ok(port) = port.parse() {
                let free = self.ports.entry(port).or_insert_with(free_port);
                real.push_str(&free.to_string());
            } else {
                real.push_str(port);
            }
            rest = after;
        }
        real + rest
    }

    /// The free ports in place of those that a text names.
    fn named(&self, text: &str) -> impl Iterator<Item = u16> {
        let is_named = move |port: &u16| {
            let port = format!(":{port}");
            let mut ends = text.split(port.as_str()).skip(1);
            ends.any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        self.ports.iter().filter(move |(port, _)| is_named(port)).map(|(_, free)| *free)
    }

    fn documented(&self, text: &str) -> String {
        self.ports.iter().fold(text.to_owned(), |text, (documented, free)| {
            text.replace(&format!(":{free}"), &format!(":{documented}"))
        })
    }
}

/// Whether an output is what the page shows, where `…` stands for anything.
fn fits(shown: &str, printed: &str) -> bool {
    let tidy = |text: &str| {
        let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
        lines.join("\n")
    };
    let (shown, printed) = (tidy(shown), tidy(printed));
    let Some((first, others)) = shown.split_once('…') else { return shown == printed };
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = others.split('…').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[test]
fn anything_may_stand_for_an_ellipsis_and_nothing_else() {
    for (shown, printed, fit) in [
        ("a\n", "a", true),
        ("a…c", "abc", true),
        ("a…", "a\nb\nc", true),
        ("…\nc", "a\nb\nc", true),
        ("a…c…e", "abcde", true),
        ("a…b", "abc", false),
        ("a…a", "a", false),
        ("…b…", "aca", false),
    ] {
        assert_eq!(fits(shown, printed), fit, "{shown} {printed}");
    }
}
