//! Distinguished names: the string form of RFC 4514, parsed.
//!
//! Values keep their spelling; only escapes are resolved. How names are compared is decided by the
//! users of this file: directories compare without regard to case, certificates byte for byte.
//! Obsolete forms are refused instead of guessed.

use std::fmt;

/// An attribute type and its value.
pub type Attribute = (String, String);

/// A name in a certificate, from the entry up to the root. Values are compared byte for byte; the
/// different names of a type are equal, and so are different orders of the values of one part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DistinguishedName(Vec<Vec<Attribute>>);

/// Attribute types by their OID, their name in RFC 4514 or OpenSSL, and further names.
const KINDS: &[(&str, &str, &[&str])] = &[
    ("2.5.4.3", "CN", &["commonname"]),
    ("2.5.4.4", "SN", &["surname"]),
    ("2.5.4.5", "serialNumber", &[]),
    ("2.5.4.6", "C", &["countryname"]),
    ("2.5.4.7", "L", &["localityname"]),
    ("2.5.4.8", "ST", &["s", "stateorprovincename"]),
    ("2.5.4.9", "STREET", &["streetaddress"]),
    ("2.5.4.10", "O", &["organizationname"]),
    ("2.5.4.11", "OU", &["organizationalunitname"]),
    ("2.5.4.12", "title", &[]),
    ("2.5.4.42", "GN", &["givenname"]),
    ("2.5.4.97", "organizationIdentifier", &[]),
    ("0.9.2342.19200300.100.1.1", "UID", &["userid"]),
    ("0.9.2342.19200300.100.1.25", "DC", &["domaincomponent"]),
    ("1.2.840.113549.1.9.1", "emailAddress", &["e", "email"]),
];

impl DistinguishedName {
    /// A name of these parts, the entry's own first. `None` if it is empty, or if a value contains
    /// a NUL: some readers would take the NUL for the end of the value and others would not, so one
    /// certificate could be taken for another.
    pub fn new(parts: Vec<Vec<Attribute>>) -> Option<Self> {
        let named = |(kind, value): Attribute| (kind_of(&kind), value);
        let mut parts: Vec<Vec<Attribute>> =
            parts.into_iter().map(|part| part.into_iter().map(named).collect()).collect();
        parts.iter_mut().for_each(|part| part.sort_unstable());
        let is_usable = !parts.is_empty()
            && parts.iter().all(|part: &Vec<Attribute>| {
                !part.is_empty() && part.iter().all(|(_, value)| !value.contains('\0'))
            });
        is_usable.then_some(Self(parts))
    }

    /// Parses the string form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::new(parse(text)?)
    }
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.0.iter().enumerate() {
            for (at, (kind, value)) in part.iter().enumerate() {
                let before = if at > 0 { "+" } else { "," };
                let before = if number + at == 0 { "" } else { before };
                write!(f, "{before}{kind}={}", escaped(value))?;
            }
        }
        Ok(())
    }
}

/// The one name of an attribute type, whatever name it was written with.
fn kind_of(kind: &str) -> String {
    let lower = kind.to_ascii_lowercase();
    let lower = lower.strip_prefix("oid.").unwrap_or(&lower);
    let known = KINDS.iter().find(|(oid, name, others)| {
        *oid == lower || name.eq_ignore_ascii_case(lower) || others.contains(&lower)
    });
    known.map_or_else(|| lower.to_owned(), |(_, name, _)| (*name).to_owned())
}

