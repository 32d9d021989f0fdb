//! `credential.mint` of an `[[upstream]]`: tokens in the upstream's own form, one for each user.
//!
//! The key is read and tried while the configuration is checked, so that a wrong one is found before
//! the first request. Claims are compiled here, too.

use std::time::Duration;

use serde_json::Value;

use super::carrier::read_carrier;
use super::files::FilePrivacy;
use super::issues::{Issue, IssueSeverity};
use super::item::SpannedValue;
use super::key_strength::check_secret;
use super::own_dialects::nearest;
use super::reader::TableReader;
use super::token;
use crate::algorithm::Algorithm;
use crate::dialect::{Carrier, DialectProblem, MintedClaims};
use crate::secret::Secret;
use crate::settings::{MintKey, MintSettings, MintedTemplate};
use crate::token::MintingKey;

/// As long as the tokens of most systems that issue their own.
const TTL: Duration = Duration::from_secs(600);
/// A token that leaked is of use for so long, and nobody can revoke it; a shorter one would have ended
/// where clocks differ.
const TTLS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(30)..=Duration::from_secs(24 * 3600);

impl MintSettings {
    /// Reads the table. `None` after a problem was reported.
    pub(super) fn read(item: &SpannedValue<'_>) -> Option<Self> {
        // Everything is read before anything can return, so that all problems are reported at once.
        let mut table = item.table()?;
        let algorithm = table.required("algorithm", "what the upstream verifies, e.g. \"HS256\"");
        let algorithm = algorithm.as_ref().and_then(token::algorithm);
        let key = read_key(&mut table, algorithm);
        let key_id = table.get("key_id");
        let key_id = key_id.as_ref().and_then(SpannedValue::plain_name);
        let ttl = table.duration_or("ttl", TTL, TTLS);
        let carrier = match table.get("carrier") {
            Some(item) => read_carrier(&item),
            None => Some(Carrier::bearer()),
        };
        let claims = table.required("claims", "who the user is: { sub = \"$user.name\" }");
        let claims = claims.and_then(|claims| read_claims(item, &claims));
        Some(Self {
            algorithm: algorithm?,
            key: key?,
            key_id,
            claims: claims?,
            ttl,
            carrier: carrier?,
        })
    }
}

/// Reads the secret or the private key, whichever the algorithm needs.
fn read_key(table: &mut TableReader<'_>, algorithm: Option<Algorithm>) -> Option<MintKey> {
    let (item, key) = match table.one_of(["secret", "key"]).into() {
        (Some(secret), None) => {
            if algorithm.is_some_and(|algorithm| !algorithm.is_symmetric()) {
                secret.hidden_issue("is for HMAC: this algorithm signs with a private `key`");
                return None;
            }
            let text = secret.secret()?;
            let algorithms = algorithm.as_slice();
            if let Err(fault) = check_secret(text.expose().len(), algorithms) {
                secret.hidden_issue(fault);
                return None;
            }
            let bytes = Secret::new(text.expose().clone().into_bytes());
            (secret, MintKey::Secret(bytes))
        }
        (None, Some(key)) => {
            if algorithm.is_some_and(|algorithm| algorithm.is_symmetric()) {
                key.issue("is a private key: HMAC signs with a `secret`");
                return None;
            }
            let (_, text) = key.read_text(FilePrivacy::Secret)?;
            (key, MintKey::Pem(text.into()))
        }
        _ => {
            table.issue("", "has to sign with one thing: `secret` for HMAC, `key` for a key pair");
            return None;
        }
    };
    // A key that does not fit would fail each request.
    if let Err(fault) = MintingKey::check(&key, algorithm?) {
        item.issue(format!("cannot sign: {fault}"));
        return None;
    }
    Some(key)
}

fn read_claims(mint: &SpannedValue<'_>, item: &SpannedValue<'_>) -> Option<MintedTemplate> {
    if !item.is_probe() && !item.is_table() {
        item.issue("must be a table: { sub = \"$user.name\" }");
        return None;
    }
    let Value::Object(written) = item.json() else { return None };
    if written.is_empty() {
        item.issue("must have a claim: without any, all users are one");
        return None;
    }
    match MintedClaims::check(written.clone()) {
        Ok(compiled) => Some(MintedTemplate { written, compiled }),
        Err(problems) => {
            problems.into_iter().for_each(|problem| report(mint, problem));
            None
        }
    }
}

/// Reports a problem of the claims at its line.
fn report(mint: &SpannedValue<'_>, problem: DialectProblem) {
    let path = mint.at().below(&problem.path);
    let found = nearest(mint, &path);
    let value = if *found.at() == path { found.shown() } else { problem.value };
    let position = Some(found.position());
    let severity = IssueSeverity::Error;
    mint.reading().add(Issue { position, path, value, remedy: problem.message, severity });
}
