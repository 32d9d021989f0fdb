//! Places in the head of a request where a part of a credential is: `{ field = "X-API-Key" }`.
//!
//! They are written as in a dialect. Only fields, schemes of `Authorization` and parameters of the
//! query are taken here: a cookie is sent by a browser on its own, and a body is read after its
//! credential.

use super::headers::check_credential_name;
use super::item::SpannedValue;
use super::reader::TableReader;
use crate::dialect::Carrier;

const FORMS: &str = "{ field = \"…\" }, { scheme = \"…\" } or { query = \"…\" }";

/// Reads a table that is a place alone. `None` after a problem was reported.
pub(super) fn read_carrier(item: &SpannedValue<'_>) -> Option<Carrier> {
    let mut table = item.table()?;
    let [field, scheme, query] = table.one_of(["field", "scheme", "query"]);
    let places = [
        field.map(|item| read_field(&item)),
        scheme.map(|item| read_scheme(&item)),
        query.map(|item| read_query(&item)),
    ];
    the_one(&table, FORMS, places)
}

/// Reads the place among other keys of `table`. A whole `Authorization` is no part of a credential,
/// so there is no scheme.
pub(super) fn read_place(table: &mut TableReader<'_>) -> Option<Carrier> {
    let [field, query] = table.one_of(["field", "query"]);
    let places = [field.map(|item| read_field(&item)), query.map(|item| read_query(&item))];
    the_one(table, "`field` or `query`", places)
}

/// The one place that there is. Outer: the key is there; inner: it could be read.
fn the_one<const N: usize>(
    table: &TableReader<'_>,
    forms: &str,
    places: [Option<Option<Carrier>>; N],
) -> Option<Carrier> {
    let mut given = places.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(place), None) => place,
        (None, _) => {
            table.issue("", format!("names no place: {forms}"));
            None
        }
        (Some(_), Some(_)) => {
            table.issue("", format!("has to name one place: {forms}"));
            None
        }
    }
}

fn read_field(item: &SpannedValue<'_>) -> Option<Carrier> {
    match check_credential_name(item.string()?) {
        Ok(name) => Some(Carrier::Field(name)),
        Err(remedy) => {
            item.issue(remedy);
            None
        }
    }
}

fn read_scheme(item: &SpannedValue<'_>) -> Option<Carrier> {
    let scheme = item.string()?;
    if scheme.is_empty() {
        item.issue("must be a scheme of Authorization, for example \"Signature\"");
        return None;
    }
    Carrier::scheme(scheme.to_owned()).map_err(|remedy| item.issue(remedy)).ok()
}

fn read_query(item: &SpannedValue<'_>) -> Option<Carrier> {
    Carrier::query(item.string()?.to_owned()).map_err(|remedy| item.issue(remedy)).ok()
}
