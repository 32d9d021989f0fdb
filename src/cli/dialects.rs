//! `tollhouse dialect`: the login wire formats as TOML.

use std::path::Path;

use clap::Subcommand;

use super::{Failure, load, tell};
use crate::config::OwnDialect;
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
    match command {
        DialectCommand::List => {
            let own = own_dialects(config)?;
            for name in Dialect::builtin_names() {
                tell(format_args!("{name}"))?;
            }
            for (name, _) in own {
                tell(format_args!("{name} (in {})", config.display()))?;
            }
            Ok(())
        }
        DialectCommand::Show { name } => show(&name, config),
    }
}

fn show(name: &str, config: &Path) -> Result<(), Failure> {
    if let Some(text) = Dialect::builtin_text(name) {
        return Ok(tell(text.trim_end())?);
    }
    let own = own_dialects(config)?;
    if let Some((_, text)) = own.iter().find(|(held, _)| held == name) {
        return Ok(tell(text.trim_end())?);
    }
    let builtin = Dialect::builtin_names().iter().copied();
    let names: Vec<&str> = builtin.chain(own.iter().map(|(name, _)| name.as_str())).collect();
    Err(anyhow::anyhow!("no dialect `{name}`; there are {}", names.join(", ")).into())
}

/// Name and text of every `[[dialect]]` in the configuration, if there is one.
fn own_dialects(config: &Path) -> Result<Vec<(String, String)>, Failure> {
    if !config.exists() {
        return Ok(Vec::new());
    }
    let dialects = load(config)?.config.dialects;
    let text = |own: &OwnDialect| Ok((own.dialect.name.clone(), toml::to_string(&own.table)?));
    dialects.iter().map(text).collect()
}
