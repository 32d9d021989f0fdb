//! `tollhouse check`.

use std::path::Path;

use clap::Args;

use super::{Failure, load, say};
use crate::clock::Clock;
use crate::config::Issues;
use crate::server;

#[derive(Debug, Default, Args)]
pub(super) struct CheckArgs {
    /// Show the configuration that is in effect, secrets hidden.
    #[arg(long)]
    print: bool,
}

/// Reports every problem; with `--print`, the configuration in effect on standard output.
pub(super) fn check(path: &Path, args: &CheckArgs) -> Result<(), Failure> {
    let loaded = load(path)?;
    if !loaded.warnings.is_empty() {
        eprintln!("{}", Issues::new(path, loaded.warnings));
    }
    let keys = server::check_keys(&loaded.config, Clock::default().now());
    let mut refused = server::check_users(&loaded.config).into_iter().chain(keys);
    if let Some(first) = refused.next() {
        for error in refused {
            eprintln!("tollhouse: {:#}", anyhow::Error::new(error));
        }
        return Err(first.into());
    }
    if args.print {
        say(loaded.config.print().trim_end())?;
    } else {
        say(format_args!("{}: ok", path.display()))?;
    }
    Ok(())
}
