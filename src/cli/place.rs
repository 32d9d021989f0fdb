//! The place of the gateway that a command is about: its configuration, or its state folder alone.
//!
//! Commands for a running gateway are sent to the admin socket in the state folder. They need
//! nothing else of the configuration.

use std::path::PathBuf;

use super::CommandError;
use crate::config;

/// The place as the command line names it. Commands that read the configuration use its path, and
/// commands for a running gateway use `state_dir`. Both arguments are accepted by every command.
pub(super) struct GatewayPlace {
    pub(super) config: PathBuf,
    /// The argument `--state`.
    pub(super) state: Option<PathBuf>,
}

impl GatewayPlace {
    /// The folder with the admin socket. A command for a running gateway must also work in an
    /// emergency: a half-edited configuration, or a password that only the service's environment
    /// has, must not prevent an operator from ending a session.
    pub(super) fn state_dir(&self) -> Result<PathBuf, CommandError> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        config::load_state_dir(&self.config).map_err(|issues| {
            eprintln!("tollhouse: name the gateway's state folder with --state DIR, or mend this:");
            CommandError::config(issues)
        })
    }
}
