//! The source of an issuer's keys: its own address, a file, or a shared secret.
//!
//! Files are read while the configuration is checked. Nothing on the network is asked before the
//! gateway runs, so a check works without the issuer. If no source is named, the issuer's keys are
//! found by OpenID discovery. Keys that do not fit the algorithms are refused here.

use super::files::FilePrivacy;
use super::item::SpannedValue;
use super::key_strength::{check_jwks, check_pem, check_secret, check_url};
use super::reader::TableReader;
use crate::algorithm::Algorithm;
use crate::secret::Secret;
use crate::settings::IssuerKeys;

/// Appended to the issuer, after its last slash was removed (OpenID Connect Discovery 1.0, section
/// 4.1). An issuer with a path keeps it: the text is appended after the path.
const WELL_KNOWN: &str = "/.well-known/openid-configuration";
const NO_KEYS: &str = "name jwks, jwks_file, public_key_file or secret";

/// Reads the source of the keys. `None` after a problem was reported.
pub(super) fn read_keys(
    table: &mut TableReader<'_>,
    issuer: &str,
    algorithms: &[Algorithm],
    allow_weak: bool,
    allow_http: bool,
) -> Option<IssuerKeys> {
    let is_symmetric = algorithms.iter().any(|algorithm| algorithm.is_symmetric());
    let names = ["jwks", "jwks_file", "public_key_file", "secret"];
    let sources = table.at_most_one_of(names);
    let sources = names.into_iter().zip(&sources);
    let mut given = sources.filter_map(|(key, item)| Some((key, item.as_ref()?)));
    match (given.next(), given.next()) {
        // Two sources would leave open which one holds if they differ, so exactly one is accepted.
        (None, _) => read_discovery(table, issuer, is_symmetric, allow_http),
        (Some(("jwks", item)), None) => read_url(item, is_symmetric, allow_http),
        (Some(("jwks_file", item)), None) => read_set(item, algorithms, allow_weak),
        (Some(("public_key_file", item)), None) => read_pem(item, algorithms),
        (Some((_, item)), None) => read_secret(item, algorithms, allow_weak),
        (Some(_), Some(_)) => {
            table.issue("", format!("has keys from two places: {NO_KEYS}, one of them"));
            None
        }
    }
}

/// Reads `allow_weak_secret`. A weak secret can be guessed from one token, so the permission ends
/// together with the takeover.
pub(super) fn read_allow_weak(table: &mut TableReader<'_>, is_takeover: bool) -> bool {
    table.default_is("allow_weak_secret", false);
    let item = table.get("allow_weak_secret");
    let allow_weak = item.as_ref().and_then(SpannedValue::bool).unwrap_or(false);
    if let (Some(item), true, false) = (&item, allow_weak, is_takeover) {
        item.issue("is only for a takeover: say `until` when it ends");
    }
    allow_weak
}

fn read_discovery(
    table: &TableReader<'_>,
    issuer: &str,
    is_symmetric: bool,
    allow_http: bool,
) -> Option<IssuerKeys> {
    if issuer.is_empty() {
        return None;
    }
    // A published HMAC secret would let every reader of the key set sign tokens.
    if is_symmetric {
        table.issue("", "has no keys: an HMAC `secret` is never published");
        return None;
    }
    // The last slash is removed and the query refused, because the path is appended to the issuer
    // as text. An issuer with a query would otherwise produce an address in which the path is part
    // of the query.
    let at = format!("{}{WELL_KNOWN}", issuer.strip_suffix('/').unwrap_or(issuer));
    let found = match at.contains('?') {
        true => Err("has a query".to_owned()),
        false => check_url(&at, allow_http),
    };
    match found {
        Ok(uri) => Some(IssuerKeys::Discovery(uri)),
        Err(fault) => {
            let why = format!("OpenID discovery would ask the issuer, but that {fault}");
            table.issue("", format!("has no keys: {NO_KEYS}; {why}"));
            None
        }
    }
}

fn read_url(item: &SpannedValue<'_>, is_symmetric: bool, allow_http: bool) -> Option<IssuerKeys> {
    if is_symmetric {
        item.issue("is for key pairs, but the algorithms are HMAC: give `secret`");
    }
    let text = item.string()?;
    match check_url(text, allow_http) {
        Ok(uri) => Some(IssuerKeys::Url(uri)),
        // The part before an `@` may be a password.
        Err(fault) if text.contains('@') => {
            item.hidden_issue(fault);
            None
        }
        Err(fault) => {
            item.issue(fault);
            None
        }
    }
}

fn read_set(
    item: &SpannedValue<'_>,
    algorithms: &[Algorithm],
    allow_weak: bool,
) -> Option<IssuerKeys> {
    let is_symmetric = algorithms.iter().any(|algorithm| algorithm.is_symmetric());
    // A file with an HMAC secret must not be readable by other users; a public key may be.
    let privacy = if is_symmetric { FilePrivacy::Secret } else { FilePrivacy::Public };
    let (_, text) = item.read_text(privacy)?;
    report(item, check_jwks(&text, algorithms, allow_weak));
    Some(IssuerKeys::Jwks(text))
}

fn read_pem(item: &SpannedValue<'_>, algorithms: &[Algorithm]) -> Option<IssuerKeys> {
    let (_, text) = item.read_text(FilePrivacy::Public)?;
    if algorithms.iter().any(|algorithm| algorithm.is_symmetric()) {
        item.issue("is a public key, but the algorithms are HMAC: give `secret`");
    } else if !algorithms.is_empty() {
        report(item, check_pem(&text, algorithms));
    }
    Some(IssuerKeys::Pem(text))
}

fn read_secret(
    item: &SpannedValue<'_>,
    algorithms: &[Algorithm],
    allow_weak: bool,
) -> Option<IssuerKeys> {
    if !algorithms.is_empty() && !algorithms.iter().any(|algorithm| algorithm.is_symmetric()) {
        item.hidden_issue("is for HMAC, but the algorithms are for key pairs");
    }
    let secret = item.secret()?;
    if !allow_weak && let Err(fault) = check_secret(secret.expose().len(), algorithms) {
        item.hidden_issue(fault);
    }
    Some(IssuerKeys::Secret(Secret::new(secret.expose().clone().into_bytes())))
}

fn report(item: &SpannedValue<'_>, checked: Result<(), String>) {
    if let Err(fault) = checked {
        item.issue(fault);
    }
}
