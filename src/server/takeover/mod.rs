//! One gateway takes over from another on the same machine, and no client notices
//! (`tollhouse run --takeover`).
//!
//! The new process (the successor) asks the running gateway (the predecessor) over the admin socket.
//!
//! 1. The successor gets further descriptors of the listening sockets, checks its configuration and
//!    prepares everything that two gateways can have at the same time. The predecessor serves on.
//! 2. The successor says that it is prepared. The predecessor retires its connections: each answer is
//!    the last of its connection. Then it ends accepting and closes the store, which only one process
//!    can have. Clients who connect now wait in the queues of the sockets.
//! 3. The successor opens the store, and says so when nothing that can fail is left. The predecessor
//!    drains, and the successor accepts.
//!
//! If the successor ends or hangs before the last step, the predecessor opens the store again and
//! accepts on. Every step has a time limit.

mod channel;
mod messages;
mod predecessor;
mod successor;

use std::io;

pub use self::messages::ServiceLink;
pub(super) use self::predecessor::Predecessor;
pub(super) use self::successor::begin;

use crate::admin::client::CallError;
use crate::format::error_chain;

/// The reason why a gateway could not be taken over. It serves on.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    #[error("the running gateway cannot be asked for its sockets")]
    Call(#[source] CallError),

    #[error("the running gateway keeps its sockets: {0}")]
    Refused(String),

    #[error("the other gateway was lost while {step}")]
    Channel {
        step: &'static str,
        #[source]
        source: io::Error,
    },

    #[error("the sockets of the running gateway cannot be passed on")]
    Socket(#[source] io::Error),
}

impl TakeoverError {
    /// For `map_err` of a step on the channel.
    fn at(step: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Channel { step, source }
    }

    /// The error with its causes, for the log.
    fn text(&self) -> String {
        error_chain(self)
    }
}