/// A value with the escapes that RFC 4514, section 2.4, demands.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (at, letter) in value.chars().enumerate() {
        let edge = letter == ' ' && (at == 0 || at == last) || letter == '#' && at == 0;
        if edge || "\"+,;<>\\".contains(letter) {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

/// Parses the string form, from the entry up to the root, with types in lower case. `None` if it is
/// no distinguished name, and for forms that are obsolete (quotes, `;`) or hide their value
/// (`#04…`).
pub fn parse(text: &str) -> Option<Vec<Vec<Attribute>>> {
    let mut bytes = text.bytes();
    // `+` joins the values of one part, and `,` separates the parts (RFC 4514, section 2).
    let mut names = Vec::new();
    let mut name = Vec::new();
    loop {
        let kind = read_kind(&mut bytes)?;
        let (value, end) = read_value(&mut bytes)?;
        name.push((kind, value));
        if end != Some(b'+') {
            names.push(std::mem::take(&mut name));
        }
        if end.is_none() {
            return Some(names);
        }
    }
}

/// Parses an attribute type, up to and including the `=`, into lower case.
fn read_kind(bytes: &mut std::str::Bytes<'_>) -> Option<String> {
    let mut kind = String::new();
    loop {
        match bytes.next()? {
            b'=' => break,
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b' ') => {
                kind.push(char::from(byte.to_ascii_lowercase()));
            }
            _ => return None,
        }
    }
    let kind = kind.trim();
    (!kind.is_empty() && !kind.contains(' ')).then(|| kind.to_owned())
}

/// Parses a value and resolves its escapes. Returns the value and the byte that ended it.
fn read_value(bytes: &mut std::str::Bytes<'_>) -> Option<(String, Option<u8>)> {
    let mut value = Vec::new();
    // Spaces at the end belong to the value only if they are escaped.
    let mut kept = 0;
    let end = loop {
        match bytes.next() {
            None => break None,
            Some(end @ (b',' | b'+')) => break Some(end),
            Some(b'"' | b';' | b'<' | b'>') => return None,
            Some(b'#') if value.is_empty() => return None,
            Some(b' ') if value.is_empty() => {}
            Some(b' ') => value.push(b' '),
            Some(b'\\') => {
                value.push(read_escaped(bytes)?);
                kept = value.len();
            }
            Some(byte) => {
                value.push(byte);
                kept = value.len();
            }
        }
    };
    value.truncate(kept);
    let value = String::from_utf8(value).ok().filter(|value| !value.is_empty())?;
    Some((value, end))
}

/// The byte after a backslash: two hexadecimal digits, or the character itself.
fn read_escaped(bytes: &mut std::str::Bytes<'_>) -> Option<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let first = bytes.next()?;
    match hex(first) {
        Some(high) => Some(high << 4 | hex(bytes.next()?)?),
        None => Some(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_certificates_are_compared_to_the_letter() {
        for (one, other, same, why) in [
            ("CN=robot,O=acme", "cn=robot, o=acme", true, "types have no case, spaces no meaning"),
            ("CN=robot,O=acme", "2.5.4.3=robot,oid.2.5.4.10=acme", true, "types by number"),
            ("CN=robot,O=acme", "CN=Robot,O=acme", false, "values have"),
            ("CN=robot,O=acme", "O=acme,CN=robot", false, "the order is the place"),
            ("CN=a+UID=b", "UID=b+CN=a", true, "several values have no order"),
            ("CN=a\\,b", "CN=a\\2cb", true, "two ways to escape"),
            ("CN=a\\,O=acme", "CN=a,O=acme", false, "an escaped comma is a letter"),
        ] {
            let one = DistinguishedName::parse(one);
            let other = DistinguishedName::parse(other);
            assert!(one.is_some() && other.is_some(), "{why}");
            assert_eq!(one == other, same, "{why}");
        }
        assert_eq!(DistinguishedName::parse("CN=a\\00b"), None, "a NUL is no letter");
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for text in ["CN=robot,O=acme", "CN=a\\, b\\+c,OU=\\#1", "CN=\\ x\\ ,DC=de", "UID=é+CN=a"]
        {
            let name = DistinguishedName::parse(text).unwrap();
            assert_eq!(DistinguishedName::parse(&name.to_string()), Some(name), "{text}");
        }
    }
}
