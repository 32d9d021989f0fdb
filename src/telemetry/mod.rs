//! Logs and metrics: the access log, the audit log, the metrics and the diagnostics.
//!
//! Access and audit lines go through a `LineWriter`, which has a buffer and a thread, so that no
//! request ever waits for a write. `tracing` is used for diagnostics only. No credential is passed
//! to anything in this room.

pub mod access_line;
pub mod access_record;
pub mod audit;
mod gauges;
mod histogram;
mod json;
pub mod line_writer;
pub mod log_format;
pub mod metrics;
pub mod report_only;
