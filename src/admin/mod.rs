//! What operators ask of a running gateway.
//!
//! Probes are answered from `health`; commands come over a unix socket in the state folder and
//! are parsed by `api`; the command line asks them through `client`. Nothing here carries a
//! command out.

pub mod api;
pub mod client;
pub mod health;

pub use self::api::AdminCommand;
pub use self::health::Readiness;

/// The unix socket's name in the state folder.
pub const SOCKET: &str = "admin.sock";
