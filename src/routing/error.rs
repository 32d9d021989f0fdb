//! The refusal of a request whose target or framing can be read in two ways.

use crate::dialect::Reason;

/// A refusal of a request before routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct TargetError {
    pub reason: Reason,
    /// The fault in words, for the log only.
    pub cause: &'static str,
}
