//! The meaning of a presented refresh token: fresh, repeated, stolen or unknown (RFC 9700, section
//! 4.14.2).
//!
//! Both stores decide by this, so that a client gets the same answer whatever the store is. The
//! functions are public for the search through the protocol in
//! `crates/store/tests/store/protocol.rs`.

use std::time::Duration;

use tollhouse_core::clock::Timestamp;

use crate::{RefreshGeneration, RefreshRotation};

/// A refresh token that was given out less than this ago is not replaced by a refresh. A client
/// that refreshes in a loop then does not cause one rotation after another.
///
/// It is longer than any operation takes. If a client presents a token several times at once, and
/// the successor, once it was given out, could be retired before the last of these requests is
/// decided, then the presented token would be older than the retired one, and its owner taken for a
/// thief.
const FRESH: Duration = Duration::from_secs(1);

/// The step that a presented refresh token leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationStep {
    /// It is the working token: it gets a successor.
    Rotate,
    /// It is the working token and so new that it stays.
    Fresh,
    /// It was retired just now: the same successor is the answer again.
    Grace,
    /// It was retired before the grace period: somebody has a copy.
    Reuse,
    /// Neither it nor the working token names a generation, as in tokens of early versions. Only a
    /// list of retired tokens can tell whether it is one of them.
    Unnamed,
    /// It is none of the tokens that were retired. That happens after the store was restored from a
    /// backup, and is no sign of theft.
    Unknown,
}

/// Compares the presented token with the tokens of the session.
pub fn next_step(
    generation: &RefreshGeneration,
    rotation: &RefreshRotation,
    now: Timestamp,
) -> RotationStep {
    if rotation.presented == generation.current {
        let made = generation.retired.map(|(_, at)| at);
        let mut given_out = made.into_iter().chain(generation.repeated);
        let is_fresh = given_out.any(|at| is_within(now, at, FRESH));
        return if is_fresh { RotationStep::Fresh } else { RotationStep::Rotate };
    }
    if let Some((retired, at)) = generation.retired
        && retired == rotation.presented
    {
        let is_grace = is_within(now, at, rotation.grace);
        return if is_grace { RotationStep::Grace } else { RotationStep::Reuse };
    }
    match rotation.generation {
        Some(number) if number < generation.number => RotationStep::Reuse,
        Some(_) => RotationStep::Unknown,
        // If the working token has a generation number, every token without one is older.
        None if generation.is_named => RotationStep::Reuse,
        None => RotationStep::Unnamed,
    }
}

/// The tokens of the session after the rotation.
pub fn successor(
    generation: &RefreshGeneration,
    rotation: &RefreshRotation,
    now: Timestamp,
) -> RefreshGeneration {
    RefreshGeneration {
        number: generation.number.saturating_add(1),
        is_named: true,
        current: rotation.successor,
        expires: rotation.expires,
        retired: Some((rotation.presented, now)),
        repeated: None,
    }
}

/// The tokens of the session after the working token was given out again within grace.
pub fn repeated(generation: &RefreshGeneration, now: Timestamp) -> RefreshGeneration {
    RefreshGeneration { repeated: Some(now), ..generation.clone() }
}

/// True if `now` is less than `span` from `at`, in either direction. Operations do not arrive in
/// the order of their `now`, so `at` may be the later one. The distance is bounded both ways: a
/// clock that was set back far must not re-open a period that ended long ago.
fn is_within(now: Timestamp, at: Timestamp, span: Duration) -> bool {
    now.since(at) < span && at.since(now) < span
}
