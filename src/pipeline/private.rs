//! Keeping answers to those who may see them out of shared caches.
//!
//! A cache in front of us knows `Authorization` (RFC 9111 §3.5) and no other credential: an answer
//! to a pair, an API key or a certificate looks to it like one for everybody.

use http::header::{self, HeaderMap, HeaderValue};

/// An answer to a URL with a credential in it is not for shared caches (RFC 6750 §2.3), whatever
/// the upstream says, which has not seen it.
pub(super) fn keep(headers: &mut HeaderMap) {
    if !says(headers, &["private", "no-store"]) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// An answer to a credential that caches do not know is what one to `Authorization` is: for
/// shared caches only where it says so.
pub(super) fn mark(headers: &mut HeaderMap) {
    let said = ["private", "no-store", "public", "must-revalidate", "s-maxage"];
    if !says(headers, &said) {
        headers.append(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

fn says(headers: &HeaderMap, names: &[&str]) -> bool {
    let lines = headers.get_all(header::CACHE_CONTROL).iter();
    let mut directives = lines.filter_map(|line| line.to_str().ok()).flat_map(|l| l.split(','));
    directives.any(|said| {
        let name = said.split('=').next().unwrap_or(said).trim();
        names.iter().any(|known| name.eq_ignore_ascii_case(known))
    })
}
