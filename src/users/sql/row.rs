//! The columns of a row, read as the facts about a user.
//!
//! A value that cannot be used is left out where that gives the user less: a role, a scope, an
//! address. With `disabled` it is the other way round: a value that is not clearly "no" disables
//! the user. Missing columns were refused before.

use serde_json::Value;

use crate::database::QueryRow;
use crate::identity::{Claims, RESERVED_CLAIMS, UserProfile};
use crate::passwords::StoredHash;
use crate::settings::SqlColumns;
use crate::users::UserRecord;
use crate::users::reader::{is_address, is_scope, text_problem};
use crate::users::user_table::{self, UserEntry};

/// The user with another hash of the same password. The version changes with it.
pub(super) fn with_password(entry: &UserEntry, hash: StoredHash) -> UserRecord {
    let UserEntry { user, disabled, .. } = entry.clone();
    user_table::entry(&user.source, Some(user.id.to_string()), user.profile, hash, disabled).user
}

/// The profile in a row of the user `name`.
pub(super) fn profile(row: &QueryRow, columns: &SqlColumns, name: String) -> UserProfile {
    let mut claims = Claims::new();
    for (claim, column) in &columns.claims {
        let value = row.value(column).filter(|value| !value.is_null());
        if let Some(value) = value.filter(|_| !RESERVED_CLAIMS.contains(&claim.as_str())) {
            claims.insert(claim.clone(), value.clone());
        }
    }
    UserProfile {
        name,
        email: row.text(&columns.email.name).filter(|email| is_address(email)),
        roles: names(row.value(&columns.roles.name), |role| text_problem(role).is_none()),
        scopes: names(row.value(&columns.scopes.name), is_scope),
        claims,
    }
}

/// True if the row disables its user.
pub(super) fn is_disabled(row: &QueryRow, columns: &SqlColumns) -> bool {
    row.value(&columns.disabled.name).is_some_and(is_set)
}

/// A list of names from an array, from a JSON list in a text, or from a text separated by commas or
/// spaces. Items that cannot be names are left out.
fn names(value: Option<&Value>, is_name: fn(&str) -> bool) -> Vec<String> {
    let listed: Vec<Value>;
    let names: Vec<&str> = match value {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Array(items)) => {
                listed = items;
                listed.iter().filter_map(Value::as_str).collect()
            }
            _ => text.split([',', ' ']).collect(),
        },
        _ => Vec::new(),
    };
    names.into_iter().filter(|name| is_name(name)).map(str::to_owned).collect()
}

/// True if the user is disabled. Besides the usual words for "no", every value counts as "yes": for
/// example the date since when, or the reason why. A user who is let in by mistake does more harm
/// than one who has to ask.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => {
            let text = text.trim().to_ascii_lowercase();
            !matches!(text.as_str(), "" | "0" | "f" | "false" | "n" | "no")
        }
        Value::Array(_) | Value::Object(_) => true,
    }
}
