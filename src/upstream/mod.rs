//! Upstreams: pools of servers, the connections to them, and the forwarding of requests and
//! answers.
//!
//! Three rooms, each of which uses only those above it: `connection` opens, keeps and limits
//! connections; `pool` has the servers, their health and the choice among them; `forward` sends a
//! request and prepares its answer.
//!
//! A request comes with its final header fields: `headers::strip_inbound`, the decision (in the
//! pipeline), `headers::remove_credentials`, `headers::set_forwarded`, `headers::set_identity` and
//! the route's `HeaderEdits` come before `UpstreamPool::forward`. Nothing here answers a client: a
//! failure is a `ForwardError`, which states whose fault it is. Connections are kept per worker, so
//! that requests share no lock, unless their number is limited. The pipeline is the caller.

mod connection;
mod error;
mod forward;
mod pool;

pub use self::error::{
    ConnectError, FaultSide, ForwardError, MintError, PoolBuildError, RequestFault,
};
pub use self::forward::{
    BodyMemory, CallerSession, CancellationSources, ForwardContext, ForwardedResponse,
    RouteCancellation, StreamLifetime,
};
pub use self::pool::{
    CapturedRequest, PoolSnapshot, ServerCondition, ServerSnapshot, UpstreamPool,
};
