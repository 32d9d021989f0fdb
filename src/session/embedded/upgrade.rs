//! From the schema of an earlier version to this one, in one transaction.
//!
//! An earlier version must not open the file afterwards: it would not ask users for their second
//! step, and would not find their sessions. What a crash leaves is the old schema or the new one.
//!
//! - 1 had no users of other sources, 2 no source in the key of a second step. Both come to be when
//!   the tables are opened.
//! - 3 knew the user of a session by the id that the source gives, whatever source that was.

use std::collections::HashMap;

use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};
use serde::Deserialize;
use serde_json::Value;

use super::sessions;
use super::tables::{Fault, Hash, Id, META_SCHEMA, SCHEMA, Tables};
use super::versions;
use crate::clock::Timestamp;
use crate::identity::{IdRules, UserId};
use crate::secret::Digest;
use crate::session::{Code, Session};

/// The sessions of a user id, up to version 3.
const BY_SUBJECT: TableDefinition<'_, (&str, u64, &Id), ()> = TableDefinition::new("by_subject");
/// User versions that became another, by user id, up to version 3.
const REHASHED: TableDefinition<'_, (&str, &Hash), (u64, &Hash)> = TableDefinition::new("rehashed");

/// Brings the file to the schema of this version.
pub(super) fn run(db: &Database, ids: &IdRules) -> Result<(), Fault> {
    let txn = db.begin_write()?;
    let rehashed = take_rehashed(&txn)?;
    txn.delete_table(BY_SUBJECT)?;
    let mut t = Tables::open(&txn, &std::sync::Arc::default(), std::time::Duration::ZERO)?;
    let mut sources = sources_of_codes(&t)?;
    for id in sessions::all(&t)? {
        let session = identified(&t, id.0.as_bytes(), ids)?;
        let Some(session) = session else { continue };
        sessions::save(&mut t, &session)?;
        t.change().by_user.insert(sessions::user_key(&session), ())?;
        sources.entry(session.user_id).or_default().push(session.source);
    }
    for (id, old, new, until) in rehashed {
        // The row does not say whose it is: whoever has this id, of whatever source.
        for source in sources.get(&id).into_iter().flatten() {
            versions::remember(&mut t, (source, &id), (old, new), until)?;
        }
    }
    t.change().meta.insert(META_SCHEMA, SCHEMA.to_be_bytes().as_slice())?;
    drop(t);
    txn.commit()?;
    Ok(())
}

type Rehashed = (UserId, Digest, Digest, Timestamp);

fn take_rehashed(txn: &WriteTransaction) -> Result<Vec<Rehashed>, Fault> {
    let mut rows = Vec::new();
    for row in txn.open_table(REHASHED)?.iter()? {
        let (key, value) = row?;
        let ((id, old), (until, new)) = (key.value(), value.value());
        let until = Timestamp::from_millis(until);
        rows.push((UserId::new(id), Digest(*old), Digest(*new), until));
    }
    txn.delete_table(REHASHED)?;
    Ok(rows)
}

/// The sources of the users who have a code on its way.
fn sources_of_codes(t: &Tables<'_>) -> Result<HashMap<UserId, Vec<String>>, Fault> {
    let mut sources: HashMap<UserId, Vec<String>> = HashMap::new();
    for row in t.rows().codes.iter()? {
        let held: Value = serde_json::from_slice(row?.1.value())?;
        let code: Option<Code> = held.get("code").and_then(|code| Code::deserialize(code).ok());
        // One that cannot be read is nobody's, as it was before.
        if let Some(code) = code {
            sources.entry(code.user_id).or_default().push(code.source);
        }
    }
    Ok(sources)
}

/// A session of an earlier version, with who its user is to everybody else.
fn identified(t: &Tables<'_>, id: &Id, ids: &IdRules) -> Result<Option<Session>, Fault> {
    let Some(row) = t.rows().sessions.get(id)? else { return Ok(None) };
    let mut row: serde_json::Map<String, Value> = serde_json::from_slice(row.value())?;
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (user_id, source) = (UserId::new(text("subject")), text("source"));
    let subject = ids.subject(&source, &user_id);
    for (name, value) in [
        ("subject", subject.as_str()),
        ("realm", ids.realm(&source)),
        ("user_id", user_id.as_str()),
    ] {
        row.insert(name.to_owned(), value.into());
    }
    Ok(Some(serde_json::from_value(Value::Object(row))?))
}
