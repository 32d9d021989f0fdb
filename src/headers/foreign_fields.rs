//! The header fields by which other gateways, proxies and content networks identify a client to a
//! server.
//!
//! A server behind this gateway may have been behind one of those before, and may still trust these
//! fields. None of them is therefore accepted from a client, unless a route's `allow_headers` says
//! so. The comparison is deliberately generous. `gateway.toml` publishes the list, and a test
//! compares both.

/// The fields, grouped by their first letter for a fast comparison; `*` stands for any rest.
const X: &[&str] = &[
    "x-amzn-oidc-*",
    "x-appengine-user-*",
    "x-arr-clientcert",
    "x-auth-request-*",
    "x-authenticated-*",
    "x-authentik-*",
    "x-client-cert*",
    "x-client-dn",
    "x-client-ip",
    "x-client-verify",
    "x-cluster-client-ip",
    "x-consumer-*",
    "x-endpoint-api-userinfo",
    "x-forwarded-*",
    "x-goog-authenticated-user-*",
    "x-goog-iap-*",
    "x-ms-client-principal*",
    "x-ms-token-*",
    "x-original-forwarded-for",
    "x-original-method",
    "x-original-uri",
    "x-pomerium-*",
    "x-remote-*",
    "x-ssl-*",
    "x-tls-client-*",
    "x-userinfo",
    "x-vouch-*",
    "x-webauth-*",
];
const C: &[&str] =
    &["cf-access-*", "cf-connecting-ip*", "client-cert", "client-cert-chain", "client-ip"];
const F: &[&str] = &["fastly-client-ip"];
const I: &[&str] = &["iv-creds", "iv-groups", "iv-user"];
const O: &[&str] = &["oam-*", "oidc-*"];
const R: &[&str] = &["remote-*"];
const S: &[&str] = &["sm-*", "ssl-client-*"];
const T: &[&str] = &["tailscale-user-*", "true-client-ip"];

/// Every field, in the order in which `gateway.toml` lists them.
pub fn foreign_fields() -> impl Iterator<Item = &'static str> {
    [X, C, F, I, O, R, S, T].into_iter().flatten().copied()
}

/// True for such a field in any spelling that some server reads as the same name: every byte that
/// is neither letter nor digit counts as a dash (CGI makes `_` of `-`). `name` is in lower case, as
/// in `HeaderName`. This runs for every header field of every request.
pub fn is_foreign(name: &str) -> bool {
    let fields = match name.as_bytes().first() {
        Some(b'x') => {
            // Many names begin with `x-`. The letter after it rules out most of them with one
            // comparison. This function runs for every field of every request, so the usual field
            // should cost little.
            let third = name.as_bytes().get(2);
            let mut fields = X.iter().filter(|field| field.as_bytes().get(2) == third);
            return fields.any(|field| is_field(name, field));
        }
        Some(b'c') => C,
        Some(b'f') => F,
        Some(b'i') => I,
        Some(b'o') => O,
        Some(b'r') => R,
        Some(b's') => S,
        Some(b't') => T,
        _ => return false,
    };
    fields.iter().any(|field| is_field(name, field))
}

fn is_field(name: &str, field: &str) -> bool {
    match field.strip_suffix('*') {
        Some(prefix) => begins(name, prefix),
        None => name.len() == field.len() && begins(name, field),
    }
}

/// True if `name` begins with `prefix`, compared as the most generous server would.
fn begins(name: &str, prefix: &str) -> bool {
    let folded = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    name.len() >= prefix.len()
        && name.bytes().zip(prefix.bytes()).all(|(byte, known)| folded(byte) == known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_known_by_its_own_first_letter_and_in_every_spelling() {
        for field in foreign_fields() {
            let name = field.replace('*', "email");
            for spelling in [name.clone(), name.replace('-', "_"), name.replace('-', ".")] {
                assert!(is_foreign(&spelling), "{spelling}");
            }
        }
        for name in ["cookie", "content-type", "origin", "range", "referer", "x-key", "te", "sec-x"]
        {
            assert!(!is_foreign(name), "{name}");
        }
    }
}
