//! An answer's fields on their way to the client.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::{Facts, Prefix, remove_where, strip_hop_by_hop};
use crate::client::Scheme;

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
/// the host the client asked, with the client's prefix in place of the upstream's. One that names
/// the client's own host was built from the `Host` that is passed on, and means the same.
pub(in crate::upstream) fn rewrite_location(
    headers: &mut HeaderMap,
    authorities: &[(String, u16)],
    facts: &Facts<'_>,
) {
    let Some(location) = headers.get(header::LOCATION) else { return };
    let Some(place) = location.to_str().ok().and_then(Place::parse) else { return };
    let is_ours = place.is_asked_for(facts);
    if !is_ours && !place.is_of(authorities) {
        return;
    }
    // An upstream may send people from http to https. The other way is never its intent: it knows
    // nothing of the TLS that ends here.
    let keeps_https = is_ours && place.https;
    let scheme = if keeps_https { "https" } else { facts.client.scheme.as_str() };
    let rest = place.rest;
    let Prefix { outer, inner } = facts.prefix.unwrap_or(Prefix { outer: "", inner: "" });
    // What is not below the upstream's own prefix is not below the client's either. An upstream
    // that heeds X-Forwarded-Prefix has put the client's there already.
    let is_theirs = is_ours && !outer.is_empty() && within(rest, outer).is_some();
    let below = within(rest, inner).filter(|_| !(is_theirs && inner.is_empty()));
    let (outer, rest) = below.map_or(("", rest), |rest| (outer, rest));
    // `/v2` is `/api`; the root has a slash in any case.
    let rooted = rest.starts_with('/') || !(outer.is_empty() || inner.is_empty());
    let slash = if rooted { "" } else { "/" };
    let authority = facts.authority;
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

/// Where an absolute URL leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place<'a> {
    https: bool,
    host: &'a str,
    port: u16,
    /// What follows the authority.
    rest: &'a str,
}

impl<'a> Place<'a> {
    /// `None` for what is relative or of another scheme.
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

    fn is_of(&self, authorities: &[(String, u16)]) -> bool {
        let is_it = |(host, port): &(String, u16)| {
            *port == self.port && bare(host).eq_ignore_ascii_case(self.host)
        };
        authorities.iter().any(is_it)
    }

    /// True if it is the host and port that the client asked for; a scheme without a port is the
    /// same to the upstream, which was not told the port either.
    fn is_asked_for(&self, facts: &Facts<'_>) -> bool {
        let default = default_port(facts.client.scheme == Scheme::Https);
        let port = facts.port().and_then(|port| port.parse().ok()).unwrap_or(default);
        let both_default = self.port == default_port(self.https) && port == default;
        bare(facts.host).eq_ignore_ascii_case(self.host) && (self.port == port || both_default)
    }
}

const fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
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
            let place = Place::parse(location).filter(|place| place.is_of(&own));
            assert_eq!(place.map(|place| place.rest), rest, "{why}");
        }
    }
}
