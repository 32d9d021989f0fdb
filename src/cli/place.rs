//! Where the gateway is that a command is about: its file, and its state folder.

use std::path::PathBuf;

use super::Failure;
use crate::config::Config;

/// As the command line names it.
pub(super) struct GatewayPlace {
    pub(super) config: PathBuf,
    /// `--state`.
    pub(super) state: Option<PathBuf>,
}

impl GatewayPlace {
    /// The folder with the admin socket. A command for a running gateway must work for whoever
    /// stands at the machine at night: half an edit in the file, or a password that only the
    /// service's environment has, is no reason not to end a session.
    pub(super) fn state_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        Config::load_state_dir(&self.config).map_err(|issues| {
            eprintln!("tollhouse: name the gateway's state folder with --state DIR, or mend this:");
            Failure::config(issues)
        })
    }
}
