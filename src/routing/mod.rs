//! Routing: one reading of a request's target, and the table of routes and login endpoints.
//!
//! `Target::parse` refuses a target that can be read in two ways. `RouteTable::find` then chooses
//! by host, then by path, then by method. The path is matched in its decoded form and forwarded
//! byte for byte as received.
//!
//! Invariant: decode(forwarded path) = matched path. The pipeline calls both functions once a
//! request; `gateway` builds the table when a configuration is loaded.

mod candidates;
mod error;
mod framing;
mod path;
mod pattern;
mod table;
mod target;
mod tree;

pub use self::candidates::{EndpointCandidate, RouteLoss};
pub use self::error::TargetError;
pub use self::path::PathAnomalies;
pub use self::pattern::{Pattern, PatternError};
pub use self::table::{LoginEntry, RouteEntry, RouteMatch, RouteTable};
pub use self::target::Target;
pub use self::tree::PathConflict;
