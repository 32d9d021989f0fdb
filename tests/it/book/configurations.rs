//! Configurations that the book shows: each is one that `tollhouse check` accepts, without a
//! warning that the page does not name.
//!
//! A fragment is put into a small whole configuration first. Files and variables that either names
//! are made, since the reader will have them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;
use toml::{Table, Value};

use super::page::Block;
use crate::harness::certs::{Certificate, rsa_key};
use crate::harness::process::{root, tollhouse};

/// What a fragment is put into.
const AROUND: &str = r#"
[[listener]]
address = "127.0.0.1:8443"
[listener.tls]
self_signed = ["localhost"]
[token]
issuer = "https://localhost:8443"
audience = ["legacy"]
[[users]]
name = "local"
kind = "file"
path = "users.toml"
[[login]]
dialect = "native"
[[route]]
path = "/"
upstream = "app"
"#;

/// Checks a block of TOML.
pub fn check(block: &Block) -> Result<(), String> {
    let mut table: Table = block.text.parse().map_err(|wrong| format!("{wrong}"))?;
    if !block.is_whole_configuration() {
        table = completed(table);
    }
    let folder = tempfile::tempdir().unwrap();
    provide(&mut table, folder.path());
    let path = folder.path().join("gateway.toml");
    write(&path, &toml::to_string(&table).unwrap());
    accepted(&path, block)
}

/// Whether `check` accepts the configuration at `path`, which was made of the block.
fn accepted(path: &Path, block: &Block) -> Result<(), String> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut command = tollhouse();
    command.current_dir(path.parent().unwrap()).args(["check", "--format", "json"]);
    for (name, value) in variables(&text) {
        command.env(name, value);
    }
    let output = command.output().unwrap();
    let said: Json = serde_json::from_slice(&output.stdout).unwrap();
    let issues = said["issues"].as_array().unwrap();
    let unnamed = |issue: &&Json| !issue["name"].as_str().is_some_and(|name| block.warns_of(name));
    let wrong: Vec<String> =
        issues.iter().filter(unnamed).map(|issue| format!("  {issue}")).collect();
    if wrong.is_empty() && output.status.success() {
        return Ok(());
    }
    Err(format!("tollhouse check says\n{}\nof\n{text}", wrong.join("\n")))
}

/// The fragment with what it leaves out.
fn completed(fragment: Table) -> Table {
    let mut whole: Table = AROUND.parse().unwrap();
    if fragment.contains_key("login") {
        whole.remove("login");
    }
    merge(&mut whole, fragment);
    let named = names(&whole, "upstream");
    for upstream in mentioned(&whole) {
        if !named.contains(&upstream) {
            let text = format!("name = {upstream:?}\nservers = [\"http://10.0.0.5:8080\"]");
            push(&mut whole, "upstream", text.parse().unwrap());
        }
    }
    whole
}

/// Puts the fragment's values over the others', and its sections after theirs.
fn merge(whole: &mut Table, fragment: Table) {
    for (key, value) in fragment {
        match (whole.get_mut(&key), value) {
            (Some(Value::Array(old)), Value::Array(new)) if new.iter().all(Value::is_table) => {
                old.retain(|old| !new.iter().any(|new| same_section(old, new)));
                old.extend(new);
            }
            // A table below an array of tables belongs to the last of them.
            (Some(Value::Array(old)), Value::Table(new)) => {
                if let Some(Value::Table(last)) = old.last_mut() {
                    merge(last, new);
                }
            }
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                whole.insert(key, value);
            }
        }
    }
}

/// Two sections that a configuration cannot have both.
fn same_section(one: &Value, other: &Value) -> bool {
    let alike = |key| one.get(key) == other.get(key);
    if one.get("path").is_some() && one.get("kind").is_none() {
        return ["path", "hosts", "methods"].into_iter().all(alike);
    }
    one.get("name").is_some() && alike("name")
}

