//! The table of cut-offs in the store file.
//!
//! A cut-off refuses the foreign tokens of a user that were issued until a certain time (see
//! `crate::TokenCutoffs`, which requests read). `sessions::revoke` writes the table, and
//! the start of the store reads all of it.

use redb::ReadableTable;

use super::tables::{StoreFault, Tables};
use crate::TokenOwner;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::Subject;

/// The kinds of names. They are stored in the file, so they must never change.
const SUBJECT: &str = "subject";
const USERNAME: &str = "username";

/// Refuses the tokens that were issued to `owner` until `at`; a later cut-off is kept.
pub(super) fn keep(
    tables: &mut Tables<'_>,
    owner: &TokenOwner,
    at: Timestamp,
) -> Result<(), StoreFault> {
    let key = match owner {
        TokenOwner::Subject(subject) => (SUBJECT, subject.as_str()),
        TokenOwner::Username(name) => (USERNAME, name.as_ref()),
    };
    let current = tables.rows().cutoffs.get(key)?.map(|current| current.value());
    if current.is_none_or(|current| current < at.millis()) {
        tables.change().cutoffs.insert(key, at.millis())?;
    }
    tables.effects.cutoffs.push((owner.clone(), at));
    Ok(())
}

/// All cut-offs in the table.
pub(super) fn all(
    table: &impl ReadableTable<(&'static str, &'static str), u64>,
) -> Result<Vec<(TokenOwner, Timestamp)>, StoreFault> {
    let mut found = Vec::new();
    for row in table.iter()? {
        let (key, at) = row?;
        let owner = match key.value() {
            (SUBJECT, subject) => TokenOwner::Subject(Subject::new(subject)),
            (_, name) => TokenOwner::Username(name.into()),
        };
        found.push((owner, Timestamp::from_millis(at.value())));
    }
    Ok(found)
}
