//! Comparisons of paths and hosts in the form in which a configuration writes them. The checks of a
//! configuration and a reload use them to find routes that match the same requests.

use crate::format::fold_case_if;

/// A form that is equal for two patterns that match the same paths: without the last slash of a
/// prefix and without the names of parameters. With `folded`, case is removed as well. Two routes
/// with the same form collide, and so do two logins.
pub(crate) fn shape(path: &str, folded: bool) -> String {
    let path = &*fold_case_if(folded, path);
    if path.starts_with('=') {
        return path.to_owned();
    }
    let segments = path.trim_end_matches('/').split('/');
    let shape = |segment| if str::starts_with(segment, '{') { "{}" } else { segment };
    segments.map(shape).collect::<Vec<_>>().join("/")
}

/// True if every path under the prefix `path` is also under the prefix `above`. With `folded`, they
/// are compared without regard to case. A parameter of `above` covers any segment. It is used to
/// find routes that lie above others, so a wrong `false` would only lose a warning.
pub(crate) fn is_below(path: &str, above: &str, folded: bool) -> bool {
    let path = &*fold_case_if(folded, path);
    let above = &*fold_case_if(folded, above);
    // An exact path has nothing below it.
    if above.starts_with('=') {
        return false;
    }
    let mut path = path.trim_start_matches('=').trim_end_matches('/').split('/');
    let mut above = above.trim_end_matches('/').split('/');
    above.all(|segment| path.next().is_some_and(|said| said == segment || segment.starts_with('{')))
}

/// True if some host is covered by both lists. A wildcard `*.example.com` covers the names below
/// it, and `*` covers all. `covers` is tried in both directions, because either side may have the
/// wildcard.
pub(crate) fn hosts_meet(first: &[String], second: &[String]) -> bool {
    let covers = |pattern: &str, host: &str| {
        pattern == "*"
            || pattern == host
            || pattern
                .strip_prefix('*')
                .is_some_and(|end| end.starts_with('.') && host.ends_with(end))
    };
    first.iter().any(|a| second.iter().any(|b| covers(a, b) || covers(b, a)))
}

/// True if `host` is a name or an address of this machine itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_below;

    #[test]
    fn a_prefix_ends_at_a_segment() {
        assert!(is_below("/api/v3/", "/api", false), "the slash at the end does not matter");
        assert!(is_below("=/api/v3", "/", false));
        assert!(!is_below("/apix/", "/api/", false), "not at a segment");
        assert!(!is_below("/api/", "/api/v3/", false), "above it");
        assert!(is_below("/api/7/items/", "/api/{id}", false), "any segment");
        assert!(is_below("/api/{number}/", "/api/{id}/", false), "whatever it is called");
        assert!(!is_below("/api/{id}/", "/api/7/", false), "not always");
        assert!(!is_below("/api/", "=/api", false), "an exact path has nothing below it");
        assert!(!is_below("/API/v3/", "/api/", false), "another case is another path");
        assert!(is_below("/API/v3/", "/Api/", true), "but not where case does not count");
    }
}
