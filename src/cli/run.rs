//! `tollhouse run`: serves until a signal says otherwise.

use std::io::{self, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{Failure, load};
use crate::config::{Config, LogFormat};
use crate::listener::Descriptors;
use crate::server::{self, FirstUser, Options, Running};

#[derive(Debug, Default, Args)]
pub(super) struct RunArgs {
    /// Start with an empty store although signing keys exist: every session is lost.
    #[arg(long)]
    new_state: bool,
}

/// Serves; returns after a drain.
pub(super) fn run(path: &Path, args: &RunArgs) -> Result<(), Failure> {
    let loaded = load(path)?;
    subscribe(loaded.config.log.format);
    for warning in &loaded.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    let options = Options {
        new_state: args.new_state,
        descriptors: Descriptors::from_environment(&super::environment),
        source: Some(read),
        ..Options::default()
    };
    let config = loaded.config.clone();
    // Caught from before the first connection on: a signal must never meet its default then.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _inside = runtime.enter();
        Signals::catch().context("signals cannot be caught")?
    };
    let running = server::start(loaded.config, options).map_err(anyhow::Error::from)?;
    if let Some(user) = running.first_user() {
        welcome(user, &config, &running)?;
    }
    Ok(runtime.block_on(serve(running, path, signals))?)
}

/// What an operator, or the system, can tell the process.
struct Signals {
    stop: [Signal; 2],
    reload: Signal,
    reopen: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            stop: [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?],
            reload: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
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

/// Waits on signals. The second one that asks to stop ends the process at once.
async fn serve(running: Running, path: &Path, signals: Signals) -> anyhow::Result<()> {
    let Signals { mut stop, mut reload, mut reopen } = signals;
    let failed = loop {
        tokio::select! {
            () = any(&mut stop) => break false,
            () = running.failed() => break true,
            _ = reload.recv() => report_reload(&running, path),
            _ = reopen.recv() => running.reopen_logs(),
        }
    };
    tracing::info!("draining");
    tokio::select! {
        () = running.drain() => {}
        () = any(&mut stop) => tracing::warn!("stopped before everything was drained"),
    }
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
        Failure::Config(issues) => issues.to_string(),
        Failure::Other(error) => format!("{error:#}"),
    })
}

fn report_reload(running: &Running, path: &Path) {
    match running.reload(|| read(path)) {
        Ok(()) => tracing::info!("reloaded"),
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::error!("not reloaded, the last configuration stays: {error:#}");
        }
    }
}

/// Diagnostics go to standard error; `TOLLHOUSE_LOG`, else `RUST_LOG`, says which.
fn subscribe(format: LogFormat) {
    let filter = EnvFilter::try_from_env("TOLLHOUSE_LOG")
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Fails only if there is a subscriber already, which then is as good.
    let _ = match format {
        LogFormat::Json => subscriber.json().flatten_event(true).with_span_list(false).try_init(),
        LogFormat::Pretty => {
            subscriber.with_ansi(io::stderr().is_terminal()).with_target(false).try_init()
        }
    };
}

/// Tells the first user's password once: to a terminal, else into a file that only its owner
/// reads, since standard output may be anybody's log.
fn welcome(user: &FirstUser, config: &Config, running: &Running) -> Result<(), Failure> {
    let password = user.password.expose();
    let shown = if io::stdout().is_terminal() {
        password.clone()
    } else {
        let file = config.state.dir.join("first-password");
        let mut options = std::fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&file);
        let told = opened.and_then(|mut opened| {
            io::Write::write_all(&mut opened, format!("{password}\n").as_bytes())
        });
        told.with_context(|| format!("could not write {}", file.display()))?;
        format!("$(cat {})", file.display())
    };
    let address = running.addresses().first().map(ToString::to_string).unwrap_or_default();
    // The gateway serves whether or not somebody reads this.
    let _ = super::say(pastes(user, &shown, &address).trim_end());
    Ok(())
}

/// What to paste for each dialect.
fn pastes(user: &FirstUser, password: &str, address: &str) -> String {
    let FirstUser { name, email, .. } = user;
    format!(
        r#"
This is the first start: there is one user now, `{name}` ({email}), whose password is shown this
once. Paste, in another terminal:

  PASSWORD="{password}"
  GATEWAY=https://{address}

  # native
  curl -k $GATEWAY/auth/login --json '{{"username":"{name}","password":"'"$PASSWORD"'"}}'
  curl -k $GATEWAY/hello -H "Authorization: Bearer $ACCESS_TOKEN"
  # webitel
  curl -k $GATEWAY/login --json '{{"username":"{name}","password":"'"$PASSWORD"'"}}'
  curl -k $GATEWAY/api/v2/calls -H "X-Access-Token: $TOKEN" -H "X-Key: $KEY"
  # datarhei
  curl -k $GATEWAY/api/login --json '{{"username":"{name}","password":"'"$PASSWORD"'"}}'
  # aviate
  curl -k -X POST $GATEWAY/plugins/aviate-plugin/v1/auth -u "{email}:$PASSWORD"
  # nomic
  curl -k -X POST $GATEWAY/api/auth/token -u "{name}:$PASSWORD"
  # avenia (mails a code: see [mail] in gateway.toml)
  curl -k $GATEWAY/v2/auth/login --json '{{"email":"{email}","password":"'"$PASSWORD"'"}}'
"#
    )
}
