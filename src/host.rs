//! The one form of a host, with the port that was named or without: lower case, no dot at its end.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// A host, and perhaps a port, as named by a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Lower-cased, with the port if one was named; an IPv6 address keeps its brackets.
    text: Arc<str>,
    /// Where the host ends in it.
    end: usize,
}

impl Authority {
    /// Reads `host` or `host:port` (RFC 3986 §3.2.2); `None` for anything else, user
    /// information among it.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, digits) = split(text)?;
        let port: Option<u16> = match digits {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
            None => None,
        };
        let host = if host.starts_with('[') { ipv6(host)? } else { name(host)? };
        let end = host.len();
        let text = match (host, port) {
            // Canonical already, as nearly always.
            (Cow::Borrowed(_), _) if is_canonical(text.get(end..)?, digits) => text.into(),
            (host, Some(port)) => format!("{host}:{port}").into(),
            (host, None) => host.into(),
        };
        Some(Self { text, end })
    }

    /// The host alone.
    pub fn host(&self) -> &str {
        self.text.get(..self.end).unwrap_or_default()
    }

    /// `host` or `host:port`, as an upstream is told.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if text.starts_with('[') {
        let end = text.find(']')? + 1;
        let (host, rest) = text.split_at(end);
        return match rest {
            "" => Some((host, None)),
            _ => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    // Not `split_once`: its search is made for longer texts.
    let Some(colon) = text.bytes().position(|byte| byte == b':') else { return Some((text, None)) };
    Some((text.get(..colon)?, Some(text.get(colon + 1..)?)))
}

/// Whether `rest`, all that follows a host, is nothing, or its port without a zero in front.
fn is_canonical(rest: &str, port: Option<&str>) -> bool {
    match port {
        None => rest.is_empty(),
        Some(port) => rest.strip_prefix(':') == Some(port) && !port.starts_with('0'),
    }
}

fn name(host: &str) -> Option<Cow<'_, str>> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let (mut last, mut folds) = (b'.', false);
    for byte in host.bytes() {
        match byte {
            b'.' if last == b'.' => return None,
            b'A'..=b'Z' => folds = true,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {}
            _ => return None,
        }
        last = byte;
    }
    // No label is empty, the last one neither.
    if last == b'.' || host.len() > 253 {
        return None;
    }
    Some(if folds { host.to_ascii_lowercase().into() } else { host.into() })
}

fn ipv6(host: &str) -> Option<Cow<'_, str>> {
    let inside = host.strip_prefix('[')?.strip_suffix(']')?;
    let address: Ipv6Addr = inside.parse().ok()?;
    Some(format!("[{address}]").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_form() {
        for (text, expected, why) in [
            ("Example.COM", Some("example.com"), "case"),
            ("example.com.", Some("example.com"), "a dot at the end"),
            ("example.com:8443", Some("example.com:8443"), "a port"),
            ("Example.com.:8443", Some("example.com:8443"), "case and a dot before a port"),
            ("example.com:080", Some("example.com:80"), "a zero before a port"),
            ("example.com:0", Some("example.com:0"), "the port 0"),
            ("[2001:DB8::1]:80", Some("[2001:db8::1]:80"), "IPv6"),
            ("127.0.0.1", Some("127.0.0.1"), "IPv4"),
            ("", None, "empty"),
            ("user@example.com", None, "user information"),
            ("example.com:", None, "a colon without a port"),
            ("example.com:99999", None, "no such port"),
            ("example.com:80:80", None, "two ports"),
            ("exa mple.com", None, "a space"),
            ("a..b", None, "an empty label"),
            (".a", None, "an empty first label"),
            ("a..", None, "an empty last label"),
            (".", None, "no label"),
            ("a/b", None, "a path"),
            ("[::1", None, "an open bracket"),
            ("example.com\0", None, "NUL"),
        ] {
            let found = Authority::parse(text).map(|authority| authority.as_str().to_owned());
            assert_eq!(found.as_deref(), expected, "{text}: {why}");
        }
    }
}
