//! An answer's fields on their way to the client.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::{Facts, Prefix, remove_where, strip_hop_by_hop};

/// Offers of the upstream that would lead past the gateway, and fields for its own proxies.
const NOT_PASSED: [HeaderName; 2] = [header::ALT_SVC, header::PROXY_AUTHENTICATE];

/// Removes what is meant for our connection to the upstream only.
///
/// The upstream's `Server` stays, as `Set-Cookie` lines do: hiding it is for a rule to say.
pub(in crate::upstream) fn clean_response(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    remove_where(headers, |name| NOT_PASSED.contains(name));
}

/// Rewrites a `Location` that names the upstream itself, which the client could not reach, to
/// the host the client asked, with the client's prefix in place of the upstream's.
pub(in crate::upstream) fn rewrite_location(
    headers: &mut HeaderMap,
    authorities: &[(String, u16)],
    facts: &Facts<'_>,
) {
    let Some(location) = headers.get(header::LOCATION) else { return };
    let Some(rest) = location.to_str().ok().and_then(|text| below(text, authorities)) else {
        return;
    };
    let (scheme, authority) = (facts.client.scheme.as_str(), facts.authority);
    // What is not below the upstream's own prefix is not below the client's either.
    let moved = facts.prefix.and_then(|prefix| Some((prefix, within(rest, prefix.inner)?)));
    let (prefix, rest) = moved.unwrap_or((Prefix { outer: "", inner: "" }, rest));
    let Prefix { outer, inner } = prefix;
    // `/v2` is `/api`; the root has a slash in any case.
    let rooted = rest.starts_with('/') || !(outer.is_empty() || inner.is_empty());
    let slash = if rooted { "" } else { "/" };
    if let Ok(value) = HeaderValue::try_from(format!("{scheme}://{authority}{outer}{slash}{rest}"))
    {
        headers.insert(header::LOCATION, value);
    }
}

/// What follows `prefix` in a path, where that ends with a segment.
fn within<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    let ends = prefix.is_empty() || rest.is_empty() || rest.starts_with(['/', '?', '#']);
    ends.then_some(rest)
}

/// What follows the authority in `location`, if that is one of `authorities`.
fn below<'a>(location: &'a str, authorities: &[(String, u16)]) -> Option<&'a str> {
    let (scheme, rest) = location.split_once("://")?;
    let default = match scheme {
        s if s.eq_ignore_ascii_case("http") => 80,
        s if s.eq_ignore_ascii_case("https") => 443,
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end)?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, default),
    };
    authorities
        .iter()
        .any(|(own, own_port)| *own_port == port && bare(own).eq_ignore_ascii_case(bare(host)))
        .then_some(rest)
}

/// An IPv6 address without the brackets that a URL needs.
pub(in crate::upstream) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_upstreams_own_authority_is_recognised() {
        let own = [("app".to_owned(), 8080), ("::1".to_owned(), 80)];
        for (location, rest, why) in [
            ("http://app:8080/a?b#c", Some("/a?b#c"), "host and port"),
            ("HTTP://APP:8080", Some(""), "case, and no path"),
            ("http://[::1]/a", Some("/a"), "the default port"),
            ("http://app/a", None, "another port"),
            ("http://app:8080@evil/a", None, "user information is no host"),
            ("//app:8080/a", None, "no scheme"),
            ("/a", None, "relative"),
        ] {
            assert_eq!(below(location, &own), rest, "{why}");
        }
    }
}
