//! Upstreams: pools of servers, the connections kept to them, and the way a request goes there
//! and its answer comes back.
//!
//! A request passes through here in this order: `headers::strip_inbound`, then (elsewhere) the
//! decision, then `headers::remove_credentials`, `headers::set_forwarded`,
//! `headers::set_identity`, the route's `Rules`, and `Pool::forward`. Nothing here answers a
//! client: what goes wrong is a `ForwardError`, which says whose fault it is. Connections are
//! kept per worker, so that no lock is shared on the way, unless their number is limited.

pub mod headers;

mod attempt;
mod balance;
mod budget;
mod connect;
mod credential;
mod echo;
mod error;
mod extended_connect;
mod forward;
mod health;
mod link;
mod opening;
mod outlier;
mod own_login;
mod permits;
mod pick;
mod pool;
mod preface;
mod request;
mod resolve;
mod response;
mod reuse_trust;
mod server;
mod shelf;
mod spare;
mod state;
mod transport;
mod upgrade;
mod watch;
mod websocket;

pub use self::error::{ConnectError, Fault, ForwardError, PoolError, RequestFault};
pub use self::extended_connect::{as_upgrade, is_by_connect};
pub use self::forward::{Exchange, Forwarded};
pub use self::pool::{Pool, PoolSnapshot};
pub use self::server::ServerSnapshot;
pub use self::spare::BodyMemory;
pub use self::state::Condition;
pub use self::watch::{Ends, RouteEnd, Watch};
