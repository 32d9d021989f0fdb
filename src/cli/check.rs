//! `tollhouse check`.

use std::path::Path;

use clap::{Args, ValueEnum};

use super::{Failure, load, say};
use crate::clock::Clock;
use crate::config::{Issues, ReportFormat, report};
use crate::server;

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
    let start = server::check_start(&loaded, Clock::default().now());
    let issues = Issues::new(path, loaded.warnings.iter().cloned().chain(start).collect());
    if issues.has_error() {
        return refuse(vec![issues], args.format);
    }
    let found = [issues];
    match args.format {
        Format::Human => eprint!("{}", report(&found, ReportFormat::Human)),
        Format::Gnu => print(&report(&found, ReportFormat::Gnu))?,
        Format::Json => print(&report(&found, ReportFormat::Json))?,
    }
    match (args.print, args.format) {
        (true, _) => say(loaded.config.print().trim_end())?,
        (false, Format::Human) => say(format_args!("{}: ok", path.display()))?,
        (false, Format::Gnu | Format::Json) => {}
    }
    Ok(())
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
