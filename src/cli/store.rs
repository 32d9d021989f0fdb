//! `tollhouse store`: the store of the running gateway, and moving a store from one kind to another.
//!
//! A backup is made by the running gateway. An export and an import open the store themselves: no
//! gateway may use the file of an embedded store meanwhile, and none an import's target.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use http::Method;
use serde_json::json;

use super::format_args::FormatArgs;
use super::place::GatewayPlace;
use super::{CommandError, load, remote, say};
use crate::config::{SEAL_FORM, parse_seal};
use crate::secret::{Secret, random};
use crate::server::{self, MovedStore};
use crate::session::shared::{SEAL_LEN, Seal};

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Write a consistent copy of the store.
    Backup { file: PathBuf },

    /// Make the 32 bytes that seal a shared store and the files of exports.
    SealKey {
        /// The new file; without it, they go to standard output.
        file: Option<PathBuf>,
    },

    /// Write the content of the store to a sealed file, sessions and signing keys included.
    Export {
        file: PathBuf,
        /// The file with the seal; by default the seal of `[store]`.
        #[arg(long, value_name = "FILE")]
        seal: Option<PathBuf>,
        #[command(flatten)]
        format: FormatArgs,
    },

    /// Read a sealed file into the store of the configuration, which must be empty.
    Import {
        file: PathBuf,
        /// The file with the seal of the export; by default the seal of `[store]`.
        #[arg(long, value_name = "FILE")]
        seal: Option<PathBuf>,
        #[command(flatten)]
        format: FormatArgs,
    },
}

/// Carries out a `store` command.
pub(super) fn run(command: StoreCommand, place: &GatewayPlace) -> Result<(), CommandError> {
    match command {
        StoreCommand::Backup { file } => remote_backup(&file, &place.state_dir()?),
        StoreCommand::SealKey { file } => Ok(make_seal(file.as_deref())?),
        StoreCommand::Export { file, seal, format } => {
            let config = load(&place.config)?.config;
            let seal = chosen_seal(config.store.shared().map(|shared| &shared.seal), seal)?;
            let moved = server::export_store(&config, &file, &seal);
            let moved = moved.with_context(|| format!("`{}` was not written", file.display()))?;
            Ok(print_moved(&moved, "exported", &file, &format)?)
        }
        StoreCommand::Import { file, seal, format } => {
            let config = load(&place.config)?.config;
            let seal = chosen_seal(config.store.shared().map(|shared| &shared.seal), seal)?;
            let moved = server::import_store(&config, &file, &seal);
            let moved = moved.with_context(|| format!("`{}` was not imported", file.display()))?;
            Ok(print_moved(&moved, "imported", &file, &format)?)
        }
    }
}

fn remote_backup(file: &Path, state: &Path) -> Result<(), CommandError> {
    // The gateway writes the file, and its working folder is another one; so the path is made
    // absolute here. The gateway's user must be allowed to write there.
    let file = std::path::absolute(file)?;
    remote::call(state, Method::POST, "/store/backup", Some(json!({ "path": file })))?;
    Ok(say(file.display())?)
}

/// Writes new random bytes as base64, readable by this user only. A file is never overwritten: with
/// its seal a store would be lost.
fn make_seal(file: Option<&Path>) -> anyhow::Result<()> {
    let key: [u8; SEAL_LEN] = random();
    let text = Secret::new(STANDARD.encode(key));
    let Some(file) = file else { return Ok(say(text.expose())?) };
    let unwritable = || format!("`{}` cannot be made", file.display());
    let mut made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(unwritable)?;
    made.write_all(text.expose().as_bytes())
        .and_then(|()| made.write_all(b"\n"))
        .and_then(|()| made.sync_all())
        .with_context(unwritable)?;
    Ok(say(file.display())?)
}

fn chosen_seal(
    configured: Option<&Secret<[u8; SEAL_LEN]>>,
    named: Option<PathBuf>,
) -> anyhow::Result<Seal> {
    match (named, configured) {
        (Some(file), _) => {
            let unreadable = || format!("`{}` cannot be read", file.display());
            let text = Secret::new(std::fs::read_to_string(&file).with_context(unreadable)?);
            let seal = parse_seal(text.expose());
            let seal = seal.with_context(|| format!("`{}` must be {SEAL_FORM}", file.display()))?;
            Ok(Seal::new(&seal))
        }
        (None, Some(seal)) => Ok(Seal::new(seal)),
        (None, None) => anyhow::bail!(
            "an embedded store has no seal: name a file with --seal; `tollhouse store seal-key` \
             makes one"
        ),
    }
}

fn print_moved(
    moved: &MovedStore,
    what: &str,
    file: &Path,
    format: &FormatArgs,
) -> std::io::Result<()> {
    if format.is_json() {
        return say(json!({ "file": file, "kind": moved.kind, "rows": moved.counts }));
    }
    say(format_args!("{what} {} ({}): {}", file.display(), moved.kind, moved.counts))
}
