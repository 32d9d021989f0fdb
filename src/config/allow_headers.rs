//! `allow_headers` of a route: the fields of other gateways (`headers::is_foreign`) that its clients
//! may send all the same.
//!
//! Fields that the gateway itself sets are refused: a client that could send them could claim
//! another address.

use http::header::HeaderName;

use super::reader::TableReader;
use super::warnings::WarningName;
use crate::headers::is_foreign;

/// The fields that the gateway itself sets. A client may never send them, not even through a
/// trusted proxy. Proxies in front are evaluated by other code, which then sets these fields anew.
/// Therefore `allow_headers` refuses them as well.
const OURS: &[&str] = &[
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
];

/// Reads `allow_headers` of a route: the fields from the list that its clients may send.
pub(super) fn read_allowed(table: &mut TableReader<'_>) -> Vec<HeaderName> {
    table.default_is("allow_headers", Vec::<String>::new());
    let Some(item) = table.get("allow_headers") else { return Vec::new() };
    let list = item.list().unwrap_or_default();
    let mut allowed = Vec::with_capacity(list.len());
    for item in &list {
        match item.string().map(check_allowed) {
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
