//! Requests that another site made a browser send (cross-site request forgery).
//!
//! A browser adds cookies by itself, so a cookie does not prove that its user wanted the request.
//! Browsers say where a request comes from: in `Sec-Fetch-Site` (Fetch Metadata), in `Origin` (RFC
//! 6454) and in `Referer` (RFC 9110, section 10.1.3). A page cannot change what these fields say. A
//! request with a cookie that changes something is refused if any of them names another site. The
//! host counts with its scheme and port: another port or a sibling domain can belong to somebody
//! else. Routes that take cookies and login endpoints that use them ask this file.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Uri};

use super::RequestContext;
use crate::authority::Authority;
use crate::client::Scheme;
use crate::dialect::{ForgeryRule, Reason};
use crate::headers::X_FORWARDED_HOST;
use crate::identity::SessionId;
use crate::rejection::Rejection;
use crate::routing::Target;
use crate::secret;
use crate::token::csrf_token;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A request that has, or gets, a cookie.
#[derive(Clone, Copy, Debug)]
pub(super) struct CookieRequest<'r> {
    pub(super) method: &'r Method,
    pub(super) headers: &'r HeaderMap,
    /// True if it may change something even by a safe method.
    pub(super) may_change: bool,
    /// The scheme that the client uses.
    pub(super) scheme: Scheme,
    /// The host that the client named, with its port if it is not that of the scheme.
    pub(super) authority: &'r str,
}

impl CookieRequest<'_> {
    /// The reason for which the request counts as forged; `None` if it does not.
    pub(super) fn forgery(&self, rule: ForgeryRule) -> Option<&'static str> {
        if !changes_something(self.method, self.headers, self.may_change) {
            return None;
        }
        let sites = || self.headers.get_all(SEC_FETCH_SITE).iter();
        let origins = || self.headers.get_all(header::ORIGIN).iter();
        let referers = || self.headers.get_all(header::REFERER).iter();
        let is_near = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
        if !sites().all(is_near) {
            return Some("Sec-Fetch-Site says that another site sent the request with a cookie");
        }
        if !origins().all(|origin| self.is_own(origin)) {
            return Some("the Origin of the request with a cookie is another site");
        }
        if !referers().all(|referer| self.is_own(referer)) {
            return Some("the Referer of the request with a cookie is another site");
        }
        let is_silent = sites().chain(origins()).chain(referers()).next().is_none();
        (rule == ForgeryRule::Strict && is_silent)
            .then_some("nothing says where the request with a cookie comes from")
    }

    /// True if the URL or origin has the scheme, host and port of the request itself.
    fn is_own(&self, value: &HeaderValue) -> bool {
        let Some((scheme, named)) = value.to_str().ok().and_then(origin) else { return false };
        let Some(own) = Authority::parse(self.authority) else { return false };
        scheme == self.scheme
            && named.host() == own.host()
            && port(&named, scheme) == port(&own, scheme)
    }
}

/// The scheme and authority of a URL or an origin.
fn origin(text: &str) -> Option<(Scheme, Authority)> {
    let url: Uri = text.parse().ok()?;
    let scheme = match url.scheme_str()? {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return None,
    };
    Some((scheme, Authority::parse(url.authority()?.as_str())?))
}

fn port(authority: &Authority, scheme: Scheme) -> &str {
    let port = authority.as_str().get(authority.host().len()..).unwrap_or_default();
    port.strip_prefix(':').unwrap_or(match scheme {
        Scheme::Https => "443",
        Scheme::Http => "80",
    })
}

impl RequestContext<'_> {
    /// Refuses a request with a cookie that another site made a browser send.
    ///
    /// # Errors
    /// `NotPermitted`.
    pub(super) fn refuse_forged(
        &self,
        method: &Method,
        headers: &HeaderMap,
        target: &Target,
        may_change: bool,
        rule: ForgeryRule,
    ) -> Result<(), Rejection> {
        // A trusted proxy may have changed Host and then tells which one the client named. The first
        // of several proxies tells it first.
        let named = headers.get(X_FORWARDED_HOST).filter(|_| self.client.trusted_proxy);
        let named = named.and_then(|hosts| Some(hosts.to_str().ok()?.split(',').next()?.trim()));
        let authority = named.unwrap_or(target.authority());
        let scheme = self.client.scheme;
        let request = CookieRequest { method, headers, may_change, scheme, authority };
        match request.forgery(rule) {
            Some(cause) => Err(Rejection::new(Reason::NotPermitted).because(cause)),
            None => Ok(()),
        }
    }
}

impl RequestContext<'_> {
    /// Refuses a request by cookie that changes something and does not repeat its session's value
    /// against forged requests. Another site can make a browser send the cookie, and cannot read the
    /// value.
    ///
    /// # Errors
    /// `NotPermitted`.
    pub(super) fn demand_csrf(
        &self,
        head: &Parts,
        may_change: bool,
        field: &HeaderName,
        session: Option<SessionId>,
    ) -> Result<(), Rejection> {
        if !changes_something(&head.method, &head.headers, may_change) {
            return Ok(());
        }
        let secret = self.gateway.shared.store.secret();
        let expected = session.map(|session| csrf_token(&secret, session));
        let mut values = head.headers.get_all(field).iter();
        let is_same = match (values.next(), values.next(), expected) {
            (Some(value), None, Some(expected)) => {
                secret::equal(value.as_bytes(), expected.expose().as_bytes())
            }
            _ => false,
        };
        let cause = "a request by cookie without the session's value against forged requests";
        is_same.then_some(()).ok_or_else(|| Rejection::new(Reason::NotPermitted).because(cause))
    }
}

