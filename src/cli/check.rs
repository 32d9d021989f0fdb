//! `tollhouse check`.

use std::path::Path;

use clap::{Args, ValueEnum};

use super::{Failure, load, say};
use crate::clock::Clock;
use crate::config::{Issue, Issues, ReportFormat, report};
use crate::server::{self, StartError};

#[derive(Debug, Default, Args)]
pub(super) struct CheckArgs {
    /// Show the configuration that is in effect; of secrets only where they come from.
    #[arg(long)]
    print: bool,

    /// `gnu` is a line each, `file:line:column: error: …`, for editors and build servers; both
    /// `gnu` and `json` go to standard output.
    #[arg(long, value_enum, default_value_t, conflicts_with = "print")]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Human,
    Gnu,
    Json,
}

/// Reports every problem; with `--print`, the configuration in effect on standard output.
pub(super) fn check(path: &Path, args: &CheckArgs) -> Result<(), Failure> {
    let loaded = match load(path) {
        Ok(loaded) => loaded,
        Err(Failure::Config(found)) => return refuse(found, args.format),
        Err(other) => return Err(other),
    };
    let start = server::check_start(&loaded.config, Clock::default().now());
    if !start.refused.is_empty() {
        return refuse_start(path, loaded.warnings, start.refused, args.format);
    }
    let found = vec![Issues::new(path, loaded.warnings.clone())];
    match args.format {
        Format::Human => eprint!("{}", report(&found, ReportFormat::Human)),
        Format::Gnu => print(&report(&found, ReportFormat::Gnu))?,
        Format::Json => print(&report(&found, ReportFormat::Json))?,
    }
    for warning in start.warnings {
        eprintln!("warning: {warning}");
    }
    match (args.print, args.format) {
        (true, _) => say(loaded.config.print().trim_end())?,
        (false, Format::Human) => say(format_args!("{}: ok", path.display()))?,
        (false, Format::Gnu | Format::Json) => {}
    }
    Ok(())
}

/// What a start would refuse besides the file itself. People are told by the program's own errors;
/// a program reads them beside the file's warnings.
fn refuse_start(
    path: &Path,
    mut issues: Vec<Issue>,
    refused: Vec<StartError>,
    format: Format,
) -> Result<(), Failure> {
    if format != Format::Human {
        let texts = refused.into_iter().map(|error| format!("{:#}", anyhow::Error::new(error)));
        issues.extend(texts.map(Issue::of_start));
        return refuse(vec![Issues::new(path, issues)], format);
    }
    eprint!("{}", report(&[Issues::new(path, issues)], ReportFormat::Human));
    let mut refused = refused.into_iter();
    let Some(first) = refused.next() else { return Ok(()) };
    for error in refused {
        eprintln!("tollhouse: {:#}", anyhow::Error::new(error));
    }
    Err(first.into())
}

fn refuse(found: Vec<Issues>, format: Format) -> Result<(), Failure> {
    match format {
        Format::Human => {}
        Format::Gnu => print(&report(&found, ReportFormat::Gnu))?,
        Format::Json => print(&report(&found, ReportFormat::Json))?,
    }
    // Told already, unless for people.
    let told = if format == Format::Human { found } else { Vec::new() };
    Err(Failure::Config(told))
}

fn print(text: &str) -> std::io::Result<()> {
    match text.trim_end() {
        "" => Ok(()),
        text => say(text),
    }
}
