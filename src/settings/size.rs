//! Sizes as text: `"512B"`, `"64KiB"`, `"10MiB"`, `"1GiB"`.
//!
//! Only binary units are accepted. `10MB` means 10 · 2^20 bytes to nginx and 10 · 10^6 bytes to
//! most other programs, so it is refused together with a suggestion. All sizes of the configuration
//! are read and printed here.

/// Units from the largest to the smallest.
const UNITS: &[(&str, u64)] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Parses a size in bytes. The error follows the value in a message and says what would be
/// accepted. `parse` and `render` are inverse to each other. A size that does not fit into 64 bits
/// is refused.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let Ok(number) = number.parse::<u64>() else {
        return Err("is no size: write a number and a unit, for example \"10MiB\"".to_owned());
    };
    if unit.is_empty() {
        return Err(bare(number));
    }
    let Some((_, bytes)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        // The unit that was probably meant is suggested by its first letter: `10MB` and `10m` both
        // become `10MiB`. Only the suggestion is generous: nothing but the exact unit is accepted,
        // so the same text never means two sizes.
        let meant = match unit.trim_start().chars().next().map(|letter| letter.to_ascii_uppercase())
        {
            Some(letter @ ('K' | 'M' | 'G')) => format!("{letter}iB"),
            _ => "B".to_owned(),
        };
        return Err(format!("has no unit of ours (B, KiB, MiB, GiB): write \"{number}{meant}\""));
    };
    number.checked_mul(*bytes).ok_or_else(|| "is too large to count".to_owned())
}

/// The message about a number without a unit.
pub(crate) fn bare(number: impl std::fmt::Display) -> String {
    format!("needs a unit (B, KiB, MiB, GiB): write \"{number}B\"")
}

/// The size in the largest unit that divides it exactly, so that `parse` returns the same number.
pub(crate) fn render(bytes: u64) -> String {
    if bytes == 0 {
        return "0B".to_owned();
    }
    let exact = UNITS.iter().find(|(_, unit)| bytes.is_multiple_of(*unit));
    exact.map(|(name, unit)| format!("{}{name}", bytes / unit)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_survive_being_written_and_read() {
        for (text, bytes) in [("0B", 0), ("512B", 512), ("64KiB", 65_536), ("10MiB", 10_485_760)] {
            assert_eq!(parse(text), Ok(bytes));
            assert_eq!(render(bytes), text);
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_a_remedy() {
        for (text, hint) in [
            ("10", "write \"10B\""),
            ("10MB", "write \"10MiB\""),
            ("10 k", "write \"10KiB\""),
            ("ten", "write a number and a unit"),
            ("99999999999999999GiB", "too large"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(hint), "{text}: {message}");
        }
    }
}
