//! Certificates that an authority issues by ACME (RFC 8555): ordered at the first start, renewed
//! before they end, kept in the state folder.
//!
//! `AcmeRenewal` looks after one certificate: it decides when an order is due (`schedule`), places
//! it (`order`), and writes the result (`files`), which the listener then reads like any other
//! file. The authority verifies the names by a challenge; `Challenges` holds the answers, which the
//! listener gives over TLS and the pipeline over plain HTTP. If an order fails, the last certificate
//! stays, and the next order waits longer each time. No request of a client waits for any of this.
//!
//! A build without the feature `acme` orders nothing; its configuration refuses `acme`.

#[cfg(feature = "acme")]
mod certificate;
#[cfg_attr(not(feature = "acme"), allow(dead_code, reason = "nothing is ever ordered"))]
mod challenges;
#[cfg_attr(not(feature = "acme"), allow(dead_code, reason = "nothing is ever ordered"))]
mod conditions;
#[cfg_attr(not(feature = "acme"), allow(dead_code, reason = "nothing is ever ordered"))]
mod files;
#[cfg(feature = "acme")]
mod http_client;
#[cfg(feature = "acme")]
mod order;
mod reach;
#[cfg(feature = "acme")]
mod renewal;
#[cfg(feature = "acme")]
mod schedule;
#[cfg(not(feature = "acme"))]
mod without_acme;

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Clock;
use crate::runtime::BackgroundRuntime;
use crate::telemetry::metrics::Metrics;

pub use self::challenges::{ChallengeError, Challenges};
pub(crate) use self::challenges::{is_challenge, is_challenge_only};
pub(crate) use self::conditions::AcmeConditions;
pub(crate) use self::files::certificate_path;
pub(crate) use self::reach::reach;
#[cfg(feature = "acme")]
pub(crate) use self::renewal::AcmeRenewal;
#[cfg(not(feature = "acme"))]
pub(crate) use self::without_acme::AcmeRenewal;

/// The parts of a gateway that a renewal needs.
#[derive(Clone)]
#[cfg_attr(not(feature = "acme"), allow(dead_code, reason = "nothing is ever ordered"))]
pub(crate) struct AcmeContext {
    /// The state folder.
    pub(crate) state: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) background: BackgroundRuntime,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) conditions: Arc<AcmeConditions>,
    /// Has the listeners serve a certificate that was written. It blocks on files.
    pub(crate) served: Arc<dyn Fn() + Send + Sync>,
}
