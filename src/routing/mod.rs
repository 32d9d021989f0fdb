//! What a request is for: one reading of its target, and the table of routes and endpoints.
//!
//! `Target::parse` refuses what can be read in two ways; `RouteTable::find` chooses by host, then
//! path, then method. The path is matched decoded and forwarded byte for byte, so the property
//! that holds is decode(forwarded) = matched.

mod framing;
mod path;
mod pattern;
mod table;
mod target;
mod tree;

pub use self::path::Oddities;
pub use self::pattern::{Pattern, PatternError};
pub use self::table::{EndpointPlacement, Found, Placement, RouteTable};
pub use self::target::{Target, TargetError};
pub use self::tree::AmbiguousPath;
