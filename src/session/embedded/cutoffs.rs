//! The file's part of `crate::session::Cutoffs`.

use redb::ReadableTable;

use super::tables::{Fault, Tables};
use crate::clock::Timestamp;
use crate::identity::Subject;
use crate::session::TokenOwner;

/// Kinds of names; they are in the file.
const SUBJECT: &str = "subject";
const USERNAME: &str = "username";

/// Refuses what was issued to `owner` until `at`.
pub(super) fn keep(t: &mut Tables<'_>, owner: &TokenOwner, at: Timestamp) -> Result<(), Fault> {
    let key = match owner {
        TokenOwner::Subject(subject) => (SUBJECT, subject.as_str()),
        TokenOwner::Username(name) => (USERNAME, name.as_ref()),
    };
    let held = t.rows().cutoffs.get(key)?.map(|held| held.value());
    if held.is_none_or(|held| held < at.millis()) {
        t.change().cutoffs.insert(key, at.millis())?;
    }
    t.effects.cutoffs.push((owner.clone(), at));
    Ok(())
}

/// Everything that was kept.
pub(super) fn all(t: &Tables<'_>) -> Result<Vec<(TokenOwner, Timestamp)>, Fault> {
    let mut found = Vec::new();
    for row in t.rows().cutoffs.iter()? {
        let (key, at) = row?;
        let owner = match key.value() {
            (SUBJECT, subject) => TokenOwner::Subject(Subject::new(subject)),
            (_, name) => TokenOwner::Username(name.into()),
        };
        found.push((owner, Timestamp::from_millis(at.value())));
    }
    Ok(found)
}
