//! `tollhouse key`: the signing keys of the running gateway.
//!
//! All of these commands are carried out by the running gateway, which audits them. Only public
//! facts about keys are printed; a private key is read only for `import`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use http::Method;
use serde_json::json;

use super::confirm::confirm;
use super::format_args::FormatArgs;
use super::{CommandError, remote, say};

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Every key with its algorithm, state and times.
    List {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Make successors, which are published now and sign after a day.
    Rotate {
        /// Only for this algorithm.
        #[arg(long)]
        algorithm: Option<String>,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Stop using a key at once: tokens it signed are refused.
    Revoke {
        /// Ids may begin with a dash.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Take a private key in PEM or JWK form from a file.
    Import {
        file: PathBuf,
        /// Where the key does not say it: RS256 or PS256, say.
        #[arg(long)]
        algorithm: Option<String>,
        #[command(flatten)]
        format: FormatArgs,
    },
}

/// Carries out a `key` command, and prints the list of keys as it is afterwards. Revoking a key is
/// confirmed first, because every token that the key has signed becomes invalid. Importing sends
/// the private key over the admin socket, to the gateway's own user.
pub(super) fn run(command: KeyCommand, state: &Path) -> Result<(), CommandError> {
    let (format, answer) = match command {
        KeyCommand::List { format } => (format, remote::call(state, Method::GET, "/keys", None)?),
        // Without an algorithm every algorithm in use gets a new key.
        KeyCommand::Rotate { algorithm, format } => {
            let body = json!({ "algorithm": algorithm });
            (format, remote::call(state, Method::POST, "/keys/rotate", Some(body))?)
        }
        KeyCommand::Revoke { kid, yes, format } => {
            confirm(&format!("revoke the key {kid} and every token it has signed"), yes)?;
            (format, remote::call(state, Method::DELETE, &format!("/keys/{kid}"), None)?)
        }
        KeyCommand::Import { file, algorithm, format } => {
            // The file is read here and not by the gateway, because the operator may be able to
            // read a file that the gateway's user cannot. The key is sent over the admin socket,
            // which never leaves the machine.
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("could not read {}", file.display()))?;
            let body = json!({ "key": text, "algorithm": algorithm });
            (format, remote::call(state, Method::POST, "/keys/import", Some(body))?)
        }
    };
    for key in remote::list(&answer, "keys") {
        if format.is_json() {
            say(key)?;
            continue;
        }
        let text = |name: &str| remote::text(key, name);
        say(format_args!(
            "{}  {:6}  {:9}  made {}  signs from {}",
            text("kid"),
            text("algorithm"),
            text("state"),
            text("created"),
            text("signs_from"),
        ))?;
    }
    Ok(())
}
