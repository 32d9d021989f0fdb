//! `tollhouse dialect`: the login wire formats as TOML.

use std::path::Path;

use anyhow::{Context, bail};
use clap::Subcommand;

use super::Failure;
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
                println!("{name}");
            }
            for (name, _) in own {
                println!("{name} (in {})", config.display());
            }
            Ok(())
        }
        DialectCommand::Show { name } => Ok(show(&name, &own)?),
    }
}

fn show(name: &str, own: &[(String, String)]) -> anyhow::Result<()> {
    if let Some(text) = Dialect::builtin_text(name) {
        print!("{text}");
        return Ok(());
    }
    let Some((_, text)) = own.iter().find(|(held, _)| held == name) else {
        bail!("no dialect `{name}`; built in are {}", Dialect::builtin_names().join(", "));
    };
    print!("{text}");
    Ok(())
}

/// Name and text of every `[[dialect]]` in the configuration, if there is one.
fn own_dialects(config: &Path) -> anyhow::Result<Vec<(String, String)>> {
    if !config.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(config)
        .with_context(|| format!("could not read {}", config.display()))?;
    let table: toml::Table =
        text.parse().with_context(|| format!("could not read {}", config.display()))?;
    let dialects = table.get("dialect").and_then(toml::Value::as_array);
    dialects
        .into_iter()
        .flatten()
        .filter_map(|dialect| Some((dialect.get("name")?.as_str()?.to_owned(), dialect)))
        .map(|(name, dialect)| Ok((name, toml::to_string(dialect)?)))
        .collect()
}
