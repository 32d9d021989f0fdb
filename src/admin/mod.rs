//! What operators ask of a running gateway.
//!
//! `serve` answers on their own listeners: probes from `health`, metrics, and on the unix socket
//! in the state folder the commands that `api` reads and `operations` carries out. The command
//! line asks through `client`.

pub mod api;
mod api_keys;
pub mod client;
pub mod health;
mod imported;
mod limits;
mod observed;
mod operations;
mod reload;
mod serve;
mod sessions;
pub(crate) mod socket_access;
mod status;
mod totp;
mod upstreams;

pub use self::api::AdminCommand;
pub use self::health::Readiness;
pub use self::operations::ConfigSource;
pub(crate) use self::operations::Operations;
pub(crate) use self::serve::{SocketDoor, TcpDoor};

/// The unix socket's name in the state folder.
pub const SOCKET: &str = "admin.sock";
