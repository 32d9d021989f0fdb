//! The rules for a new password (OWASP ASVS 6.2): long enough, and none of the passwords that
//! attackers try first.
//!
//! There are no rules about kinds of characters. Passwords that exist already are never checked by
//! these rules, so nobody is locked out by them. The commands of `cli` call `check_new`.

/// Fewest characters of a new password.
pub const MIN_CHARS: usize = 8;

/// Most bytes of a new password: far above any passphrase, and a bound on the work of hashing.
pub const MAX_BYTES: usize = 1024;

/// The most common passwords with at least `MIN_CHARS` characters, from lists of leaked passwords;
/// in lower case.
const COMMON: &str = include_str!("common_passwords.txt");

/// The reasons why a new password is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    #[error("the password needs at least {MIN_CHARS} characters")]
    Short,

    #[error("the password has more than {MAX_BYTES} bytes")]
    Long,

    #[error("the password is one of the most common ones")]
    Common,

    #[error("the password is the user's own name or address")]
    Own,

    #[error("the password has a control character in it")]
    Control,
}

/// Checks a new password. `own` contains the user's name and address.
///
/// # Errors
///
/// The first rule that the password breaks.
pub fn check_new(password: &str, own: &[&str]) -> Result<(), WeakPassword> {
    if password.chars().count() < MIN_CHARS {
        return Err(WeakPassword::Short);
    }
    if password.len() > MAX_BYTES {
        return Err(WeakPassword::Long);
    }
    // Nobody types a control character on purpose. bcrypt ends a password at a NUL byte, and forms
    // change line ends, so such a password could not be entered everywhere.
    if password.chars().any(char::is_control) {
        return Err(WeakPassword::Control);
    }
    let folded = password.to_lowercase();
    if COMMON.lines().any(|common| common == folded) {
        return Err(WeakPassword::Common);
    }
    if own.iter().any(|own| own.to_lowercase() == folded) {
        return Err(WeakPassword::Own);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_password_is_measured_by_length_and_fame_only() {
        for (password, expected, why) in [
            ("1234567", Err(WeakPassword::Short), "seven characters"),
            ("pässwör", Err(WeakPassword::Short), "characters count, not bytes"),
            ("password", Err(WeakPassword::Common), "the first of every list"),
            ("Password123", Err(WeakPassword::Common), "capitals do not help"),
            ("alice@example.com", Err(WeakPassword::Own), "the address"),
            ("tab\tin between", Err(WeakPassword::Control), "a control character"),
            ("only lower case words", Ok(()), "no composition rules"),
            ("zażółć gęślą", Ok(()), "any script"),
        ] {
            assert_eq!(check_new(password, &["alice", "alice@example.com"]), expected, "{why}");
        }
        assert_eq!(check_new(&"ab".repeat(32), &[]), Ok(()), "64 characters are welcome");
        assert_eq!(check_new(&"ab".repeat(513), &[]), Err(WeakPassword::Long));
    }

    #[test]
    fn the_list_holds_what_could_be_typed_here() {
        assert!(COMMON.lines().count() >= 1000);
        for common in COMMON.lines() {
            assert!(common.chars().count() >= MIN_CHARS, "{common} is too short anyway");
            assert_eq!(common, common.to_lowercase(), "the list is lower case");
        }
    }
}
