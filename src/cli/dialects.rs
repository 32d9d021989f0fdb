//! `tollhouse dialect`: the login wire formats as TOML.

use std::path::Path;

use anyhow::{Context, anyhow};
use clap::Subcommand;

use super::{Failure, load, say};
use crate::dialect::Dialect;

#[derive(Debug, Subcommand)]
pub(super) enum DialectCommand {
    /// Names of the built-in dialects, and of those in the configuration.
    List,
    /// A dialect as TOML, to read or to start one's own from.
    Show { name: String },
}

/// Carries out a `dialect` command.
pub(super) fn run(command: DialectCommand, config: &Path) -> Result<(), Failure> {
    let own = own_dialects(config)?;
    match command {
        DialectCommand::List => {
            for name in Dialect::builtin_names() {
                say(name)?;
            }
            for (name, _) in own {
                say(format_args!("{name} (in {})", config.display()))?;
            }
            Ok(())
        }
        DialectCommand::Show { name } => show(&name, &own),
    }
}

fn show(name: &str, own: &[(String, String)]) -> Result<(), Failure> {
    let held = own.iter().find(|(held, _)| held == name).map(|(_, text)| text.as_str());
    let Some(text) = Dialect::builtin_text(name).or(held) else {
        let mut known = Dialect::builtin_names().to_vec();
        known.extend(own.iter().map(|(held, _)| held.as_str()));
        return Err(anyhow!("no dialect `{name}`; there are {}", known.join(", ")).into());
    };
    Ok(say(text.trim_end())?)
}

/// Name and text of every `[[dialect]]` in the configuration, if there is one.
fn own_dialects(config: &Path) -> Result<Vec<(String, String)>, Failure> {
    if !config.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(config)
        .with_context(|| format!("could not read {}", config.display()))?;
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            // Told as `check` does.
            load(config)?;
            return Err(Failure::from(error));
        }
    };
    let dialects = table.get("dialect").and_then(toml::Value::as_array);
    dialects
        .into_iter()
        .flatten()
        .filter_map(|dialect| Some((dialect.get("name")?.as_str()?.to_owned(), dialect)))
        .map(|(name, dialect)| Ok((name, toml::to_string(dialect)?)))
        .collect()
}
