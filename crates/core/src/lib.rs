//! Parts that all of Tollhouse shares: time, secrets, identities, algorithms, strict JSON, single
//! flight, bounded caches.
//!
//! Most of it is plain data with its rules. Nothing here opens a file or a socket, and nothing
//! knows of configurations, requests or stores.

pub mod algorithm;
pub mod bounded_cache;
pub mod clock;
pub mod format;
pub mod identity;
pub mod secret;
pub mod single_flight;
pub mod spread;
pub mod strict_json;
