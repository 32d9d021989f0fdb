//! Durations as text: `"500ms"`, `"30s"`, `"15m"`, `"12h"`, `"7d"`.
//!
//! A duration is one whole number and one unit. A bare number is refused, because one operator
//! reads it as seconds and another as milliseconds. Sums such as `1h30m` are not accepted: `90m`
//! says the same. All durations of the configuration are read and printed here.

use std::time::Duration;

/// Units from the longest to the shortest, in milliseconds.
const UNITS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses a duration. `parse` and `render` are inverse to each other. No space is accepted between
/// number and unit; the error shows the text without it.
///
/// # Errors
/// A text that says what would be accepted; it follows the value in a message.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let Ok(number) = number.parse::<u64>() else {
        return Err("is no duration: write a number and a unit, for example \"30s\"".to_owned());
    };
    if unit.is_empty() {
        return Err(bare(number));
    }
    let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit.trim_start()) else {
        // The unit that was probably meant is suggested: `min` becomes `m`, `hours` becomes `h`,
        // and anything else is taken for seconds. Only the suggestion is generous: nothing but the
        // exact unit is accepted, so the same text never means two things.
        let meant = match unit.trim_start().as_bytes() {
            [b'm', b's', ..] => "ms",
            [b'm' | b'M', ..] => "m",
            [b'h' | b'H', ..] => "h",
            [b'd' | b'D', ..] => "d",
            _ => "s",
        };
        return Err(format!("has no unit of ours (ms, s, m, h, d): write \"{number}{meant}\""));
    };
    if unit.starts_with(' ') {
        return Err(format!("has a space in it: write \"{number}{}\"", unit.trim_start()));
    }
    let millis = number.checked_mul(*millis);
    millis.map(Duration::from_millis).ok_or_else(|| "is too long to count".to_owned())
}

/// The message about a number without a unit.
pub(crate) fn bare(number: impl std::fmt::Display) -> String {
    format!("needs a unit (ms, s, m, h, d): write \"{number}s\"")
}

/// The duration in the longest unit that divides it exactly, so that `parse` returns the same
/// duration. Fractions of a millisecond are cut off; the configuration cannot express them. `0s`
/// stands for zero in every unit.
pub(crate) fn render(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let exact = UNITS.iter().find(|(_, unit)| millis.is_multiple_of(*unit));
    exact.map(|(name, unit)| format!("{}{name}", millis / unit)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_survive_being_written_and_read() {
        for text in ["0s", "1ms", "1500ms", "30s", "90s", "15m", "24h", "36h", "30d"] {
            let duration = parse(text).unwrap();
            assert_eq!(parse(&render(duration)).unwrap(), duration, "{text}");
        }
        assert_eq!(render(Duration::from_secs(7200)), "2h");
    }

    #[test]
    fn what_is_no_duration_is_refused_with_a_remedy() {
        for (text, hint) in [
            ("30", "write \"30s\""),
            ("", "write a number and a unit"),
            ("fast", "write a number and a unit"),
            ("1.5s", "no unit of ours"),
            ("-5s", "write a number and a unit"),
            ("5 s", "write \"5s\""),
            ("5min", "write \"5m\""),
            ("99999999999999999d", "too long to count"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(hint), "{text}: {message}");
        }
    }
}
