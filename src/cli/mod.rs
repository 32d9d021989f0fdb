//! Arguments and commands. This is the only room that prints, and the only one that uses `anyhow`.
//!
//! Exit status: 0 done, 1 failed at run time, 2 wrong usage, 69 a server cannot be reached, 78
//! wrong configuration. Doc comments on the arguments below are the text of `--help`.
#![allow(clippy::print_stderr)]

mod api_keys;
mod attempt;
mod check;
mod confirm;
mod dialect_test;
mod dialects;
mod explain;
mod explain_text;
mod first_start;
mod format_args;
pub mod hash;
mod help;
mod init;
mod keys;
mod logging;
mod manual;
mod observe;
mod online;
mod pages;
mod place;
mod reference;
mod remote;
mod roff;
mod run;
mod schema;
mod service_manager;
mod status;
mod store;
mod terminal;
mod tokens;
mod totp;
pub mod users;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::format_args::FormatArgs;
use self::place::GatewayPlace;
use crate::config::{self, Issues, LoadedConfig, ReportFormat, report};
use crate::features;
use crate::schema::SAMPLE;
use crate::settings::{SourceKind, SourceSettings};

/// An authentication gateway for legacy APIs.
#[derive(Debug, Parser)]
#[command(name = "tollhouse", version, about)]
struct Arguments {
    /// The configuration; by default gateway.toml in this folder, else
    /// /etc/tollhouse/gateway.toml.
    #[arg(short, long, global = true, value_name = "FILE", env = "TOLLHOUSE_CONFIG")]
    config: Option<PathBuf>,

