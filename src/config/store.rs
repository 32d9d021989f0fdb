//! `[store]`: the file in the state folder, or a database that several gateways share.
//!
//! Nothing is connected here: whether the database can be reached is found out at the start, and by
//! `check --online`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::item::SpannedValue;
use super::reader::TableReader;
use super::warnings::WarningName;
use crate::features;
use crate::secret::{Digest, Secret, SecretString};
use crate::session::shared::SEAL_LEN;
use crate::settings::path::is_loopback;
use crate::settings::{SharedStoreSettings, StoreSettings};

const KINDS: [&str; 3] = ["embedded", "postgres", "redis"];
const SHARED_KEYS: [&str; 7] = ["url", "ca", "tls", "seal", "schema", "key_prefix", "stale_limit"];
/// How long credentials are accepted while nobody knows what other nodes revoke.
const STALE_LIMIT: Duration = Duration::from_secs(30);
const STALE_LIMITS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// A limit above this is worth a warning.
const LONG_LIMIT: Duration = Duration::from_secs(300);
const NAMESPACE: &str = "tollhouse";
/// PostgreSQL cuts longer names off.
const LONGEST_NAMESPACE: usize = 63;

impl StoreSettings {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        table.default_is("kind", "embedded");
        let item = table.get("kind");
        let kind = item.as_ref().and_then(|item| item.text_among(&KINDS)).unwrap_or("embedded");
        if let Some(form) = KINDS.iter().find(|known| **known == kind) {
            table.has_form("kind", form);
        }
        if let (Some(item), Some(left_out)) = (&item, features::left_out(kind)) {
            table.entries();
            item.issue(left_out.to_string());
            return Self::Embedded;
        }
        match kind {
            "embedded" => {
                table.refuse(
                    &SHARED_KEYS,
                    "belongs to a store with kind = \"postgres\" or \"redis\"",
                );
                Self::Embedded
            }
            "postgres" => read_shared(&mut table, &POSTGRES).map_or(Self::Embedded, Self::Postgres),
            "redis" => read_shared(&mut table, &REDIS).map_or(Self::Embedded, Self::Redis),
            _ => {
                // Without a kind it is unknown which keys are right, so none of them is reported.
                table.entries();
                if let Some(item) = &item {
                    item.issue(format!("no such store; there are {}", KINDS.join(", ")));
                }
                Self::Embedded
            }
        }
    }
}

/// The settings in which the kinds of shared stores differ.
struct SharedForm {
    schemes: &'static [&'static str],
    example: &'static str,
    /// The key that names the part of the database that belongs to the gateways, and the key that
    /// does so for the other kind.
    namespace: &'static str,
    other_namespace: &'static str,
}

const POSTGRES: SharedForm = SharedForm {
    schemes: &["postgres", "postgresql"],
    example: "\"postgres://gateway@db.example/tollhouse\"",
    namespace: "schema",
    other_namespace: "key_prefix",
};

const REDIS: SharedForm = SharedForm {
    schemes: &[
        "redis",
        "rediss",
        "redis+sentinel",
        "rediss+sentinel",
        "redis+cluster",
        "rediss+cluster",
    ],
    example: "\"rediss://gateway@cache.example:6379\", \"redis+sentinel://…\" or \
              \"redis+cluster://…\"",
    namespace: "key_prefix",
    other_namespace: "schema",
};

/// Reads a shared store. `None` if it is not usable, which has been reported.
fn read_shared(table: &mut TableReader<'_>, form: &SharedForm) -> Option<SharedStoreSettings> {
    table.refuse(&[form.other_namespace], "belongs to the other kind of store");
    let url = table.required("url", "the database: { env = \"NAME\" } or { file = \"path\" }");
    let url = url.as_ref().and_then(|item| read_url(item, form));
    let ca = table.get("ca").and_then(|item| item.read_certificates());
    table.default_is("tls", "verify");
    let tls = table.get("tls");
    let allow_plain =
        tls.as_ref().and_then(|item| item.choice(&[("verify", false), ("none", true)]));
    let allow_plain = allow_plain.unwrap_or(false);
    let seal = table.required("seal", "32 bytes that all nodes share: `tollhouse store seal-key`");
    let seal = seal.as_ref().and_then(read_seal);
    let namespace = read_namespace(table, form);
    let stale_limit = read_stale_limit(table);
    let url = url?;
    // PostgreSQL takes hosts from parameters, too.
    let names_hosts = url.expose().contains("host=") || url.expose().contains("hostaddr=");
    let is_near =
        !names_hosts && hosts(url.expose()).iter().all(|host| host.is_empty() || is_loopback(host));
    if let (Some(tls), true) = (&tls, allow_plain && !is_near) {
        tls.warn(
            WarningName::PlainStore,
            "sends the gateway's own password in the clear, and lets anybody on the way answer for \
             the store",
        );
    }
    Some(SharedStoreSettings { url, ca, allow_plain, seal: seal?, namespace, stale_limit })
}