/// True unless the method promises to change nothing (RFC 9110, section 9.2.1). A tunnel is
/// opened with GET, and whatever comes through it can change something.
fn changes_something(method: &Method, headers: &HeaderMap, may_change: bool) -> bool {
    let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    !is_safe || may_change || headers.contains_key(header::UPGRADE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a POST with these fields counts as forged, by the rules `browsers` and `strict`.
    fn judge(method: &str, authority: &str, fields: &[(&'static str, &str)]) -> [bool; 2] {
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = CookieRequest {
            method: &method,
            headers: &headers,
            may_change: false,
            scheme: Scheme::Https,
            authority,
        };
        [ForgeryRule::Browsers, ForgeryRule::Strict].map(|rule| request.forgery(rule).is_some())
    }

    #[test]
    fn a_request_of_another_site_is_forged() {
        const OWN: [bool; 2] = [false, false];
        const SILENT: [bool; 2] = [false, true];
        const FORGED: [bool; 2] = [true, true];
        for (method, fields, expected, why) in [
            ("POST", &[][..], SILENT, "a program"),
            ("POST", &[("sec-fetch-site", "same-origin")], OWN, "a page of this site"),
            ("POST", &[("sec-fetch-site", "none")], OWN, "the user"),
            ("POST", &[("sec-fetch-site", "same-site")], FORGED, "a sibling domain"),
            ("POST", &[("sec-fetch-site", "cross-site")], FORGED, "another site"),
            ("POST", &[("sec-fetch-site", "Same-Origin")], FORGED, "no browser spells it so"),
            ("POST", &[("sec-fetch-site", "")], FORGED, "nothing that a browser says"),
            (
                "POST",
                &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
                FORGED,
                "two words",
            ),
            ("POST", &[("origin", "https://app.example")], OWN, "the own origin"),
            ("POST", &[("origin", "https://app.example:443")], OWN, "with the usual port"),
            ("POST", &[("origin", "https://APP.example")], OWN, "in another case"),
            ("POST", &[("origin", "http://app.example")], FORGED, "another scheme"),
            ("POST", &[("origin", "https://app.example:8443")], FORGED, "another port"),
            ("POST", &[("origin", "https://evil.example")], FORGED, "another host"),
            ("POST", &[("origin", "https://app.example.evil.example")], FORGED, "a longer host"),
            ("POST", &[("origin", "https://app.example@evil.example")], FORGED, "a user's name"),
            ("POST", &[("origin", "null")], FORGED, "an opaque origin"),
            ("POST", &[("origin", "")], FORGED, "no origin"),
            (
                "POST",
                &[("origin", "https://app.example"), ("origin", "https://evil.example")],
                FORGED,
                "two origins",
            ),
            ("POST", &[("referer", "https://app.example/page?a=b")], OWN, "a page of this site"),
            ("POST", &[("referer", "https://evil.example/app.example")], FORGED, "another page"),
            ("POST", &[("referer", "about:blank")], FORGED, "no page"),
            (
                "POST",
                &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
                FORGED,
                "each of the fields counts",
            ),
            (
                "POST",
                &[("origin", "https://app.example"), ("referer", "https://evil.example/")],
                FORGED,
                "each of the fields counts",
            ),
            ("DELETE", &[("sec-fetch-site", "cross-site")], FORGED, "another method"),
            ("REPORT", &[("sec-fetch-site", "cross-site")], FORGED, "an unknown method"),
            ("GET", &[("sec-fetch-site", "cross-site")], OWN, "a link"),
            ("HEAD", &[("sec-fetch-site", "cross-site")], OWN, "changes nothing"),
            ("OPTIONS", &[("origin", "https://evil.example")], OWN, "a preflight"),
            (
                "GET",
                &[("upgrade", "websocket"), ("origin", "https://evil.example")],
                FORGED,
                "a WebSocket of another site",
            ),
        ] {
            assert_eq!(
                judge(method, "app.example", fields),
                expected,
                "{method} {fields:?}: {why}"
            );
        }
        let own = [("origin", "https://app.example:8443")];
        assert_eq!(judge("POST", "app.example:8443", &own), OWN, "a port of its own");
        assert_eq!(judge("POST", "[::1]:8443", &[("origin", "https://[::1]:8443")]), OWN, "IPv6");
        assert_eq!(judge("POST", "", &own), FORGED, "no host");
    }

    #[test]
    fn a_method_that_the_upstream_may_take_for_another_is_not_safe() {
        let headers: HeaderMap =
            [(SEC_FETCH_SITE, HeaderValue::from_static("cross-site"))].into_iter().collect();
        let request = CookieRequest {
            method: &Method::GET,
            headers: &headers,
            may_change: true,
            scheme: Scheme::Https,
            authority: "app.example",
        };
        assert!(request.forgery(ForgeryRule::Browsers).is_some());
    }
}