    /// The state folder of the gateway that a command is for; by default `[state] dir` of the
    /// configuration, of which nothing else is read then.
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,

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
    /// Report every problem of the configuration and of the files it names; exits 78 if there is
    /// one.
    #[command(alias = "validate")]
    Check(check::CheckArgs),
    /// What would become of a request, and why: the route, the checks, the verdict with the line of
    /// gateway.toml that decided, the limits, and the request that the upstream would receive.
    /// Nothing is sent, counted or logged.
    Explain(explain::ExplainArgs),
    /// Users of a users file; second steps and imported passwords of all.
    User {
        /// The `[[users]]` section, where there are several.
        #[arg(long)]
        source: Option<String>,
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Hash a password from the prompt or standard input.
    Hash(hash::HashArgs),
    /// Signing keys.
    #[command(subcommand)]
    Key(keys::KeyCommand),
    /// Keys that programs call with.
    #[command(name = "api-key", subcommand)]
    ApiKey(api_keys::ApiKeyCommand),
    /// Tokens: look into one, make one for a script.
    #[command(subcommand)]
    Token(tokens::TokenCommand),
    /// Sessions of the running gateway.
    #[command(subcommand)]
    Session(remote::SessionCommand),
    /// Limits of the running gateway.
    #[command(subcommand)]
    Limits(remote::LimitsCommand),
    /// The store: copies of it, and moving it to another kind
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// What routes with `enforce = false` would refuse, whom and why.
    Observe(observe::ObserveArgs),
    /// Have the running gateway read its configuration again; names what waits for a restart.
    Reload,
    /// The running gateway on one screen.
    Status(status::StatusArgs),
    /// Exits 0 if the running gateway may be sent requests, else 1: for a container's health check.
    Healthcheck,
    /// Write a gateway.toml from a few answers.
    ///
    /// They are asked for on the terminal, or given as flags. With --sample the complete commented
    /// one is written. A file that exists is left alone.
    Init(Box<init::InitArgs>),
    /// Login wire formats.
    #[command(subcommand)]
    Dialect(dialects::DialectCommand),
    /// The keys of gateway.toml, or of a dialect, as a JSON Schema for editors.
    Schema(schema::SchemaArgs),
    /// Shell completions on standard output.
    Completions { shell: clap_complete::Shell },
    /// The manual page on standard output, that of the configuration, or all pages into a folder.
    Man {
        /// `gateway.toml` for its page, gateway.toml(5); or where `tollhouse.1`, a page for each
        /// command and `gateway.toml.5` go, which must exist.
        #[arg(value_name = "gateway.toml|FOLDER")]
        wanted: Option<PathBuf>,
        /// The reference of all commands, as Markdown: docs/reference/commands.md.
        #[arg(long, hide = true, conflicts_with = "wanted")]
        markdown: bool,
    },
    /// Version, commit, target and compiler.
    Version {
        #[command(flatten)]
        format: FormatArgs,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    #[command(flatten)]
    File(users::UserFileCommand),
    /// Have the running gateway give a user a second step: codes of an authenticator.
    Totp(totp::TotpArgs),
    /// How many users of each source with `import` have been imported, as the running gateway knows it.
    Imported(remote::ImportedArgs),
}

/// The exit status of clap for wrong arguments; used for wrong environment variables as well.
const EXIT_USAGE: u8 = 2;
/// A server cannot be reached (`EX_UNAVAILABLE` of sysexits.h).
const EXIT_UNAVAILABLE: u8 = 69;
/// The configuration is wrong (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// The reason why a command did not succeed; it decides the exit status. `anyhow` is used for
/// everything that only a person reads. The library itself has error types. Problems of a
/// configuration are kept apart, because they are printed in several formats.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// Problems of one or more files. Empty if they were printed already.
    Config(Vec<Issues>),
    /// A server that the configuration names cannot be reached. This was printed already.
    Unavailable,
    /// A mistake of the caller outside of the configuration.
    Usage(anyhow::Error),
    Other(anyhow::Error),
}

impl CommandError {
    fn config(issues: Issues) -> Self {
        Self::Config(vec![issues])
    }
}

impl<E: Into<anyhow::Error>> From<E> for CommandError {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Runs the command line and returns its exit status.
pub fn main() -> ExitCode {
    // Wrong arguments end the process here, with the status of clap.
    let matches = command().get_matches();
    let parsed = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match dispatch(parsed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError::Config(found)) => {
            eprint!("{}", report(&found, ReportFormat::Human));
            ExitCode::from(EXIT_CONFIG)
        }
        Err(CommandError::Unavailable) => ExitCode::from(EXIT_UNAVAILABLE),
        Err(CommandError::Usage(error)) => {
            eprintln!("tollhouse: {error:#}");
            ExitCode::from(EXIT_USAGE)
        }
        // The reader of the output has closed it, as in `tollhouse man | head`. That is no failure.
        Err(CommandError::Other(error)) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(CommandError::Other(error)) => {
            eprintln!("tollhouse: {error:#}");
            ExitCode::from(run::exit_status(&error))
        }
    }
}

/// The tree of commands, with the end of the help of each.
fn command() -> clap::Command {
    help::described(Arguments::command())
}

/// Carries out one command. Commands for a running gateway need its state folder only; the others
/// read the configuration, as far as they need it. The error decides the exit status of the
/// process.
fn dispatch(arguments: Arguments) -> Result<(), CommandError> {
    let config = match (&arguments.command, arguments.config) {
        (_, Some(named)) => named,
        // A file of a package is configured already, and is no place for another one.
        (Some(Command::Init(_)), None) => PathBuf::from(place::HERE),
        (_, None) => place::default_config(),
    };
    let place = GatewayPlace { config, state: arguments.state };
    let config = place.config.as_path();
    // `-t` is known from nginx, so it works like `check` without a subcommand.
    if arguments.test {
        return check::check(config, &check::CheckArgs::default());
    }
    match arguments.command.unwrap_or(Command::Run(run::RunArgs::default())) {
        Command::Run(args) => run::run(config, &args),
        Command::Check(args) => check::check(config, &args),
        Command::Explain(args) => explain::explain(&args, &place),
        Command::User { source, command: UserCommand::Totp(args) } => {
            totp::run(&args, source.as_deref(), &place.state_dir()?)
        }
        Command::User { source, command: UserCommand::Imported(args) } => {
            remote::imported(&args, source.as_deref(), &place.state_dir()?)
        }
        Command::User { source, command: UserCommand::File(command) } => {
            let sources = config::load_users(config).map_err(CommandError::config)?;
            Ok(users::run(&command, users_file(&sources, source.as_deref())?)?)
        }
        Command::Hash(args) => Ok(hash::run(&args)?),
        Command::Key(command) => keys::run(command, &place.state_dir()?),
        Command::ApiKey(command) => api_keys::run(command, &place),
        Command::Token(command) => tokens::run(command, &place),
        Command::Session(command) => remote::session(command, &place.state_dir()?),
        Command::Limits(command) => remote::limits(command, &place.state_dir()?),
        Command::Store(command) => store::run(command, &place),
        Command::Observe(args) => observe::observe(&args, &place.state_dir()?),
        Command::Reload => remote::reload(&place.state_dir()?),
        Command::Status(args) => status::status(&args, &place.state_dir()?),
        Command::Healthcheck => status::healthcheck(&place.state_dir()?),
        Command::Init(args) => init::init(&args, &place),
        Command::Dialect(command) => dialects::run(command, config),
        Command::Schema(args) => Ok(schema::print(&args)?),
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut command(), "tollhouse", &mut out);
            Ok(std::io::stdout().write_all(&out)?)
        }
        Command::Version { format } => Ok(version(format.is_json())?),
        Command::Man { markdown: true, .. } => Ok(say(reference::markdown(command()).trim_end())?),
        Command::Man { wanted, .. } => manual::man(command(), wanted.as_deref()),
    }
}

