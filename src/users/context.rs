//! The parts of the gateway that user sources are opened with.

use std::sync::Arc;

use crate::clock::Clock;
use crate::passwords::HashPool;
use crate::session::Store;

/// Shared parts of the gateway that sources need.
#[derive(Clone, Debug)]
pub struct SourceContext {
    pub hashing: Arc<HashPool>,
    /// Where facts about users are remembered whom a source shows only together with their
    /// password.
    pub store: Arc<dyn Store>,
    pub clock: Clock,
}
