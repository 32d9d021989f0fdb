//! The one form of a host, with or without a port: in lower case, and without a dot at its end.
//!
//! Hosts of requests are parsed into this form once and then compared as bytes. Everything that is
//! not clearly a host is refused, because a proxy and a server could take it for two different
//! ones.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// A host, perhaps with a port, as a client has named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// In lower case, with the port if one was named. An IPv6 address keeps its brackets.
    text: Arc<str>,
    /// The length of the host within `text`.
    end: usize,
}

impl Authority {
    /// Parses `host` or `host:port` (RFC 3986, section 3.2.2). `None` for anything else, user
    /// information included.
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
            // Nearly always the text is in its final form already, and is copied without being
            // built anew.
            (Cow::Borrowed(_), _) if is_canonical(text.get(end..)?, digits) => text.into(),
            (host, Some(port)) => format!("{host}:{port}").into(),
            (host, None) => host.into(),
        };
        Some(Self { text, end })
    }

    /// The host without the port.
    pub fn host(&self) -> &str {
        self.text.get(..self.end).unwrap_or_default()
    }

    /// `host` or `host:port`, as it is sent to an upstream.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Splits a text into the host and the digits of the port.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if text.starts_with('[') {
        let end = text.find(']')? + 1;
        let (host, rest) = text.split_at(end);
        return match rest {
            "" => Some((host, None)),
            _ => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    // `split_once` is not used: its search is made for longer texts.
    let Some(colon) = text.bytes().position(|byte| byte == b':') else { return Some((text, None)) };
    Some((text.get(..colon)?, Some(text.get(colon + 1..)?)))
}

/// True if `rest`, everything after the host, is empty, or is the port without leading zeros.
fn is_canonical(rest: &str, port: Option<&str>) -> bool {
    match port {
        None => rest.is_empty(),
        Some(port) => rest.strip_prefix(':') == Some(port) && !port.starts_with('0'),
    }
}

/// A host name in its final form; `None` if it has an empty label or a character that no host has.
fn name(host: &str) -> Option<Cow<'_, str>> {
    // The dot of the root names the same host (RFC 1034, section 3.1). With two forms, a route for
    // one could be avoided with the other. The certificate and the route of a request would not fit
    // together either.
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut last = b'.';
    let mut folds = false;
    for byte in host.bytes() {
        match byte {
            b'.' if last == b'.' => return None,
            b'A'..=b'Z' => folds = true,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {}
            _ => return None,
        }
        last = byte;
    }
    // No label may be empty, the last one included.
    if last == b'.' || host.len() > 253 {
        return None;
    }
    Some(if folds { host.to_ascii_lowercase().into() } else { host.into() })
}

fn ipv6(host: &str) -> Option<Cow<'_, str>> {
    let inside = host.strip_prefix('[')?.strip_suffix(']')?;
    // Parsing and writing again gives one form to the many spellings of an address (RFC 5952).
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