fn sections<'a>(whole: &'a Table, section: &str) -> impl Iterator<Item = &'a Value> {
    whole.get(section).and_then(Value::as_array).into_iter().flatten()
}

fn names(whole: &Table, section: &str) -> Vec<String> {
    sections(whole, section).filter_map(|one| Some(one.get("name")?.as_str()?.to_owned())).collect()
}

/// Upstreams that routes name.
fn mentioned(whole: &Table) -> Vec<String> {
    let mut mentioned = Vec::new();
    for route in sections(whole, "route") {
        let mirror = route.get("mirror").map(|mirror| mirror.get("upstream").unwrap_or(mirror));
        let names = [route.get("upstream"), mirror].into_iter().flatten().filter_map(Value::as_str);
        mentioned.extend(names.map(ToOwned::to_owned));
    }
    mentioned.sort();
    mentioned.dedup();
    mentioned
}

fn push(whole: &mut Table, section: &str, table: Table) {
    let array = whole.entry(section).or_insert_with(|| Value::Array(Vec::new()));
    array.as_array_mut().unwrap().push(Value::Table(table));
}

/// Every `env = "NAME"`, with a value that fits where it stands.
fn variables(text: &str) -> Vec<(String, &'static str)> {
    let mut variables = Vec::new();
    for line in text.lines() {
        for (at, part) in line.match_indices("env = \"") {
            let name = line[at + part.len()..].split('"').next().unwrap_or_default();
            let value = if name.contains("DATABASE") || name.ends_with("_DB") {
                "postgres://gateway:secret@127.0.0.1/users"
            } else {
                "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
            };
            variables.push((name.to_owned(), value));
        }
    }
    variables
}

/// Makes the files that a table names, those with whole paths below `folder`.
fn provide(table: &mut Table, folder: &Path) {
    let kind = table.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (key, value) in table.iter_mut() {
        match value {
            Value::Table(table) => provide(table, folder),
            Value::Array(values) => {
                let tables = values.iter_mut().filter_map(Value::as_table_mut);
                tables.for_each(|table| provide(table, folder));
            }
            Value::String(path) => {
                if ["/etc/", "/var/", "/usr/", "/srv/"].iter().any(|top| path.starts_with(top)) {
                    *path = format!("{}{path}", folder.display());
                    let parent = Path::new(path.as_str()).parent().unwrap().to_owned();
                    std::fs::create_dir_all(parent).unwrap();
                }
                if let Some(content) = content(key, &kind, path) {
                    write(&folder.join(path.as_str()), &content);
                }
            }
            _ => {}
        }
    }
    let pair = |key: &str| table.get(key).and_then(Value::as_str).map(|path| folder.join(path));
    if let (Some(chain), Some(key)) = (pair("chain"), pair("key")) {
        let names = ["localhost", "gateway.example"];
        let made = Certificate::make(folder, "made", &names);
        write(&chain, &std::fs::read_to_string(made.chain).unwrap());
        write(&key, &std::fs::read_to_string(made.key).unwrap());
    }
}

/// What a file must hold that a key of a section names, if it is one that has to be there.
fn content(key: &str, kind: &str, path: &str) -> Option<String> {
    let fixture = |name: &str| {
        let path = root().join("tests/cases/config/files").join(name);
        Some(std::fs::read_to_string(path).unwrap())
    };
    match key {
        "ca" | "client_ca" => fixture("server.pem"),
        "public_key_file" => fixture("rsa2048.pem"),
        "jwks_file" => fixture("jwks.json"),
        "key" if path.ends_with(".pem") => Some(rsa_key()),
        "groups" if kind == "htpasswd" => fixture("htgroup"),
        "path" if kind == "htpasswd" => fixture("htpasswd"),
        "path" if kind == "file" => Some(crate::harness::gateway::users()),
        "file" if path.ends_with(".html") => Some("<p>Back soon.</p>\n".to_owned()),
        "file" => Some("0123456789abcdef0123456789abcdef0123456789abcdef\n".to_owned()),
        _ => None,
    }
}

