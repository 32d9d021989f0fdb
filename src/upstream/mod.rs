//! Upstreams: pools of servers, the connections to them, and the forwarding of requests and
//! answers.
//!
//! A request passes in this order: `headers::strip_inbound`, then the decision (in the pipeline),
//! then `headers::remove_credentials`, `headers::set_forwarded`, `headers::set_identity`, the
//! route's `Rules`, and `Pool::forward`. Nothing here answers a client: a failure is a
//! `ForwardError`, which states whose fault it is. Connections are kept per worker, so that
//! requests share no lock, unless their number is limited. The pipeline is the caller.

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
mod reach;
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
