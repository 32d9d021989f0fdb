//! Upstreams: pools of servers, the connections to them, and the forwarding of requests and
//! answers.
//!
//! A request comes with its final header fields: `headers::strip_inbound`, the decision (in the
//! pipeline), `headers::remove_credentials`, `headers::set_forwarded`, `headers::set_identity` and
//! the route's `HeaderEdits` come before `UpstreamPool::forward`. Nothing here answers a client: a
//! failure is a `ForwardError`, which states whose fault it is. Connections are kept per worker, so
//! that requests share no lock, unless their number is limited. The pipeline is the caller.

mod attempt;
mod balance;
mod connect;
mod connection;
mod connection_limit;
mod context;
mod credential;
mod credential_headers;
mod deadline;
mod echo;
mod error;
mod forward;
mod handshake;
mod health;
mod idle_connections;
mod lifetime;
mod lock;
mod outlier;
mod pick;
mod pool;
mod probe;
mod proxy_header;
mod reach;
mod replay;
mod request;
mod resolve;
mod response;
mod retry_budget;
mod reuse_trust;
mod send;
mod server;
mod state;
mod transport;
mod upgrade;
mod upgrade_request;
mod upstream_login;
mod websocket;

pub use self::context::{ForwardContext, ForwardedResponse};
pub use self::error::{ConnectError, FaultSide, ForwardError, PoolBuildError, RequestFault};
pub use self::lifetime::{CancellationSources, RouteCancellation, StreamLifetime};
pub use self::pool::{PoolSnapshot, UpstreamPool};
pub use self::replay::BodyMemory;
pub use self::server::ServerSnapshot;
pub use self::state::ServerCondition;
