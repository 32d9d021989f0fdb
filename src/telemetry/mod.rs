//! What the gateway tells about itself: access and audit lines, metrics, diagnostics.
//!
//! Access and audit lines go through `Sink`s (a buffer each, never a write per request);
//! `tracing` is for diagnostics only. Nothing here ever sees a credential.

pub mod audit;
mod gauges;
mod histogram;
mod json;
pub mod log_format;
pub mod metrics;
pub mod observed;
pub mod record;
pub mod sink;
