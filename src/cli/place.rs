//! The place of the gateway that a command is about: its configuration, or its state folder alone.
//!
//! Commands for a running gateway are sent to the admin socket in the state folder. They need
//! nothing else of the configuration.

use std::path::{Path, PathBuf};

use super::CommandError;
use crate::config;

/// The configuration of whoever tries the program in a folder of their own.
pub(super) const HERE: &str = "gateway.toml";
/// The configuration that the packages install.
const INSTALLED: &str = "/etc/tollhouse/gateway.toml";

/// The configuration if nobody names one. The one in this folder comes first, so that a gateway can
/// be tried out on a machine that has one installed. If neither exists, messages name the first.
pub(super) fn default_config() -> PathBuf {
    let choice =
        if !Path::new(HERE).exists() && Path::new(INSTALLED).exists() { INSTALLED } else { HERE };
    PathBuf::from(choice)
}

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
