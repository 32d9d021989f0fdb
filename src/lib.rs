//! Tollhouse: an authentication gateway for legacy APIs.

pub mod algorithm;
pub mod body;
pub mod client;
pub mod clock;
pub mod config;
pub mod dialect;
pub mod identity;
pub mod listener;
pub mod runtime;
pub mod secret;
pub mod session;
pub mod telemetry;
pub mod token;
pub mod users;
