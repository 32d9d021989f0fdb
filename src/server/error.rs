//! The reasons for which a gateway does not start.
//!
//! Each message names the setting or the file to change. The command line tells by
//! `is_configuration` whether another attempt could succeed without a change.

use std::io;
use std::path::{Path, PathBuf};

use super::takeover::TakeoverError;
use crate::algorithm::Algorithm;
use crate::gateway::BuildError;
use crate::listener::BindError;
use crate::session::shared::SharedOpenError;
use crate::session::{StoreError, StoreOpenError};
use crate::token::KeyError;
use crate::users::BootstrapError;

/// The reason why a gateway did not start. Each message names the setting or the file to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "the state folder `{}` cannot be used: `[state] dir` names another, which this user may \
         write to",
        path.display()
    )]
    State {
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error(
        "[admin] socket: the state folder `{}` cannot be given to the group `{group}`: the \
         gateway's user has to be a member of it",
        path.display()
    )]
    AdminGroup {
        path: PathBuf,
        group: String,
        #[source]
        source: io::Error,
    },

    #[error("[admin] socket: its group would reach more than the socket")]
    AdminEntries(#[source] io::Error),

    #[error("the threads cannot be started")]
    Threads(#[source] io::Error),

    #[error("[log] {name}: `{}` cannot be written", path.display())]
    Log {
        name: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("signing keys")]
    Keys(#[from] KeyError),

    #[error("{}", missing_key(needed_by, *algorithm, folder))]
    NoKey { needed_by: String, algorithm: Algorithm, folder: PathBuf },

    #[error(transparent)]
    Store(#[from] StoreOpenError),

    #[error("[store]: {0}")]
    SharedDatabase(#[from] SharedOpenError),

    #[error("[store]: the shared store cannot be opened")]
    SharedStore(#[source] StoreError),

    #[error("sessions cannot be compared with their users")]
    Review(#[from] StoreError),

    #[error("the first user cannot be made")]
    FirstUser(#[from] BootstrapError),

    #[error(transparent)]
    Build(#[from] BuildError),

    #[error(transparent)]
    Bind(#[from] BindError),

    #[error(transparent)]
    Takeover(#[from] TakeoverError),
}

impl StartError {
    /// True if the configuration, or a file that it names, has to be changed before another
    /// attempt. The command line then ends with another exit code. All other errors may go away by
    /// themselves, so a service manager may try again.
    pub fn is_configuration(&self) -> bool {
        if let Self::SharedDatabase(error) = self {
            return !error.is_temporary();
        }
        if let Self::Keys(error) = self {
            return !error.is_temporary();
        }
        matches!(
            self,
            Self::State { .. }
                | Self::AdminGroup { .. }
                | Self::AdminEntries(_)
                | Self::Log { .. }
                | Self::Bind(BindError::Certificates { .. })
                | Self::NoKey { .. }
                | Self::FirstUser(_)
                | Self::Build(_)
        )
    }
}

/// The text of `NoKey`: what is missing, and what would be accepted.
fn missing_key(needed_by: &str, algorithm: Algorithm, folder: &Path) -> String {
    let name = algorithm.as_str();
    let folder = folder.display();
    let kind = match algorithm {
        Algorithm::ES256 => "a P-256 key".to_owned(),
        Algorithm::ES384 => "a P-384 key".to_owned(),
        Algorithm::EdDSA => "an Ed25519 key".to_owned(),
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            format!("a secret of at least {} bytes as a JWK", algorithm.min_secret())
        }
        _ => format!("an RSA key of its own, called NAME.{name}.pem,"),
    };
    format!(
        "{needed_by} signs with {name}, but no key in the folder `{folder}` does: put {kind} \
         there, or name another `algorithm`"
    )
}
