//! The places of credentials in requests, as `[[upstream]]` and `[[issuer]]` name them.
//!
//! They are tables with one key, as in dialects: `{ scheme = "Bearer" }`, `{ field = "X-Auth-Token" }`,
//! `{ cookie = "SID" }`, `{ query = "token" }`. Requests that go through the gateway have their
//! credential in the head, because their body belongs to the upstream.

use super::item::SpannedValue;
use super::reader::TableReader;
use crate::dialect::{CallCarrier, Carrier, PairCarrier};

const KINDS: &str = "write one of { scheme = \"Bearer\" }, { field = \"X-Auth-Token\" }, \
                     { cookie = \"SID\" }, { query = \"token\" }";
const CALL_KINDS: &str = "write one of { scheme = \"Bearer\" }, { field = \"X-Auth-Token\" }, \
                          { cookie = \"SID\" }, { query = \"token\" }, \
                          { pair = { token = {…}, key = {…} } }";

/// Reads a place. `None` after a problem was reported.
pub(super) fn read_carrier(item: &SpannedValue<'_>) -> Option<Carrier> {
    if !item.is_probe() && !item.is_table() {
        item.issue(KINDS);
        return None;
    }
    let mut table = item.table()?;
    let places = table.one_of(["scheme", "field", "cookie", "query"]);
    read_place(&table, places, KINDS)
}

/// Reads the place of a token, or the two places of a pair. `None` after a problem was reported.
pub(super) fn read_call_carrier(item: &SpannedValue<'_>) -> Option<CallCarrier> {
    if !item.is_probe() && !item.is_table() {
        item.issue(CALL_KINDS);
        return None;
    }
    let mut table = item.table()?;
    let [places @ .., pair] = table.one_of(["scheme", "field", "cookie", "query", "pair"]);
    let Some(pair) = pair else {
        return read_place(&table, places, CALL_KINDS).map(CallCarrier::Token);
    };
    if places.iter().any(Option::is_some) {
        table.issue("", format!("has to be one place: {CALL_KINDS}"));
        return None;
    }
    let mut pair = pair.table()?;
    let mut half = |key| {
        let place = pair.required(key, "a place such as { cookie = \"SID\" }");
        place.as_ref().and_then(read_carrier)
    };
    let (token, key) = (half("token"), half("key"));
    let (token, key) = token.zip(key)?;
    if token.folded() == key.folded() {
        item.issue("has token and key in one place");
        return None;
    }
    Some(CallCarrier::Pair(PairCarrier { token, key, fact: None }))
}

/// Reads the place that a table names by one of its keys: scheme, field, cookie or query.
fn read_place(
    table: &TableReader<'_>,
    places: [Option<SpannedValue<'_>>; 4],
    kinds: &str,
) -> Option<Carrier> {
    let text = |item: &SpannedValue<'_>| item.string().map(str::to_owned);
    let (carrier, item) = match places {
        [Some(item), None, None, None] => (text(&item).map(Carrier::scheme), item),
        [None, Some(item), None, None] => (text(&item).map(|name| Carrier::field(&name)), item),
        [None, None, Some(item), None] => (text(&item).map(Carrier::cookie), item),
        [None, None, None, Some(item)] => (text(&item).map(Carrier::query), item),
        _ => {
            table.issue("", format!("has to be one place: {kinds}"));
            return None;
        }
    };
    carrier?.map_err(|message| item.issue(message)).ok()
}
