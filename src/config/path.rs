//! Paths, hosts and methods in the form in which a configuration writes them.
//!
//! Requests are matched by their decoded and normalised path. A pattern with an escape, a dot
//! segment or a doubled slash could therefore never match, or would not match what it seems to;
//! each of them is refused here with the form to write instead. The comparisons of paths and hosts
//! are shared by the checks in `crossing` and `reach`.

use super::suggest::{did_you_mean, no_such};

/// Checks a path that stands for itself: `/healthz`, a login's prefix.
pub(super) fn check_exact(path: &str) -> Result<(), String> {
    check_letters(path)?;
    if path.contains(['{', '}']) {
        return Err("must be a plain path, without `{` and `}`".to_owned());
    }
    Ok(())
}

/// Checks a route's path: a prefix `/api/`, a pattern `/api/{id}/stats`, or an exact path `=/path`.
pub(super) fn check_route(path: &str) -> Result<(), String> {
    let (exact, bare) = match path.strip_prefix('=') {
        Some(bare) => (true, bare),
        None => (false, path),
    };
    check_letters(bare)?;
    let mut names: Vec<&str> = Vec::new();
    for segment in bare.split('/').filter(|segment| segment.contains(['{', '}'])) {
        let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let fits = |name: &&str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            !name.is_empty() && name.bytes().all(fits)
        };
        let Some(name) = name.filter(fits) else {
            return Err("a segment is either text or `{name}` as a whole".to_owned());
        };
        if names.contains(&name) {
            return Err(format!("names `{{{name}}}` twice"));
        }
        names.push(name);
    }
    if exact && !names.is_empty() {
        return Err("is exact and a pattern: leave `=` or `{…}` out".to_owned());
    }
    Ok(())
}

/// Checks the parts that all kinds of paths have in common.
fn check_letters(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err("must begin with a slash".to_owned());
    }
    if path.contains("//") {
        return Err("has an empty segment: a request with `//` is refused".to_owned());
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err("has a dot segment: write the path it leads to".to_owned());
    }
    // `\` and `;` are read as separators by some servers, so requests with them are refused unless
    // a route allows them; a pattern with them is most likely a mistake. `%` would be compared with
    // decoded text, and `?`, `#` and `*` would be taken literally.
    let wrong = |letter: &char| "%?#\\;*".contains(*letter) || letter.is_control();
    match path.chars().find(wrong) {
        Some('*') => Err("has a `*`: a prefix takes all below it, leave the star out".to_owned()),
        Some('%') => {
            Err("is escaped: paths are matched decoded, write the letter itself".to_owned())
        }
        Some('?' | '#') => Err("has a query or fragment: only the path is matched".to_owned()),
        Some(letter) => {
            Err(format!("has a `{}`, which no accepted request has", letter.escape_default()))
        }
        None => Ok(()),
    }
}

/// Checks a host of a login or route, and returns it in lower case. Hosts are compared in this form
/// with the host of a request, whose case carries no meaning (RFC 3986, section 3.2.2). A port is
/// refused: routes distinguish names, and one name may be reached at several ports.
pub(super) fn host(host: &str) -> Result<String, String> {
    let name = host.to_ascii_lowercase();
    if name == "*" {
        return Ok(name);
    }
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = bracketed {
        // Parsing and writing again gives the one canonical form of an IPv6 address (RFC 5952).
        let parsed: Result<std::net::Ipv6Addr, _> = address.parse();
        return parsed.map(|v6| format!("[{v6}]")).map_err(|_| "is no IPv6 address".to_owned());
    }
    if name.contains("://") || name.contains('/') {
        return Err("must be a host name alone, without scheme and path".to_owned());
    }
    if name.contains(':') {
        return Err("must be without a port: hosts are told apart by name".to_owned());
    }
    // Conversion from Unicode is left to the operator: browsers and libraries disagree about some
    // names, and the request always has the ASCII form. A name that was converted in another way
    // would never match.
    if !name.is_ascii() {
        return Err("must be in its ASCII form (xn--…)".to_owned());
    }
    let bare = name.strip_prefix("*.").unwrap_or(&name);
    if bare.contains('*') {
        return Err("may have one `*`, as its first label".to_owned());
    }
    if is_host_name(bare) { Ok(name) } else { Err("is no host name".to_owned()) }
}

/// True for a host name or IPv4 address: labels of 1 to 63 letters, digits, `-` and `_`, at most
/// 253 characters (RFC 1035, section 2.3.4). Underscores occur in internal names. Labels neither
/// begin nor end with a hyphen.
pub(super) fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Checks a method of a route. CONNECT and TRACE are refused, because the gateway forwards neither:
/// CONNECT would make it an open proxy, and TRACE returns the request's credentials in a body. A
/// method in lower case is reported with the spelling that was meant.
pub(super) fn method(name: &str) -> Result<http::Method, String> {
    let method =
        http::Method::from_bytes(name.as_bytes()).map_err(|_| "is no method".to_owned())?;
    if method == http::Method::CONNECT || method == http::Method::TRACE {
        return Err("is never forwarded: leave it out".to_owned());
    }
    // Methods are case-sensitive (RFC 9110, section 9.1): `get` would never match.
    if name != name.to_ascii_uppercase() {
        return Err(no_such("method", name, KNOWN.iter().copied()));
    }
    Ok(method)
}

/// The methods that people usually write.
const KNOWN: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The other methods of the IANA registry (RFC 9110, section 16.1), and PURGE, which empties
/// caches.
const REGISTERED: &[&str] = &[
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// The message about a method that is in no list: it is a private one of an API, or misspelt.
/// `None` for a known method. The most similar known method is suggested, if there is one. It
/// becomes a warning, since the method may be right.
pub(super) fn unknown_method(name: &str) -> Option<String> {
    if KNOWN.contains(&name) || REGISTERED.contains(&name) {
        return None;
    }
    Some(match did_you_mean(name, KNOWN.iter().chain(REGISTERED).copied()) {
        Some(meant) => format!("is no method that is known; did you mean \"{meant}\"?"),
        None => "is no method that is known".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_no_request_could_match_are_refused() {
        for (path, why) in [
            ("api/", "begin with a slash"),
            ("/a//b", "empty segment"),
            ("/a/../b", "dot segment"),
            ("/a%20b", "matched decoded"),
            ("/api/*", "leave the star out"),
            ("/a?x=1", "query"),
            ("/a;b", "no accepted request"),
            ("/a/{id}x", "as a whole"),
            ("/{a}/{a}", "twice"),
            ("=/x/{a}", "exact and a pattern"),
        ] {
            let fault = check_route(path).unwrap_err();
            assert!(fault.contains(why), "{path}: {fault}");
        }
    }

    #[test]
    fn hosts_are_names_without_scheme_port_or_inner_stars() {
        assert_eq!(host("Core.Example.com").unwrap(), "core.example.com");
        assert_eq!(host("*.example.com").unwrap(), "*.example.com");
        for wrong in ["https://a", "a:80", "a.*.b", "", "a..b", "-a", "bücher.example", "[zz]"] {
            host(wrong).unwrap_err();
        }
    }
}
