//! `tollhouse check`: reports the problems of a configuration without starting a gateway.
//!
//! Problems go to standard error for people, and to standard output in the formats for programs.
//! With `--online` the servers that the configuration names are asked as well. Nothing is changed,
//! so a check may run beside a running gateway.

use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::online::Verdicts;
use super::{CommandError, load, say};
use crate::clock::Clock;
use crate::config::{Issues, LoadedConfig, ReportFormat, report, report_json};
use crate::server;
use crate::settings::parse_duration;

#[derive(Debug, Default, Args)]
pub(super) struct CheckArgs {
    /// Show the configuration that is in effect; of secrets only where they come from.
    #[arg(long)]
    print: bool,

    /// `gnu` is a line each, `file:line:column: error: …`, for editors and build servers; both
    /// `gnu` and `json` go to standard output.
    #[arg(long, value_enum, default_value_t, conflicts_with = "print")]
    format: OutputFormat,

    /// Ask the network too, once the file is fine: whether names resolve, and whether databases,
    /// directories, legacy logins, issuers, the mail server and upstreams can be connected to.
    /// Exits 69 if one cannot.
    #[arg(long, conflicts_with = "print")]
    online: bool,

    /// How long each of them may take, for example 500ms; all together four times that.
    #[arg(long, requires = "online", value_parser = timeout)]
    timeout: Option<Duration>,
}

/// The default limit for one server: longer than a healthy one needs to accept a connection.
const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(300);

fn timeout(text: &str) -> Result<Duration, String> {
    let limit = parse_duration(text)?;
    let allowed = TIMEOUTS.contains(&limit);
    allowed.then_some(limit).ok_or_else(|| "must be between 1ms and 5m".to_owned())
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    #[default]
    Human,
    Gnu,
    Json,
}

/// Reports every problem of the configuration. With `--print`, prints the configuration in effect
/// to standard output. The error is empty if the problems were printed already. Warnings alone are
/// no failure.
pub(super) fn check(path: &Path, args: &CheckArgs) -> Result<(), CommandError> {
    let loaded = match load(path) {
        Ok(loaded) => loaded,
        Err(CommandError::Config(found)) => return refuse(found, args.format),
        Err(other) => return Err(other),
    };
    // A start reads more than the configuration: certificates, keys, users, folders. Their faults
    // are reported in the same list, at the keys that name them.
    let start = server::check_start(&loaded, Clock::default().now());
    let issues = Issues::new(path, loaded.warnings.iter().cloned().chain(start).collect());
    if issues.has_error() {
        return refuse(vec![issues], args.format);
    }
    // Other machines are asked only if the file is fine. With a faulty file the answers would be
    // about a configuration that never runs. The warnings of the file are still reported.
    if args.online {
        return ask_network(path, &loaded, issues, args);
    }
    let found = [issues];
    match args.format {
        OutputFormat::Human => eprint!("{}", report(&found, ReportFormat::Human)),
        OutputFormat::Gnu => print(&report(&found, ReportFormat::Gnu))?,
        OutputFormat::Json => print(&report(&found, ReportFormat::Json))?,
    }
    match (args.print, args.format) {
        (true, _) => say(loaded.print().trim_end())?,
        (false, OutputFormat::Human) => say(format_args!("{}: ok", path.display()))?,
        (false, OutputFormat::Gnu | OutputFormat::Json) => {}
    }
    Ok(())
}

/// Reports the warnings, and a verdict on each server that the configuration names. The command
/// fails with 69 if one of them could not be reached. The warnings have been found before, and do
/// not decide about it.
fn ask_network(
    path: &Path,
    loaded: &LoadedConfig,
    issues: Issues,
    args: &CheckArgs,
) -> Result<(), CommandError> {
    let found = [issues];
    if args.format == OutputFormat::Human {
        // The warnings are printed before the wait for the network.
        eprint!("{}", report(&found, ReportFormat::Human));
    }
    let list = server::ask_network(&loaded.config, args.timeout.unwrap_or(TIMEOUT))?;
    let verdicts = Verdicts { file: path, loaded, list };
    let parties = verdicts.list.len();
    let failed = verdicts.failed();
    match args.format {
        OutputFormat::Human => {
            print(&verdicts.lines())?;
            match failed {
                0 => say(format_args!(
                    "{}: ok, and {parties} of {parties} answered",
                    path.display()
                ))?,
                _ => say(format_args!("{}: ok, but {failed} of {parties} failed", path.display()))?,
            }
        }
        OutputFormat::Gnu => print(&(report(&found, ReportFormat::Gnu) + &verdicts.gnu()))?,
        OutputFormat::Json => {
            let mut said = report_json(&found);
            if let Some(said) = said.as_object_mut() {
                said.insert("ok".to_owned(), (failed == 0).into());
                said.insert("verdicts".to_owned(), verdicts.json());
            }
            say(format_args!("{said:#}"))?;
        }
    }
    if failed > 0 { Err(CommandError::Unavailable) } else { Ok(()) }
}

fn refuse(found: Vec<Issues>, format: OutputFormat) -> Result<(), CommandError> {
    match format {
        OutputFormat::Human => {}
        OutputFormat::Gnu => print(&report(&found, ReportFormat::Gnu))?,
        OutputFormat::Json => print(&report(&found, ReportFormat::Json))?,
    }
    // In the formats for programs, the problems were printed already.
    let issues = if format == OutputFormat::Human { found } else { Vec::new() };
    Err(CommandError::Config(issues))
}

fn print(text: &str) -> std::io::Result<()> {
    match text.trim_end() {
        "" => Ok(()),
        text => say(text),
    }
}
