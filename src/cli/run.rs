//! `tollhouse run`: serves until a signal says otherwise.

use std::io;
use std::path::Path;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::logging::LogArgs;
use super::{Failure, first_start, load};
use crate::config::{Config, ReportFormat, report};
use crate::listener::Descriptors;
use crate::server::{self, Options, Running};

#[derive(Debug, Default, Args)]
pub(super) struct RunArgs {
    /// Start with an empty store although signing keys exist: every session is lost.
    #[arg(long)]
    new_state: bool,

    #[command(flatten)]
    log: LogArgs,
}

/// Serves; returns after a drain.
pub(super) fn run(path: &Path, args: &RunArgs) -> Result<(), Failure> {
    let loaded = load(path)?;
    let log_format = args.log.subscribe(loaded.config.log.format).map_err(Failure::Usage)?;
    for warning in &loaded.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    if !loaded.config.process.core_dumps
        && let Err(error) = server::forbid_core_dumps()
    {
        tracing::warn!(%error, "a crash may leave passwords and keys in a core file");
    }
    let options = Options {
        new_state: args.new_state,
        descriptors: Descriptors::from_environment(&super::environment),
        source: Some(read),
        log_format: Some(log_format),
        ..Options::default()
    };
    let config = loaded.config.clone();
    // Caught from before the first connection on: a signal must never meet its default then.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _inside = runtime.enter();
        Signals::catch().context("signals cannot be caught")?
    };
    let mut running = server::start(loaded.config, options).map_err(anyhow::Error::from)?;
    if let Some(user) = running.take_first_user() {
        first_start::welcome(&user, &config, &running)?;
    }
    Ok(runtime.block_on(serve(running, path, signals))?)
}

/// What an operator, or the system, can tell the process.
struct Signals {
    stop: [Signal; 2],
    reload: Signal,
    reopen: Signal,
    quit: Signal,
    /// Caught, so that it does nothing: by default it kills, and other servers give it a meaning
    /// that somebody's script may have in mind.
    _unused: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            stop: [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?],
            reload: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            quit: signal(SignalKind::quit())?,
            _unused: signal(SignalKind::user_defined2())?,
        })
    }
}

/// The exit status of an error while starting: 78 where the configuration is to be changed.
pub(super) fn exit_status(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<server::StartError>() {
        Some(error) if error.is_configuration() => super::EXIT_CONFIG,
        _ => 1,
    }
}

/// Waits on signals. The second one that asks to stop, or SIGQUIT, ends the process at once, yet
/// in good order: the store and the logs are closed.
async fn serve(running: Running, path: &Path, signals: Signals) -> anyhow::Result<()> {
    let Signals { mut stop, mut reload, mut reopen, mut quit, _unused } = signals;
    let mut failed = false;
    let at_once = loop {
        tokio::select! {
            () = any(&mut stop) => break false,
            _ = quit.recv() => break true,
            () = running.failed() => {
                failed = true;
                break false;
            }
            // What comes of it is told by the gateway itself, whoever asked.
            _ = reload.recv() => drop(running.reload(|| read(path))),
            _ = reopen.recv() => running.reopen_logs(),
        }
    };
    tracing::info!("{}", if at_once { "ending at once" } else { "draining" });
    let cut = async {
        if at_once {
            return;
        }
        tokio::select! {
            () = any(&mut stop) => {}
            _ = quit.recv() => {}
        }
        tracing::warn!("stopped before everything was drained");
    };
    running.drain_until(cut).await;
    anyhow::ensure!(!failed, "a worker thread ended by itself");
    Ok(())
}

async fn any(signals: &mut [Signal; 2]) {
    let [first, second] = signals;
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
}

/// The configuration for a reload, or everything that is wrong with it.
fn read(path: &Path) -> Result<Config, String> {
    load(path).map(|loaded| loaded.config).map_err(|failure| match failure {
        Failure::Config(found) => report(&found, ReportFormat::Human),
        Failure::Unavailable => "somebody cannot be reached".to_owned(),
        Failure::Usage(error) | Failure::Other(error) => format!("{error:#}"),
    })
}
