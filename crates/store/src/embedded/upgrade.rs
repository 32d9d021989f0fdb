//! Upgrades the file from an earlier schema to this one, in one transaction.
//!
//! A crash leaves the old schema or the new one, nothing between. An earlier program version must
//! not open the file afterwards: it would not ask users for their second step and would not find
//! their sessions; it refuses the higher schema number.
//!
//! - Schema 1 had no users of remote sources; schema 2 had no source in the key of a second step.
//!   Both tables are made when the tables are opened.
//! - Schema 3 identified the user of a session by the id in the source, whichever source that was.
//! - Schema 4 had no opaque access tokens. Their table is made when the tables are opened. An
//!   earlier program version would leave rows in it behind when it ends a session.

use std::collections::HashMap;

use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};
use serde::Deserialize;
use serde_json::Value;

use super::rehashed_versions::{self, VersionChange};
use super::session_rows;
use super::tables::{DigestBytes, META_SCHEMA, SCHEMA, ShortId, StoreFault, Tables};
use crate::{OneTimeCode, Session};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{IdRules, UserId};
use tollhouse_core::secret::Digest;

/// The sessions of a user id, up to schema 3.
const BY_SUBJECT: TableDefinition<'_, (&str, u64, &ShortId), ()> =
    TableDefinition::new("by_subject");
/// User versions replaced by re-hashing, by user id, up to schema 3.
const REHASHED: TableDefinition<'_, (&str, &DigestBytes), (u64, &DigestBytes)> =
    TableDefinition::new("rehashed");

/// The first schema in which sessions name the subject and realm of their user.
const WITH_SUBJECTS: u64 = 4;

/// Upgrades the file from the schema `found` to that of this program version.
pub(super) fn run(db: &Database, found: u64, ids: &IdRules) -> Result<(), StoreFault> {
    let txn = db.begin_write()?;
    if found < WITH_SUBJECTS {
        identify_sessions(&txn, ids)?;
    }
    let mut tables = Tables::open(&txn, &std::sync::Arc::default(), std::time::Duration::ZERO)?;
    tables.change().meta.insert(META_SCHEMA, SCHEMA.to_be_bytes().as_slice())?;
    drop(tables);
    txn.commit()?;
    Ok(())
}

/// Gives the sessions of a schema before `WITH_SUBJECTS` the subject and realm of their user.
fn identify_sessions(txn: &WriteTransaction, ids: &IdRules) -> Result<(), StoreFault> {
    // The old table is read before its replacement is filled, and both happen in this transaction.
    let rehashed = take_rehashed(txn)?;
    txn.delete_table(BY_SUBJECT)?;
    let mut tables = Tables::open(txn, &std::sync::Arc::default(), std::time::Duration::ZERO)?;
    let mut sources = sources_of_codes(&tables)?;
    for id in session_rows::all(&tables)? {
        let session = identified(&tables, id.0.as_bytes(), ids)?;
        let Some(session) = session else { continue };
        session_rows::save(&mut tables, &session)?;
        tables.change().by_user.insert(session_rows::user_key(&session), ())?;
        sources.entry(session.user_id).or_default().push(session.source);
    }
    for (id, change, until) in rehashed {
        // An old row names no source, so it applies to the user with this id in every source that
        // is known to have one.
        for source in sources.get(&id).into_iter().flatten() {
            rehashed_versions::remember(&mut tables, source, &id, change, until)?;
        }
    }
    Ok(())
}

type RehashedAccount = (UserId, VersionChange, Timestamp);

fn take_rehashed(txn: &WriteTransaction) -> Result<Vec<RehashedAccount>, StoreFault> {
    let mut rows = Vec::new();
    for row in txn.open_table(REHASHED)?.iter()? {
        let (key, value) = row?;
        let (id, old) = key.value();
        let (until, new) = value.value();
        let until = Timestamp::from_millis(until);
        let change = VersionChange { old: Digest(*old), new: Digest(*new) };
        rows.push((UserId::new(id), change, until));
    }
    txn.delete_table(REHASHED)?;
    Ok(rows)
}

/// The sources of the users who have a one-time code on its way.
fn sources_of_codes(tables: &Tables<'_>) -> Result<HashMap<UserId, Vec<String>>, StoreFault> {
    let mut sources: HashMap<UserId, Vec<String>> = HashMap::new();
    for row in tables.rows().codes.iter()? {
        let stored: Value = serde_json::from_slice(row?.1.value())?;
        let code: Option<OneTimeCode> =
            stored.get("code").and_then(|code| OneTimeCode::deserialize(code).ok());
        // A code that cannot be read belongs to nobody; the second step refuses it as before.
        if let Some(code) = code {
            sources.entry(code.user_id).or_default().push(code.source);
        }
    }
    Ok(sources)
}

/// A session of an earlier schema, completed with the subject, realm and user id of this one.
fn identified(
    tables: &Tables<'_>,
    id: &ShortId,
    ids: &IdRules,
) -> Result<Option<Session>, StoreFault> {
    let Some(row) = tables.rows().sessions.get(id)? else { return Ok(None) };
    let mut row: serde_json::Map<String, Value> = serde_json::from_slice(row.value())?;
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let user_id = UserId::new(text("subject"));
    let source = text("source");
    let subject = ids.subject(&source, &user_id);
    // Up to schema 3 the field `subject` had the source's user id. It moves to `user_id`, and
    // `subject` gets the id that everything outside the source sees.
    for (name, value) in [
        ("subject", subject.as_str()),
        ("realm", ids.realm(&source)),
        ("user_id", user_id.as_str()),
    ] {
        row.insert(name.to_owned(), value.into());
    }
    Ok(Some(serde_json::from_value(Value::Object(row))?))
}
