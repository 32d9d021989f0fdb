//! The form of a dialect's access tokens: signed (JWT), or opaque, as many legacy systems have them.
//!
//! An opaque token says nothing; the session store knows its session. `login` makes tokens of an
//! `OpaqueFormat`, and `authn` uses `fits` to tell them from other tokens without asking the store.

use super::octets::is_token68_byte;
use super::problem::DialectProblems;
use super::raw::RawTokens;

/// The fewest random bits of an opaque token: as many as a UUID of version 4 has. Fewer could be
/// guessed by asking often enough.
const LEAST_BITS: f64 = 122.0;

/// The most characters of the random part, and of the prefix. Longer ones only make requests larger.
const LONGEST: usize = 128;

/// The form of an opaque access token: a prefix that is always the same, and random characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpaqueFormat {
    pub prefix: String,
    pub shape: TokenShape,
}

/// The random part of an opaque token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenShape {
    /// A UUID of version 4 in lower case, with hyphens.
    Uuid,
    /// So many hexadecimal digits in lower case.
    Hex(usize),
    /// So many letters and digits.
    Base62(usize),
}

impl OpaqueFormat {
    /// True if a token of this form could be this text. It says nothing about whether there is such
    /// a token.
    pub fn fits(&self, token: &str) -> bool {
        token.strip_prefix(&self.prefix).is_some_and(|random| self.shape.fits(random))
    }

    /// Checks the keys `format`, `shape` and `prefix`. `None` for signed tokens.
    pub(super) fn check(raw: &RawTokens, problems: &mut DialectProblems) -> Option<Self> {
        let is_opaque = match raw.format.as_deref() {
            None | Some("jwt") => false,
            Some("opaque") => true,
            Some(other) => {
                problems.add("tokens.format", other, "must be \"jwt\" or \"opaque\"");
                return None;
            }
        };
        if !is_opaque {
            for (key, value) in [("shape", &raw.shape), ("prefix", &raw.prefix)] {
                if let Some(value) = value {
                    let message = "is for opaque tokens only: add format = \"opaque\"";
                    problems.add(format!("tokens.{key}"), value, message);
                }
            }
            return None;
        }
        let prefix = raw.prefix.clone().unwrap_or_default();
        check_prefix(&prefix, problems);
        let Some(text) = &raw.shape else {
            let message = "is missing: opaque tokens need a shape, for example \"base62:40\"";
            problems.add("tokens.shape", "", message);
            return None;
        };
        match TokenShape::parse(text) {
            Ok(shape) => Some(Self { prefix, shape }),
            Err(message) => {
                problems.add("tokens.shape", text, message);
                None
            }
        }
    }
}

impl TokenShape {
    fn parse(text: &str) -> Result<Self, String> {
        let unknown =
            || "must be \"uuid\", \"hex:40\" or \"base62:40\", with a number of characters";
        if text == "uuid" {
            return Ok(Self::Uuid);
        }
        let (kind, number) = text.split_once(':').ok_or_else(unknown)?;
        let (base, make): (u8, fn(usize) -> Self) = match kind {
            "hex" => (16, Self::Hex),
            "base62" => (62, Self::Base62),
            _ => return Err(unknown().to_owned()),
        };
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty();
        let characters: Option<usize> = number.parse().ok().filter(|_| is_number);
        let bits = f64::from(base).log2();
        let least = (1..=LONGEST).find(|count| bits * count_of(*count) >= LEAST_BITS);
        let least = least.unwrap_or(LONGEST);
        match characters {
            Some(count) if count < least => Err(format!(
                "can be guessed: {least} characters or more have the {LEAST_BITS} random bits that \
                 a token needs"
            )),
            Some(count) if count <= LONGEST => Ok(make(count)),
            Some(_) => Err(format!("is too long: {LONGEST} characters are the most")),
            None => Err(unknown().to_owned()),
        }
    }

    fn fits(self, random: &str) -> bool {
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let bytes = random.as_bytes();
        match self {
            Self::Uuid => {
                bytes.len() == 36
                    && bytes.iter().enumerate().all(|(at, byte)| match at {
                        8 | 13 | 18 | 23 => *byte == b'-',
                        _ => is_hex(byte),
                    })
            }
            Self::Hex(count) => bytes.len() == count && bytes.iter().all(is_hex),
            Self::Base62(count) => {
                bytes.len() == count && bytes.iter().all(u8::is_ascii_alphanumeric)
            }
        }
    }
}

/// A number of characters for a calculation with bits.
fn count_of(count: usize) -> f64 {
    u16::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// A token is sent as token68 (RFC 9110, section 11.2), of which `=` may only be at the end.
fn check_prefix(prefix: &str, problems: &mut DialectProblems) {
    if !prefix.bytes().all(is_token68_byte) {
        let message = "must be of letters, digits and `-._~+/`, as in `Authorization: Bearer`";
        problems.add("tokens.prefix", prefix, message);
    } else if prefix.len() > LONGEST {
        let message = format!("is too long: {LONGEST} characters are the most");
        problems.add("tokens.prefix", prefix, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_its_form_and_no_other() {
        let uuid = "f81d4fae-7dec-41d0-a765-00a0c91e6bf6";
        let form = |prefix: &str, shape| OpaqueFormat { prefix: prefix.to_owned(), shape };
        for (format, token, fits, why) in [
            (form("", TokenShape::Uuid), uuid, true, "a UUID"),
            (form("", TokenShape::Uuid), &uuid.to_uppercase(), false, "upper case is another text"),
            (form("", TokenShape::Uuid), &uuid.replace('-', "0"), false, "no hyphens"),
            (form("", TokenShape::Uuid), &uuid[..35], false, "cut off"),
            (form("s.", TokenShape::Hex(4)), "s.0a9f", true, "prefix and digits"),
            (form("s.", TokenShape::Hex(4)), "0a9f", false, "without the prefix"),
            (form("s.", TokenShape::Hex(4)), "s.0a9f0", false, "too long"),
            (form("s.", TokenShape::Hex(4)), "s.0A9F", false, "upper case"),
            (form("", TokenShape::Base62(4)), "aZ09", true, "letters and digits"),
            (form("", TokenShape::Base62(4)), "aZ0-", false, "another character"),
            (form("", TokenShape::Base62(4)), "aZä", false, "four bytes, not four letters"),
        ] {
            assert_eq!(format.fits(token), fits, "{why}: {token}");
        }
    }

    #[test]
    fn a_shape_needs_enough_random_bits() {
        for (text, expected) in [
            ("uuid", Some(TokenShape::Uuid)),
            ("hex:31", Some(TokenShape::Hex(31))),
            ("hex:30", None),
            ("base62:21", Some(TokenShape::Base62(21))),
            ("base62:20", None),
            ("base62:128", Some(TokenShape::Base62(128))),
            ("base62:129", None),
            ("base64:40", None),
            ("hex", None),
            ("hex:", None),
            ("hex:+40", None),
            ("hex:99999999999999999999", None),
        ] {
            assert_eq!(TokenShape::parse(text).ok(), expected, "{text}");
        }
    }
}
