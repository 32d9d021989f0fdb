//! Durations in a dialect's file: `"15m"`, `"24h"`.

use std::time::Duration;

use super::problem::DialectProblems;

/// A duration longer than zero; anything else is reported as a problem at the key path `at`. A
/// duration of zero would make tokens that are expired when they are issued.
pub(super) fn check_duration(
    text: &str,
    at: &str,
    problems: &mut DialectProblems,
) -> Option<Duration> {
    let found = duration(text).filter(|duration| !duration.is_zero());
    if found.is_none() {
        problems.add(at, text, "must be a number and a unit, for example \"15m\" or \"24h\"");
    }
    found
}

/// Parses a duration such as `"90s"`, `"15m"`, `"24h"`, `"7d"` or `"500ms"`: a whole number and one
/// unit. `None` for anything else, and for a number that is too large.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let secs = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    number.checked_mul(secs).map(Duration::from_secs)
}
