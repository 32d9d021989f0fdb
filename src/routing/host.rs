//! The one form of a host: lower case, without a dot at its end, its port apart.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// A host as named by a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Lower-cased, without port; an IPv6 address keeps its brackets.
    pub(super) host: Arc<str>,
    pub(super) port: Option<u16>,
}

impl Named {
    /// Reads `host` or `host:port` (RFC 3986 §3.2.2); `None` for anything else, user
    /// information among it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = split(text)?;
        let port = match port {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
            None => None,
        };
        let host = if host.starts_with('[') { ipv6(host)? } else { name(host)? };
        Some(Self { host, port })
    }

    /// `host` or `host:port`, as an upstream is told.
    pub(super) fn authority(&self) -> Cow<'_, str> {
        match self.port {
            Some(port) => Cow::Owned(format!("{}:{port}", self.host)),
            None => Cow::Borrowed(&self.host),
        }
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
    match text.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

fn name(host: &str) -> Option<Arc<str>> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let whole = !host.is_empty() && host.len() <= 253 && host.bytes().all(plain);
    let labels = host.split('.').all(|label| !label.is_empty());
    let folded = || match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => host.to_ascii_lowercase().into(),
        false => host.into(),
    };
    (whole && labels).then(folded)
}

fn ipv6(host: &str) -> Option<Arc<str>> {
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
            ("[2001:DB8::1]:80", Some("[2001:db8::1]:80"), "IPv6"),
            ("127.0.0.1", Some("127.0.0.1"), "IPv4"),
            ("", None, "empty"),
            ("user@example.com", None, "user information"),
            ("example.com:", None, "a colon without a port"),
            ("example.com:99999", None, "no such port"),
            ("example.com:80:80", None, "two ports"),
            ("exa mple.com", None, "a space"),
            ("a..b", None, "an empty label"),
            ("a/b", None, "a path"),
            ("[::1", None, "an open bracket"),
            ("example.com\0", None, "NUL"),
        ] {
            let found = Named::parse(text).map(|named| named.authority().into_owned());
            assert_eq!(found.as_deref(), expected, "{text}: {why}");
        }
    }
}
