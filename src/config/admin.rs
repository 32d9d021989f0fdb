//! `[admin]`, `[health]`, `[log]`, `[state]` and `[store]`: running the gateway.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::admin_socket::AdminSocket;
use super::item::Item;
use super::out::Out;
use super::reader::Table;
use super::warnings::WarningName;

/// The operators' side.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// TCP address of `/livez`, `/readyz` and `/metrics`; none: only the unix socket
    /// `admin.sock` in the state folder.
    pub address: Option<SocketAddr>,
    /// Whom the unix socket is open to.
    pub socket: AdminSocket,
}

/// `/healthz` on every client listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Path that is answered; `None` where it was set to "".
    pub path: Option<String>,
}

/// Where the gateway writes its lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub access: LogTarget,
    pub audit: LogTarget,
    /// Whether the health path's requests have access lines, too.
    pub health: bool,
    /// Format of the diagnostics.
    pub format: LogFormat,
}

/// One stream of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    Off,
    Stdout,
    Stderr,
    File(PathBuf),
}

/// How diagnostics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, else JSON.
    Auto,
    Json,
    Pretty,
}

/// The folder that is the gateway's own.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub dir: PathBuf,
}

/// Where sessions live.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// A database in the state folder.
    Embedded,
}

const HEALTH_PATH: &str = "/healthz";
const STATE_DIR: &str = "state";

impl Admin {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let item = table.get("address");
        let address = item.as_ref().and_then(Item::socket_address);
        if let (Some(item), Some(address)) = (&item, address)
            && !address.ip().is_loopback()
        {
            item.warn(
                WarningName::PublicAdmin,
                "shows metrics to whoever reaches it: keep it on loopback or a private net",
            );
        }
        Self { address, socket: AdminSocket::read(table.get("socket")) }
    }

    pub(super) fn print(&self) -> toml::Table {
        Out::default().maybe("address", self.address).sub("socket", self.socket.print()).table()
    }
}

impl Health {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        Self { path: own_path(&mut table, "path", HEALTH_PATH) }
    }
}

/// A path that we answer ourselves; "" turns it off.
pub(super) fn own_path(table: &mut Table<'_>, key: &'static str, default: &str) -> Option<String> {
    let Some(item) = table.get(key) else { return Some(default.to_owned()) };
    let path = item.text()?;
    if path.is_empty() {
        return None;
    }
    match super::path::check_exact(path) {
        Ok(()) => Some(path.to_owned()),
        Err(remedy) => {
            item.issue(remedy);
            None
        }
    }
}

impl Log {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let formats =
            [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("pretty", LogFormat::Pretty)];
        Self {
            access: LogTarget::read(table.get("access")),
            audit: LogTarget::read(table.get("audit")),
            // A load balancer asks twice a second: of its questions there would be more than of all
            // others.
            health: table.bool_or("health", false),
            // Collectors read what goes nowhere else, people what goes to a terminal.
            format: table
                .get("format")
                .and_then(|item| item.choice(&formats))
                .unwrap_or(LogFormat::Auto),
        }
    }
}

impl LogTarget {
    fn read(item: Option<Item<'_>>) -> Self {
        let Some(item) = item else { return Self::Stdout };
        match item.text() {
            Some("off") => Self::Off,
            Some("stdout") | None => Self::Stdout,
            Some("stderr") => Self::Stderr,
            // A bare word is more likely a slip than a file in the configuration's folder.
            Some(path) if !path.contains(['/', '.']) => {
                item.issue("must be \"off\", \"stdout\", \"stderr\" or the path of a file");
                Self::Stdout
            }
            Some(path) => Self::File(item.reading().resolve(path)),
        }
    }
}

impl State {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let item = table.get("dir");
        let dir = item.as_ref().and_then(Item::word);
        Self { dir: table.reading().resolve(dir.as_deref().unwrap_or(STATE_DIR)) }
    }
}

impl Store {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        table.unavailable("url", "the embedded store has none");
        if let Some(item) = table.get("kind") {
            match item.text() {
                Some("embedded") | None => {}
                Some("redis") => item.issue(NO_REDIS),
                Some(_) => item.issue("no such store; there is \"embedded\""),
            }
        }
        Self::Embedded
    }
}

const NO_REDIS: &str = "is not available in this version: leave it out or write \"embedded\"";
