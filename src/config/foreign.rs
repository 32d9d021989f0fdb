//! Fields by which other gateways, proxies and content networks tell a server who calls.
//!
//! The server behind us may have stood behind one of them and still believe it, so none of these
//! comes from a client unless a route's `allow_headers` says so. gateway.toml publishes the list.

use http::header::HeaderName;

use super::reader::Table;
use super::warnings::WarningName;

/// The fields, by their first letter; `*` is for whatever else the name may say.
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

/// Every field, as gateway.toml lists them.
pub fn foreign_fields() -> impl Iterator<Item = &'static str> {
    [X, C, F, I, O, R, S, T].into_iter().flatten().copied()
}

/// True for such a field in any spelling that some server reads as the same: any byte that is no
/// letter or digit stands for a dash. `name` is in lower case, as `HeaderName` has it.
pub fn is_foreign(name: &str) -> bool {
    let fields = match name.as_bytes().first() {
        Some(b'x') => {
            // The letter after `X-` ends most of these comparisons: there are many.
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

/// True if `name` begins with `prefix` to the most generous server.
fn begins(name: &str, prefix: &str) -> bool {
    let folded = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    name.len() >= prefix.len()
        && name.bytes().zip(prefix.bytes()).all(|(byte, held)| folded(byte) == held)
}

/// What the gateway itself says: it is never a client's, not even where a proxy in front of us is
/// believed.
const OURS: &[&str] = &[
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
];

/// `allow_headers` of a route: those of the fields that its clients may send after all.
pub(super) fn read_allowed(table: &mut Table<'_>) -> Vec<HeaderName> {
    let Some(item) = table.get("allow_headers") else { return Vec::new() };
    let list = item.list().unwrap_or_default();
    let mut allowed = Vec::with_capacity(list.len());
    for item in &list {
        match item.text().map(check_allowed) {
            Some(Ok(name)) if allowed.contains(&name) => item.issue("stands here twice"),
            Some(Ok(name)) => allowed.push(name),
            Some(Err(remedy)) => item.issue(remedy),
            None => {}
        }
    }
    if !allowed.is_empty() {
        item.warn(
            WarningName::ProtectedFields,
            "lets through fields by which the upstream may take a client for somebody else",
        );
    }
    allowed
}

fn check_allowed(name: &str) -> Result<HeaderName, &'static str> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is no header name")?;
    if OURS.contains(&parsed.as_str()) {
        return Err("is the gateway's own: the upstream relies on it");
    }
    if !is_foreign(parsed.as_str()) {
        return Err("is not removed, or never let through: see the list at allow_headers");
    }
    Ok(parsed)
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
