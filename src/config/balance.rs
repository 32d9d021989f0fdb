//! `balance` and `hash_by` of an `[[upstream]]`: how the server for a request is chosen.
//!
//! The choice itself is made in `upstream`. With a hash, requests with the same key reach the same
//! server, for servers that keep state of their clients.

use http::header::HeaderName;

use super::item::SpannedValue;
use super::reader::TableReader;
use crate::settings::{BalancePolicy, HashBy};

/// Characters that the name of a cookie may have besides letters and digits (RFC 6265, section
/// 4.1.1).
const COOKIE_NAME: &str = "!#$%&'*+-.^_`|~";

impl BalancePolicy {
    pub(super) fn read(table: &mut TableReader<'_>) -> Self {
        let by = table.get("hash_by");
        table.default_is("balance", "least_requests");
        let balance = table.get("balance").and_then(|item| {
            item.choice(&[
                ("least_requests", Self::LeastRequests),
                ("round_robin", Self::RoundRobin),
                ("hash", Self::Hash(HashBy::Client)),
            ])
        });
        match (balance, by) {
            (Some(Self::Hash(default)), by) => {
                Self::Hash(by.and_then(|by| HashBy::read(&by)).unwrap_or(default))
                // `hash_by` without the hash would have no effect, and requests of one key would be
                // spread over all servers.
            }
            (balance, by) => {
                if let Some(by) = by {
                    by.issue("is of no use: balance is not \"hash\"");
                }
                balance.unwrap_or(Self::LeastRequests)
            }
        }
    }
}

impl HashBy {
    fn read(item: &SpannedValue<'_>) -> Option<Self> {
        if !item.is_table() {
            return item.choice(&[("client", Self::Client), ("subject", Self::Subject)]);
        }
        let mut table = item.table()?;
        match table.one_of(["header", "cookie"]).into() {
            (Some(header), None) => {
                let name = HeaderName::try_from(header.string()?);
                name.map_err(|_| header.issue("must be the name of a header field"))
                    .ok()
                    .map(Self::Header)
            }
            (None, Some(cookie)) => {
                let name = cookie.string()?;
                // A name with other characters could not be sent in a `Cookie` field, so no request
                // would ever match.
                let fits =
                    |letter: char| letter.is_ascii_alphanumeric() || COOKIE_NAME.contains(letter);
                if name.is_empty() || !name.chars().all(fits) {
                    cookie.issue("must be the name of a cookie");
                    return None;
                }
                Some(Self::Cookie(name.to_owned()))
            }
            _ => {
                item.issue("must have one of `header` and `cookie`");
                None
            }
        }
    }
}
