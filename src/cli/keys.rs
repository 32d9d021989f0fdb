//! `tollhouse key`: signing keys of the running gateway.

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use http::Method;
use serde_json::json;

use super::{Failure, remote, say};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Every key with its algorithm, state and times.
    List,
    /// Make successors, which are published now and sign after a day.
    Rotate {
        /// Only for this algorithm.
        #[arg(long)]
        algorithm: Option<String>,
    },
    /// Stop using a key at once: tokens it signed are refused.
    Revoke {
        /// Ids may begin with a dash.
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// Take a private key in PEM or JWK form from a file.
    Import {
        file: PathBuf,
        /// Where the key does not say it: RS256 or PS256, say.
        #[arg(long)]
        algorithm: Option<String>,
    },
}

/// Carries out a `key` command.
pub(super) fn run(command: KeyCommand, config: &Config) -> Result<(), Failure> {
    let answer = match command {
        KeyCommand::List => remote::call(config, Method::GET, "/keys", None)?,
        KeyCommand::Rotate { algorithm } => {
            let body = json!({ "algorithm": algorithm });
            remote::call(config, Method::POST, "/keys/rotate", Some(body))?
        }
        KeyCommand::Revoke { kid } => {
            remote::call(config, Method::DELETE, &format!("/keys/{kid}"), None)?
        }
        KeyCommand::Import { file, algorithm } => {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("could not read {}", file.display()))?;
            let body = json!({ "key": text, "algorithm": algorithm });
            remote::call(config, Method::POST, "/keys/import", Some(body))?
        }
    };
    for key in remote::list(&answer, "keys") {
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
