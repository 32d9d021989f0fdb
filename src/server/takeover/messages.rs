//! The words of a takeover. Each message is a line of JSON; descriptors follow the offer.
//!
//! Both processes may be of different versions. A message that one of them does not know ends the
//! takeover, and the running gateway serves on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::settings::BindAddress;

/// Said by the process that wants to go on.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SuccessorMessage {
    /// The first word, with the version of the program.
    Hello { version: String },
    /// Everything but the store is prepared. `taken` are the places in the offer of the sockets that
    /// are wanted.
    Prepared { taken: Vec<usize> },
    /// The store is open, and nothing that can fail is left.
    Opened,
}

/// Said by the gateway that runs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PredecessorMessage {
    /// The parts that can be taken over. The descriptors follow, in the same order.
    Offer(TakeoverOffer),
    /// The store is closed, and nobody accepts.
    StoreReleased,
    /// The successor may accept.
    Drains,
    /// The gateway goes on.
    Refused { why: String },
}

/// The parts of a gateway that its successor can take over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TakeoverOffer {
    pub(super) version: String,
    /// The schema of the store's file, if it has one.
    pub(super) store_schema: Option<u64>,
    pub(super) service: Option<ServiceLink>,
    pub(super) addresses: Vec<OfferedAddress>,
}

/// An address with its number of sockets.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OfferedAddress {
    pub(super) at: AddressText,
    pub(super) sockets: usize,
}

/// The address of a listener as configured, with an absolute path.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AddressText {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Fd(String),
}

impl From<&BindAddress> for AddressText {
    fn from(bind: &BindAddress) -> Self {
        match bind {
            BindAddress::Tcp(address) => Self::Tcp(*address),
            BindAddress::Unix(path) => Self::Unix(path.clone()),
            BindAddress::Descriptor(name) => Self::Fd(name.clone()),
        }
    }
}

impl From<AddressText> for BindAddress {
    fn from(text: AddressText) -> Self {
        match text {
            AddressText::Tcp(address) => Self::Tcp(address),
            AddressText::Unix(path) => Self::Unix(path),
            AddressText::Fd(name) => Self::Descriptor(name),
        }
    }
}

/// How a process speaks to the service manager that has started it (`sd_notify(3)`). A successor
/// goes on to use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLink {
    /// The path of the socket; an abstract name begins with `@`.
    pub socket: String,
    /// The time after which a process without progress is killed; `None`: there is no watchdog.
    pub watchdog: Option<Duration>,
}