/// Writes a file that its owner alone may read.
pub fn write(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Whether nginx takes the block.
pub fn check_nginx(block: &Block) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let text = unprivileged(&with_certificates(&block.text, folder.path()));
    let file = write_nginx(&text, folder.path());
    let mut command = Command::new("nginx");
    command.args(["-t", "-q", "-e", "stderr", "-p"]).arg(folder.path()).arg("-c").arg(file);
    succeeds(&mut command)
}

/// Writes an nginx.conf that keeps to the folder, as an ordinary user has to: the text is a whole
/// one, or what stands in its `http` or in a `server`.
pub fn write_nginx(text: &str, folder: &Path) -> PathBuf {
    let text = if text.contains("http {") {
        text.to_owned()
    } else if text.contains("server {") {
        format!("events {{}}\nhttp {{\n{text}}}\n")
    } else {
        format!("events {{}}\nhttp {{\nserver {{\nlisten 127.0.0.1:8080;\n{text}}}\n}}\n")
    };
    let mut own = "access_log off;\n".to_owned();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        own.push_str(&format!("{kind}_temp_path {}/{kind};\n", folder.display()));
    }
    let text = text.replacen("http {", &format!("http {{\n{own}"), 1);
    let file = folder.join("nginx.conf");
    write(&file, &format!("pid {}/pid;\n{text}", folder.display()));
    file
}

/// Whether HAProxy takes the block.
pub fn check_haproxy(block: &Block) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = write_haproxy(&with_certificates(&block.text, folder.path()), folder.path());
    succeeds(Command::new("haproxy").args(["-c", "-f"]).arg(file))
}

/// Writes a haproxy.cfg: the text is a whole one, or some sections of it.
pub fn write_haproxy(text: &str, folder: &Path) -> PathBuf {
    let defaults = "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  \
                    timeout server 30s\n";
    let is_whole = text.lines().any(|line| line.starts_with("defaults"));
    let file = folder.join("haproxy.cfg");
    write(&file, &format!("{}{text}", if is_whole { "" } else { defaults }));
    file
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    let output =
        command.output().map_err(|cause| format!("{:?}: {cause}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(String::from_utf8_lossy(&said).into_owned())
}

/// The text with a certificate and key that are there in place of each that it names, or with a
/// public key where it names a `.pub.pem`.
fn with_certificates(text: &str, folder: &Path) -> String {
    let made = Certificate::make(folder, "made", &["localhost"]);
    let both = folder.join("both.pem");
    let read = |path| std::fs::read_to_string(path).unwrap();
    write(&both, &(read(&made.chain) + &read(&made.key)));
    let public = folder.join("made.pub.pem");
    write(&public, &read(&root().join("tests/cases/config/files/rsa2048.pem")));
    let ends = |c: char| c.is_whitespace() || c == ';' || c == '"';
    let mut done = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(" /").into_iter().chain(rest.find("\"/")).min() {
        let (before, after) = rest.split_at(start + 1);
        let (path, after) = after.split_at(after.find(ends).unwrap_or(after.len()));
        done.push_str(before);
        if path.ends_with(".pub.pem") {
            done.push_str(&public.display().to_string());
        } else if [".pem", ".crt", ".key"].iter().any(|end| path.ends_with(end)) {
            done.push_str(&both.display().to_string());
        } else {
            done.push_str(path);
        }
        rest = after;
    }
    done + rest
}

/// The text with ports that everybody may open.
fn unprivileged(text: &str) -> String {
    let line = |line: &str| {
        let Some((before, after)) = line.split_once("listen ") else { return line.to_owned() };
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let is_port = !after[digits..].starts_with('.');
        match after[..digits].parse::<u16>() {
            Ok(port @ ..1024) if is_port => {
                format!("{before}listen {}{}", 20_000 + port, &after[digits..])
            }
            _ => line.to_owned(),
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
}
