//! Keeps answers to authenticated callers out of shared caches.
//!
//! A cache in front of the gateway knows that answers to `Authorization` are private (RFC 9111
//! §3.5), but no other credential: an answer to a pair, an API key or a certificate looks to it
//! like one for everybody. `route` is the caller.

use http::header::{self, HeaderMap, HeaderValue};

/// Makes the answer to a URL with a credential private (RFC 6750 §2.3). It replaces the upstream's
/// own `Cache-Control`, because the upstream has not seen the credential.
pub(super) fn keep(headers: &mut HeaderMap) {
    if !says(headers, &["private", "no-store"]) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// Makes the answer to a credential that caches do not know private, unless the upstream has
/// explicitly allowed or forbidden storing it. This is the rule that caches apply to
/// `Authorization` themselves.
pub(super) fn mark(headers: &mut HeaderMap) {
    let said = ["private", "no-store", "public", "must-revalidate", "s-maxage"];
    if !says(headers, &said) {
        headers.append(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// True if `Cache-Control` has one of the directives.
fn says(headers: &HeaderMap, names: &[&str]) -> bool {
    let lines = headers.get_all(header::CACHE_CONTROL).iter();
    let mut directives = lines.filter_map(|line| line.to_str().ok()).flat_map(|l| l.split(','));
    directives.any(|said| {
        let name = said.split('=').next().unwrap_or(said).trim();
        names.iter().any(|known| name.eq_ignore_ascii_case(known))
    })
}
