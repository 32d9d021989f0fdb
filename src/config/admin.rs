//! `[admin]`, `[health]`, `[log]`, `[state]` and `[store]`: the settings for operating the gateway.
//!
//! The reader refuses what would be surprising in operation, such as a log file whose name is a
//! mistyped keyword. Paths are made absolute with the configuration's folder. `server` opens what
//! is named here.

use super::item::{SpannedValue, choice_of};
use super::reader::TableReader;
use super::schema::TextForm;
use super::warnings::WarningName;
use crate::settings::{
    AccessFormat, AdminSettings, AdminSocket, HealthSettings, LogFormat, LogSettings, LogTarget,
    StateSettings,
};

const HEALTH_PATH: &str = "/healthz";
const STATE_DIR: &str = "state";

impl AdminSettings {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        let item = table.get("address");
        let address = item.as_ref().and_then(SpannedValue::socket_address);
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
}

impl HealthSettings {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        Self { path: own_path(&mut table, "path", HEALTH_PATH) }
    }
}

/// Reads a path that the gateway answers itself; an empty text turns it off. Such a path goes
/// before logins and routes, so it must be plain. `default` is the path of a file that does not say
/// one.
pub(super) fn own_path(
    table: &mut TableReader<'_>,
    key: &'static str,
    default: &str,
) -> Option<String> {
    table.default_is(key, default);
    let Some(item) = table.get(key) else { return Some(default.to_owned()) };
    let path = item.string()?;
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

impl LogSettings {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        let formats =
            [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("pretty", LogFormat::Pretty)];
        let access_formats = [
            ("json", AccessFormat::Json),
            ("logfmt", AccessFormat::Logfmt),
            ("combined", AccessFormat::Combined),
            ("pretty", AccessFormat::Pretty),
        ];
        Self {
            access: LogTarget::read(&mut table, "access"),
            access_format: table.choice_or("access_format", AccessFormat::Json, &access_formats),
            audit: LogTarget::read(&mut table, "audit"),
            // Off by default: a load balancer asks every second or two, and its lines would
            // outnumber all others.
            health: table.bool_or("health", false),
            // By default the destination decides: people read a terminal, and programs read
            // everything else.
            format: table.choice_or("format", LogFormat::Auto, &formats),
        }
    }
}

impl LogTarget {
    fn read(table: &mut TableReader<'_>, key: &'static str) -> Self {
        table.default_is(key, "stdout");
        let Some(item) = table.get(key) else { return Self::Stdout };
        item.record(choice_of(["off", "stdout", "stderr"]));
        match item.text(TextForm::Path) {
            Some("off") => Self::Off,
            Some("stdout") | None => Self::Stdout,
            Some("stderr") => Self::Stderr,
            // A bare word is more likely a mistyped keyword than a file in the configuration's
            // folder.
            Some(path) if !path.contains(['/', '.']) => {
                item.issue("must be \"off\", \"stdout\", \"stderr\" or the path of a file");
                Self::Stdout
            }
            Some(path) => {
                item.reading().note_written(item.at(), path);
                Self::File(item.reading().resolve(path))
            }
        }
    }
}

impl StateSettings {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        table.default_is("dir", STATE_DIR);
        let item = table.get("dir");
        let dir = item.as_ref().and_then(SpannedValue::plain_name);
        let dir = dir.as_deref().unwrap_or(STATE_DIR);
        table.reading().note_written(&table.at().key("dir"), dir);
        Self { dir: table.reading().resolve(dir) }
    }
}
