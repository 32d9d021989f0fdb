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
    let found = vec![Issues::new(path, loaded.warnings.clone())];
    if found.iter().any(Issues::has_error) {
        return refuse(found, args.format);
    }
    match args.format {
        Format::Human => eprint!("{}", report(&found, ReportFormat::Human)),
        Format::Gnu => print(&report(&found, ReportFormat::Gnu))?,
        Format::Json => print(&report(&found, ReportFormat::Json))?,
    }
    let start = server::check_start(&loaded.config, Clock::default().now());
    for warning in start.warnings {
        eprintln!("warning: {warning}");
    }
    let mut refused = start.refused.into_iter();
    if let Some(first) = refused.next() {
        for error in refused {
            eprintln!("tollhouse: {:#}", anyhow::Error::new(error));
        }
        return Err(first.into());
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
