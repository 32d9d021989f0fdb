//! `introspection` of an `[[issuer]]`: its tokens are asked about at the issuer (RFC 7662).
//!
//! Whatever says how a token is judged here is then of no use and reported: an operator who
//! thinks that it counts should not be left to think so.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::Uri;

use super::item::Item;
use super::keycheck::check_url;
use super::out::{HIDDEN, Out};
use super::reader::Table;
use crate::secret::SecretString;

/// How an issuer is asked about its tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Introspection {
    pub url: Uri,
    /// What the gateway calls itself there, and proves by.
    pub client_id: String,
    pub client_secret: SecretString,
    /// How long a token that the issuer called active is taken without asking again.
    pub cache: Duration,
}

/// A token that was withdrawn is taken for so long at the most.
const CACHE: Duration = Duration::from_secs(30);
const CACHES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// What is about tokens that are judged here.
const OF_NO_USE: [&str; 10] = [
    "algorithms",
    "jwks",
    "jwks_file",
    "public_key_file",
    "secret",
    "max_stale",
    "types",
    "type_optional",
    "required",
    "max_lifetime",
];

impl Introspection {
    /// The table, unless it is not there or has a problem, which was reported then.
    pub(super) fn read(item: &Item<'_>, table: &mut Table<'_>, allow_http: bool) -> Option<Self> {
        refuse(table, &OF_NO_USE, "is of no use with `introspection`: the issuer judges");
        let mut own = item.table()?;
        let url = own.required("url", "where the issuer is asked about a token");
        let url = url.as_ref().and_then(|item| read_url(item, allow_http));
        let client_id = own.required("client_id", "what the gateway is called at the issuer");
        let client_id = client_id.as_ref().and_then(Item::word);
        let secret = own.required("client_secret", "what it proves that by: { env = \"NAME\" }");
        let client_secret = secret.as_ref().and_then(Item::secret);
        let cache = read_cache(&mut own);
        Some(Self { url: url?, client_id: client_id?, client_secret: client_secret?, cache })
    }

    pub(super) fn print(&self) -> toml::Table {
        Out::default()
            .text("url", self.url.to_string())
            .text("client_id", &self.client_id)
            .text("client_secret", HIDDEN)
            .time("cache", self.cache)
            .table()
    }
}

/// How long a good answer is remembered.
pub(super) fn read_cache(table: &mut Table<'_>) -> Duration {
    table.duration_or("cache", CACHE, CACHES)
}

/// Reports those of the keys that are there.
pub(super) fn refuse(table: &mut Table<'_>, keys: &[&'static str], remedy: &str) {
    for item in keys.iter().filter_map(|key| table.get(key)) {
        // It may be a secret in its wrong place.
        item.hidden_issue(remedy);
    }
}

/// An address that is asked, with a query or without.
pub(super) fn read_url(item: &Item<'_>, allow_http: bool) -> Option<Uri> {
    let text = item.text()?;
    let checked = check_url(text, allow_http);
    // What stands in it may be a password.
    checked.map_err(|fault| item.hidden_issue(fault)).ok()
}
