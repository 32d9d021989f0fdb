//! Header fields of an answer on their way to the client.
//!
//! Fields of the connection to the upstream are removed, and a `Location` that names the upstream
//! is rewritten, because the client could not reach it. All other fields pass unchanged. `forward`
//! calls both functions before the route's own rules apply.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::{HeaderFacts, PathPrefix, remove_where, strip_hop_by_hop};
use crate::client::Scheme;

/// `Alt-Svc` would lead the client past the gateway, and `Proxy-Authenticate` would ask the client
/// for the credential of a proxy. The gateway takes no part in either.
const NOT_PASSED: [HeaderName; 2] = [header::ALT_SVC, header::PROXY_AUTHENTICATE];

/// Removes the fields that belong to the connection to the upstream only.
///
/// The upstream's `Server` and `Set-Cookie` fields stay: hiding them is for a route's rule to
/// decide.
pub(crate) fn clean_response(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    remove_where(headers, |name| NOT_PASSED.contains(name));
}

/// Rewrites a `Location` that names the upstream, which the client cannot reach. It gets the host
/// that the client named, and the client's prefix in place of the upstream's. A `Location` with the
/// client's own host was built from the `Host` that the upstream received; it is treated alike.
pub(crate) fn rewrite_location(
    headers: &mut HeaderMap,
    authorities: &[(String, u16)],
    facts: &HeaderFacts<'_>,
) {
    let Some(location) = headers.get(header::LOCATION) else { return };
    let Some(place) = location.to_str().ok().and_then(UrlOrigin::parse) else { return };
    let is_ours = place.is_asked_for(facts);
    if !is_ours && !place.is_of(authorities) {
        return;
    }
    // An upstream may redirect clients from http to https. A redirect to http is never intended:
    // the upstream does not know of the TLS that ends at the gateway.
    let keeps_https = is_ours && place.https;
    let scheme = if keeps_https { "https" } else { facts.client.scheme.as_str() };
    let rest = place.rest;
    let PathPrefix { outer, inner } = facts.prefix.unwrap_or(PathPrefix { outer: "", inner: "" });
    // A path outside the upstream's prefix is outside the client's prefix, too. An upstream that
    // honours `X-Forwarded-Prefix` has already inserted the client's prefix.
    let is_theirs = is_ours && !outer.is_empty() && within(rest, outer).is_some();
    let below = within(rest, inner).filter(|_| !(is_theirs && inner.is_empty()));
    let (outer, rest) = below.map_or(("", rest), |rest| (outer, rest));
    // `/v2` becomes `/api`. The root always has a slash.
    let rooted = rest.starts_with('/') || !(outer.is_empty() || inner.is_empty());
    let slash = if rooted { "" } else { "/" };
    let authority = facts.authority;
    if let Ok(value) = HeaderValue::try_from(format!("{scheme}://{authority}{outer}{slash}{rest}"))
    {
        headers.insert(header::LOCATION, value);
    }
}

/// The part of a path after `prefix`, if the prefix ends at the end of a segment.
fn within<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    let ends = prefix.is_empty() || rest.is_empty() || rest.starts_with(['/', '?', '#']);
    ends.then_some(rest)
}

/// The target of an absolute URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct UrlOrigin<'a> {
    https: bool,
    host: &'a str,
    port: u16,
    /// The text after the authority.
    rest: &'a str,
}

impl<'a> UrlOrigin<'a> {
    /// Parses a URL. `None` for a relative one and for another scheme than http or https.
    fn parse(location: &'a str) -> Option<Self> {
        let (scheme, rest) = location.split_once("://")?;
        let https = scheme.eq_ignore_ascii_case("https");
        if !https && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end)?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, default_port(https)),
        };
        Some(Self { https, host: bare(host), port, rest })
    }

    /// True if the URL names one of the upstream's servers.
    fn is_of(&self, authorities: &[(String, u16)]) -> bool {
        let is_it = |(host, port): &(String, u16)| {
            *port == self.port && bare(host).eq_ignore_ascii_case(self.host)
        };
        authorities.iter().any(is_it)
    }

    /// True if the URL names the host and port that the client used. Default ports of both schemes
    /// count as equal, because the upstream was not told the scheme by the port. IPv6 addresses are
    /// compared without their brackets.
    fn is_asked_for(&self, facts: &HeaderFacts<'_>) -> bool {
        let default = default_port(facts.client.scheme == Scheme::Https);
        let port = facts.port().and_then(|port| port.parse().ok()).unwrap_or(default);
        let both_default = self.port == default_port(self.https) && port == default;
        bare(facts.host).eq_ignore_ascii_case(self.host) && (self.port == port || both_default)
    }
}

/// The port of a URL without one.
const fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// An IPv6 address without the brackets that a URL requires.
pub(crate) fn bare(host: &str) -> &str {
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
            let place = UrlOrigin::parse(location).filter(|place| place.is_of(&own));
            assert_eq!(place.map(|place| place.rest), rest, "{why}");
        }
    }
}
