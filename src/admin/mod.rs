//! The side of the operators of a running gateway.
//!
//! `serve` answers on listeners of its own: probes from `health`, metrics, and on the unix socket
//! in the state folder the commands that `api` parses and `execute` carries out. The command
//! line asks through `client`. Nothing of this is reachable through the listeners for clients.

pub mod api;
mod api_keys;
pub mod client;
mod execute;
mod explain;
mod gauges;
pub mod health;
mod imported;
mod limits;
mod operations;
mod probe_listener;
mod reload;
mod report_only;
mod serve;
mod sessions;
mod signing_keys;
pub(crate) mod socket_access;
mod status;
mod takeover_door;
mod totp;
mod upstreams;

pub use self::api::AdminCommand;
pub use self::health::ReadinessReport;
pub(crate) use self::operations::AdminOperations;
pub use self::operations::ConfigSource;
pub(crate) use self::serve::{SocketDoor, TcpDoor};
pub(crate) use self::takeover_door::{
    ArrivedSuccessor, TAKEOVER_PATH, TAKEOVER_PROTOCOL, TakeoverDoor,
};

/// The name of the unix socket in the state folder. Commands find it through the configuration, so
/// every gateway with its own state folder has its own socket.
pub const SOCKET: &str = "admin.sock";