/// Reads a URL, which may be written in the file if it has no password.
fn read_url(item: &SpannedValue<'_>, form: &SharedForm) -> Option<SecretString> {
    let url = if item.is_text() { read_plain_url(item)? } else { item.secret()? };
    let scheme = url.expose().split_once("://").map(|(scheme, _)| scheme);
    if !scheme.is_some_and(|scheme| form.schemes.contains(&scheme)) {
        item.hidden_issue(format!("must be the URL of the store, for example {}", form.example));
        return None;
    }
    Some(url)
}

/// Reads a URL that is written in the configuration. It must not contain a password.
fn read_plain_url(item: &SpannedValue<'_>) -> Option<SecretString> {
    let text = item.string()?;
    let user = authority(text).rsplit_once('@').map_or("", |(user, _)| user);
    if user.contains(':') || text.contains("password=") {
        item.hidden_issue("has a password in it: write { env = \"NAME\" } or { file = \"path\" }");
        return None;
    }
    item.reading().note_written(item.at(), text);
    Some(text.into())
}

/// The part of a URL with the user and the hosts.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// The hosts of a URL, without ports. A host that is empty or a path means this machine.
fn hosts(url: &str) -> Vec<&str> {
    let hosts = authority(url).rsplit('@').next().unwrap_or_default();
    let host = |one: &str| -> usize {
        match one.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address.len(),
            None => one.rsplit_once(':').map_or(one.len(), |(name, _)| name.len()),
        }
    };
    let bare = |one: &'_ str| one.starts_with('[');
    hosts
        .split(',')
        .map(|one| {
            let start = usize::from(bare(one));
            one.get(start..start + host(one)).unwrap_or(one)
        })
        .collect()
}

/// Reads the seal: 32 bytes as base64 (RFC 4648, section 4) or as 64 hexadecimal digits.
fn read_seal(item: &SpannedValue<'_>) -> Option<Secret<[u8; SEAL_LEN]>> {
    let text = item.secret()?;
    let seal = parse_seal(text.expose());
    if seal.is_none() {
        item.hidden_issue(format!("must be {SEAL_FORM}"));
    }
    seal
}

/// The form of a seal, for messages.
pub(crate) const SEAL_FORM: &str =
    "32 bytes as base64 or hexadecimal digits: `tollhouse store seal-key` makes them";

/// The seal in a text; `None` if it is of another form.
pub(crate) fn parse_seal(text: &str) -> Option<Secret<[u8; SEAL_LEN]>> {
    let text = text.trim();
    let hex = Digest::from_hex(text).map(|digest| digest.0);
    let bytes = hex.or_else(|| STANDARD.decode(text).ok()?.try_into().ok())?;
    Some(Secret::new(bytes))
}

fn read_namespace(table: &mut TableReader<'_>, form: &SharedForm) -> String {
    table.default_is(form.namespace, NAMESPACE);
    let Some(item) = table.get(form.namespace) else { return NAMESPACE.to_owned() };
    let name = item.plain_name().unwrap_or_else(|| NAMESPACE.to_owned());
    let is_name = name.len() <= LONGEST_NAMESPACE
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_');
    if !is_name {
        item.issue("must be a name of lower-case letters, digits and _, at most 63 of them");
    }
    name
}

fn read_stale_limit(table: &mut TableReader<'_>) -> Duration {
    let limit = table.duration_or("stale_limit", STALE_LIMIT, STALE_LIMITS);
    if limit > LONG_LIMIT
        && let Some(item) = table.get("stale_limit")
    {
        item.warn(
            WarningName::LongStaleLimit,
            "a token that was revoked on another node is accepted for as long as this while the \
             store cannot be reached",
        );
    }
    limit
}
