//! `tollhouse dialect`: the login wire formats as TOML.
//!
//! Dialects of the configuration are read without checking the rest of it, so that one can be
//! looked at while the file is being edited.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::Subcommand;
use serde_json::json;

use super::attempt::{self, TryArgs};
use super::dialect_test::{self, DialectTestArgs};
use super::format_args::FormatArgs;
use super::{CommandError, load, say};
use crate::dialect::{Dialect, RawDialect};

#[derive(Debug, Subcommand)]
pub(super) enum DialectCommand {
    /// Names of the built-in dialects, and of those in the configuration.
    List {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// A dialect as TOML, to read or to start one's own from.
    Show { name: String },
    /// Log in to a system that speaks a dialect, by hand; the password comes from a prompt or
    /// standard input.
    Try(TryArgs),
    /// Run the examples of a dialect against a gateway of their own, and tell which hold.
    ///
    /// They are the `[[example]]` tables of its file. Nothing of a configured gateway is used or
    /// changed, and none has to run.
    Test(DialectTestArgs),
}

/// Carries out a `dialect` command.
pub(super) fn run(command: DialectCommand, config: &Path) -> Result<(), CommandError> {
    let own = own_dialects(config)?;
    match command {
        DialectCommand::List { format } => Ok(list(&own, config, format.is_json())?),
        DialectCommand::Show { name } => show(&name, &own),
        DialectCommand::Try(args) => {
            let dialect = dialect(&args.name, &own)?;
            Ok(attempt::run(&args, &dialect)?)
        }
        DialectCommand::Test(args) => {
            let text = text_or_file(&args.dialect, &own)?;
            dialect_test::run(&text, args.format)
        }
    }
}

fn list(own: &[(String, String)], config: &Path, as_json: bool) -> std::io::Result<()> {
    // Built-in dialects come first. The configuration cannot define one of the same name.
    let built_in = Dialect::builtin_names().map(|name| (name, None));
    let own = own.iter().map(|(name, _)| (name.as_str(), Some(config.display())));
    for (name, file) in built_in.chain(own) {
        match (as_json, file) {
            (true, file) => {
                let file = file.map(|file| file.to_string());
                let about = Dialect::builtin_description(name);
                say(json!({
                    "name": name,
                    "built_in": file.is_none(),
                    "file": file,
                    "description": about,
                }))?;
            }
            (false, None) => {
                let about = Dialect::builtin_description(name).unwrap_or_default();
                say(format_args!("{name:<16} {about}"))?;
            }
            (false, Some(file)) => say(format_args!("{name:<16} in {file}"))?,
        }
    }
    Ok(())
}

fn show(name: &str, own: &[(String, String)]) -> Result<(), CommandError> {
    Ok(say(text(name, own)?.trim_end())?)
}

fn text<'o>(name: &str, own: &'o [(String, String)]) -> anyhow::Result<&'o str> {
    let own_dialect =
        own.iter().find(|(own_dialect, _)| own_dialect == name).map(|(_, text)| text.as_str());
    Dialect::builtin_text(name).or(own_dialect).ok_or_else(|| {
        let mut known: Vec<&str> = Dialect::builtin_names().collect();
        known.extend(own.iter().map(|(own_dialect, _)| own_dialect.as_str()));
        anyhow!("no dialect `{name}`; there are {}", known.join(", "))
    })
}

/// The text of the dialect of this name, or of the file at this path.
fn text_or_file(wanted: &str, own: &[(String, String)]) -> anyhow::Result<String> {
    match text(wanted, own) {
        Err(_) if Path::new(wanted).exists() => {
            std::fs::read_to_string(wanted).with_context(|| format!("could not read {wanted}"))
        }
        text => text.map(str::to_owned),
    }
}

/// The dialect of this name, checked. `check` reports in detail what is wrong with a faulty one.
/// Built-in ones need no check. An unknown name is an error that lists the known ones.
fn dialect(name: &str, own: &[(String, String)]) -> anyhow::Result<Arc<Dialect>> {
    let text = text(name, own)?;
    if let Some(built_in) = Dialect::builtin(name) {
        return Ok(built_in);
    }
    let raw: RawDialect = toml::from_str(text)?;
    let checked = Dialect::check(raw).map_err(|problems| {
        anyhow!("dialect `{name}` has {} problems: see `tollhouse check`", problems.len())
    });
    Ok(Arc::new(checked?))
}

/// The name and the text of every `[[dialect]]` in the configuration; none if there is no such
/// file. Built-in dialects can be shown without a configuration, so a missing file is no error.
fn own_dialects(config: &Path) -> Result<Vec<(String, String)>, CommandError> {
    if !config.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(config)
        .with_context(|| format!("could not read {}", config.display()))?;
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            // A syntax error is reported in the same way as by `check`.
            load(config)?;
            return Err(CommandError::from(error));
        }
    };
    let dialects = table.get("dialect").and_then(toml::Value::as_array);
    dialects
        .into_iter()
        .flatten()
        .map(|dialect| own_text(dialect, config))
        .filter_map(|found| found.transpose())
        .collect()
}

/// The name and the text of a dialect; `None` if it has no name. One that is in a file of its own is
/// shown as that file has it.
fn own_text(
    dialect: &toml::Value,
    config: &Path,
) -> Result<Option<(String, String)>, CommandError> {
    let Some(file) = dialect.get("file").and_then(toml::Value::as_str) else {
        let Some(name) = dialect.get("name").and_then(toml::Value::as_str) else { return Ok(None) };
        return Ok(Some((name.to_owned(), toml::to_string(dialect)?)));
    };
    let path = config.parent().unwrap_or_else(|| Path::new("")).join(file);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read {}", path.display()))?;
    let table: toml::Table = text
        .parse()
        .with_context(|| format!("{} is no dialect: see `tollhouse check`", path.display()))?;
    let name = table.get("name").and_then(toml::Value::as_str).map(str::to_owned);
    Ok(name.map(|name| (name, text)))
}