/// Prints the version of the program. The commit is known only if the build was told it, as
/// `deploy/build` does. With `--json` the same facts are one object, for scripts that compare
/// versions. It goes into reports of faults, so it is on one line.
fn version(json: bool) -> std::io::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let commit = option_env!("TOLLHOUSE_COMMIT");
    let toolchain = env!("TOLLHOUSE_TOOLCHAIN");
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    if json {
        let features: Vec<&str> = features::included().collect();
        let facts = serde_json::json!({
            "version": version, "commit": commit, "toolchain": toolchain, "target": target,
            "features": features,
        });
        return say(facts);
    }
    let commit = commit.unwrap_or("unknown");
    say(format_args!("tollhouse {version}  commit {commit}  {target}  {toolchain}"))
}

/// The file of users that a command is about: the one of the named section, or the only one.
/// Sources of other kinds are not changed by this program. Without a name, two of them are an
/// error.
fn users_file<'c>(
    sources: &'c [SourceSettings],
    name: Option<&str>,
) -> anyhow::Result<users::UsersFile<'c>> {
    let mut files = sources.iter().filter_map(|source| match &source.kind {
        SourceKind::File { path, .. } => {
            name.is_none_or(|name| name == source.name).then_some((source, path))
        }
        SourceKind::Htpasswd(_)
        | SourceKind::Sql(_)
        | SourceKind::Ldap(_)
        | SourceKind::Http(_) => None,
    });
    match (files.next(), files.next()) {
        (Some((source, path)), None) => Ok(users::UsersFile { source: &source.name, path }),
        (Some(_), Some(_)) => {
            anyhow::bail!("there are several users files: name one with --source")
        }
        (None, _) => match name {
            Some(name) => anyhow::bail!("no [[users]] section of kind \"file\" is named `{name}`"),
            None => anyhow::bail!("there is no [[users]] section of kind \"file\""),
        },
    }
}

/// A variable of the process's environment. Only the command line reads the environment; everything
/// below gets a function like this one, so that tests can pass their own variables.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads and checks the configuration. Secrets come from the environment of this process. The error
/// contains every problem of the file, and warnings are part of the result. Nothing is printed
/// here.
pub(crate) fn load(path: &Path) -> Result<LoadedConfig, CommandError> {
    config::load(path, &environment).map_err(CommandError::config)
}

/// Prints a line. `println!` would panic if the reader has closed the output. The error is
/// returned, and `main` ends quietly if the reader is gone. Every command prints its results with
/// this function.
pub(crate) fn say(line: impl std::fmt::Display) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")
}

/// True if the output was closed by its reader.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
