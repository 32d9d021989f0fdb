//! `tollhouse run`: serves until a signal ends it.
//!
//! This is the only place that handles signals. Everything else about starting and ending is done
//! by `server`, so that tests can do it without a process.

use std::io;
use std::path::Path;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::logging::LogArgs;
use super::service_manager::{self, ServiceManager};
use super::{CommandError, first_start, load};
use crate::clock::Clock;
use crate::config::{IssueSeverity, Issues, LoadedConfig, ReportFormat, report};
use crate::listener::InheritedSockets;
use crate::server::{self, RunningServer, ServerOptions};
use crate::settings::Config;

#[derive(Debug, Default, Args)]
pub(super) struct RunArgs {
    /// Start with an empty store although signing keys exist: every session is lost.
    #[arg(long)]
    new_state: bool,

    /// Take over from the gateway that runs: its sockets, then its store; no client notices.
    ///
    /// The running gateway hands over its listening sockets through admin.sock in the state folder,
    /// so that no connection is refused or reset, and drains when this one is ready. Until then it
    /// serves on, and it goes on serving if this one fails. Without a gateway that runs it is an
    /// ordinary start. Only the gateway's own user and root may take it over.
    #[arg(long, conflicts_with = "new_state")]
    takeover: bool,

    #[command(flatten)]
    log: LogArgs,
}

/// Serves, and returns after a drain. Everything that can be wrong with the configuration is
/// reported before a thread is started. An error of the start decides the exit status.
pub(super) fn run(path: &Path, args: &RunArgs) -> Result<(), CommandError> {
    let loaded = load(path)?;
    if args.takeover {
        check_start(path, &loaded)?;
    }
    let log_format = args.log.subscribe(loaded.config.log.format).map_err(CommandError::Usage)?;
    for warning in &loaded.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    // Core dumps are forbidden before any secret is used, and before threads are started.
    if !loaded.config.process.core_dumps
        && let Err(error) = server::forbid_core_dumps()
    {
        tracing::warn!(%error, "a crash may leave passwords and keys in a core file");
    }
    let options = ServerOptions {
        new_state: args.new_state,
        descriptors: InheritedSockets::from_environment(&super::environment),
        source: Some(read),
        log_format: Some(log_format),
        takeover: args.takeover,
        service: service_manager::of_environment(&super::environment),
        report_successor: Some(service_manager::report_successor),
        ..ServerOptions::default()
    };
    let config = loaded.config.clone();
    // Signals are caught before the first connection is accepted. Otherwise a signal in between
    // would have its default effect and kill the process without a drain.
    // This small runtime only waits for signals. The gateway has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _inside = runtime.enter();
        ProcessSignals::catch().context("signals cannot be caught")?
    };
    // `start` blocks, so it is called outside of the runtime.
    let mut running = server::start(loaded.config, options).map_err(anyhow::Error::from)?;
    if let Some(user) = running.take_first_user() {
        first_start::welcome(&user, &config, &running)?;
    }
    let manager = ServiceManager::new(running.service());
    if let Some(period) = manager.watchdog_period() {
        let manager = manager.clone();
        running.while_in_progress(period, move || manager.report_alive());
    }
    manager.report_ready();
    Ok(runtime.block_on(serve(running, path, signals, &manager))?)
}

/// Finds the faults of a start, before the gateway that runs is asked for anything.
fn check_start(path: &Path, loaded: &LoadedConfig) -> Result<(), CommandError> {
    let found = server::check_start(loaded, Clock::default().now()).into_iter();
    let faults: Vec<_> = found.filter(|issue| issue.severity == IssueSeverity::Error).collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(CommandError::Config(vec![Issues::new(path, faults)]))
    }
}

/// The signals by which an operator or the system controls the process. They are registered
/// together, before anything is served. A signal that comes before it is awaited is not lost. Other
/// signals keep their default effect.
struct ProcessSignals {
    stop: [Signal; 2],
    reload: Signal,
    reopen: Signal,
    quit: Signal,
    /// Caught and ignored. Its default effect is to kill the process, and scripts written for other
    /// servers may send it.
    _unused: Signal,
}

impl ProcessSignals {
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

/// The exit status of an error during the start: 78 if the configuration has to be changed. Every
/// other failure is 1, and a service manager may try again.
pub(super) fn exit_status(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<server::StartError>() {
        Some(error) if error.is_configuration() => super::EXIT_CONFIG,
        _ => 1,
    }
}

/// Waits for signals. A second signal to stop, or SIGQUIT, ends the process at once but still in
/// order: the store and the logs are closed. Returns an error if the gateway has ended by itself,
/// so that a service manager starts it again.
async fn serve(
    running: RunningServer,
    path: &Path,
    signals: ProcessSignals,
    manager: &ServiceManager,
) -> anyhow::Result<()> {
    let ProcessSignals { mut stop, mut reload, mut reopen, mut quit, _unused } = signals;
    let reason = loop {
        tokio::select! {
            // SIGTERM and SIGINT begin a drain; SIGQUIT ends at once.
            () = any(&mut stop) => break EndReason::Drain,
            _ = quit.recv() => break EndReason::AtOnce,
            () = running.failed() => break EndReason::Failure,
            () = running.taken_over() => break EndReason::TakenOver,
            _ = reload.recv() => {
                manager.report_reloading();
                // The gateway itself reports the outcome, whoever requested the reload.
                drop(running.reload(|| read(path)));
                manager.report_ready();
            }
            _ = reopen.recv() => running.reopen_logs(),
        }
    };
    let ending = reason.as_str();
    tracing::info!("{ending}");
    // After a takeover the service goes on, with the successor as its main process.
    if reason != EndReason::TakenOver {
        manager.report_stopping(ending);
    }
    let cut = async {
        if reason == EndReason::AtOnce {
            return;
        }
        tokio::select! {
            () = any(&mut stop) => {}
            _ = quit.recv() => {}
        }
        tracing::warn!("stopped before everything was drained");
    };
    running.drain_until(cut).await;
    anyhow::ensure!(reason != EndReason::Failure, "a worker thread ended by itself");
    Ok(())
}

/// Why a gateway ends.
#[derive(Clone, Copy, PartialEq)]
enum EndReason {
    Drain,
    AtOnce,
    Failure,
    TakenOver,
}

impl EndReason {
    /// The words for the log and for the service manager.
    fn as_str(self) -> &'static str {
        match self {
            Self::Drain | Self::Failure => "draining",
            Self::AtOnce => "ending at once",
            Self::TakenOver => "taken over by a successor, draining",
        }
    }
}

/// Returns when one of the two signals has arrived. SIGTERM and SIGINT mean the same: the first
/// comes from a service manager, the second from a terminal.
async fn any(signals: &mut [Signal; 2]) {
    let [first, second] = signals;
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
}

/// Reads the configuration for a reload. The error is the whole report of its problems.
fn read(path: &Path) -> Result<Config, String> {
    load(path).map(|loaded| loaded.config).map_err(|failure| match failure {
        CommandError::Config(found) => report(&found, ReportFormat::Human),
        CommandError::Unavailable => "somebody cannot be reached".to_owned(),
        CommandError::Usage(error) | CommandError::Other(error) => format!("{error:#}"),
    })
}
