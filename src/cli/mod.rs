//! Arguments and commands: the only place that prints, and that uses `anyhow`.
//!
//! Exit status: 0 done, 1 failed at run time, 2 usage, 78 bad configuration.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod check;
mod dialects;
pub mod hash;
mod keys;
mod remote;
mod run;
mod tokens;
pub mod users;

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, Issues, Loaded};

/// An authentication gateway for legacy APIs.
#[derive(Debug, Parser)]
#[command(name = "tollhouse", version, about, disable_help_subcommand = true)]
struct Cli {
    /// The configuration.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "TOLLHOUSE_CONFIG",
        default_value = "gateway.toml"
    )]
    config: PathBuf,

    /// Report problems of the configuration and exit, like `check`.
    #[arg(short = 't', long = "test")]
    test: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve; the default. SIGTERM and SIGINT drain, SIGHUP reloads, SIGUSR1 reopens the logs.
    Run(run::RunArgs),
    /// Report every problem of the configuration; exits 78 if there is one.
    #[command(alias = "validate")]
    Check(check::CheckArgs),
    /// Users of a users file.
    User {
        /// The `[[users]]` section, where there are several.
        #[arg(long)]
        source: Option<String>,
        #[command(subcommand)]
        command: users::UserCommand,
    },
    /// Hash a password from the prompt or standard input.
    Hash(hash::HashArgs),
    /// Signing keys.
    #[command(subcommand)]
    Key(keys::KeyCommand),
    /// Tokens: look into one, make one for a script.
    #[command(subcommand)]
    Token(tokens::TokenCommand),
    /// Sessions of the running gateway.
    #[command(subcommand)]
    Session(remote::SessionCommand),
    /// Limits of the running gateway.
    #[command(subcommand)]
    Limits(remote::LimitsCommand),
    /// The store of the running gateway.
    #[command(subcommand)]
    Store(remote::StoreCommand),
    /// Have the running gateway read its configuration again.
    Reload,
    /// Login wire formats.
    #[command(subcommand)]
    Dialect(dialects::DialectCommand),
    /// Shell completions on standard output.
    Completions { shell: clap_complete::Shell },
    /// The manual page on standard output.
    Man,
}

/// Bad configuration (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Already told line by line.
    Config(Issues),
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Runs the command line and answers its exit status.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(issues)) => {
            eprint!("{issues}");
            ExitCode::from(EXIT_CONFIG)
        }
        // Whoever read our output has enough of it: `tollhouse man | head`.
        Err(Failure::Other(error)) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(Failure::Other(error)) => {
            eprintln!("tollhouse: {error:#}");
            ExitCode::from(run::exit_status(&error))
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let config = cli.config.as_path();
    if cli.test {
        return check::check(config, &check::CheckArgs::default());
    }
    match cli.command.unwrap_or(Command::Run(run::RunArgs::default())) {
        Command::Run(args) => run::run(config, &args),
        Command::Check(args) => check::check(config, &args),
        Command::User { source, command } => {
            let (source, path) = users_file(config, source.as_deref())?;
            Ok(users::run(&command, users::UsersFile { source: &source, path: &path })?)
        }
        Command::Hash(args) => Ok(hash::run(&args)?),
        Command::Key(command) => keys::run(command, &load(config)?.config),
        Command::Token(command) => tokens::run(command, config),
        Command::Session(command) => remote::session(command, &load(config)?.config),
        Command::Limits(command) => remote::limits(command, &load(config)?.config),
        Command::Store(command) => remote::store(command, &load(config)?.config),
        Command::Reload => remote::reload(&load(config)?.config),
        Command::Dialect(command) => dialects::run(command, config),
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tollhouse", &mut out);
            Ok(std::io::stdout().write_all(&out)?)
        }
        Command::Man => {
            let mut out = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut out)?;
            Ok(std::io::stdout().write_all(&out)?)
        }
    }
}

/// Name and path of the users file that is meant: the named one, or the only one.
///
/// Only `[[users]]` is read, because the file may still have to be made, and because users can be
/// looked after while something else in the configuration is wrong.
fn users_file(config: &Path, name: Option<&str>) -> Result<(String, PathBuf), Failure> {
    let text = std::fs::read_to_string(config).ok();
    let Some(table) = text.and_then(|text| text.parse::<toml::Table>().ok()) else {
        // It says what is wrong, and where.
        return load(config)
            .and_then(|_| Err(anyhow::anyhow!("{} changed just now", config.display()).into()));
    };
    let folder = config.parent().unwrap_or(Path::new(""));
    let sections = table.get("users").and_then(toml::Value::as_array).into_iter().flatten();
    let mut files = sections.filter_map(|section| {
        let text = |key| section.get(key).and_then(toml::Value::as_str);
        let (held, path) = (text("name")?, text("path")?);
        let meant = text("kind") == Some("file") && name.is_none_or(|name| name == held);
        meant.then(|| (held.to_owned(), folder.join(path)))
    });
    match (files.next(), files.next(), name) {
        (Some(file), None, _) => Ok(file),
        (Some(_), Some(_), _) => {
            Err(anyhow::anyhow!("there are several users files: name one with --source").into())
        }
        (None, _, Some(name)) => {
            Err(anyhow::anyhow!("no [[users]] of kind \"file\" is named `{name}`").into())
        }
        (None, _, None) => Err(anyhow::anyhow!("there is no [[users]] of kind \"file\"").into()),
    }
}

/// Writes a line of output. A reader that has gone is an error here, not a panic.
pub(crate) fn tell(line: impl Display) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}

/// A variable of the process's environment.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The checked configuration, its warnings told on standard error.
pub(crate) fn load(path: &Path) -> Result<Loaded, Failure> {
    Config::load(path, &environment).map_err(Failure::Config)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
