//! `auth` of a route: the kinds of credentials that the route accepts.
//!
//! An explicit empty list opens the route to everybody. To make sure that no mistake does the same,
//! every faulty list counts as the default, which accepts tokens only.

use super::item::SpannedValue;
use super::reader::TableReader;
use super::references::References;
use super::suggest::no_such;
use crate::settings::CredentialKind;

/// Reads `auth`. Left out, it means tokens; an empty list means that the route needs no credential.
pub(super) fn read(table: &mut TableReader<'_>) -> Vec<CredentialKind> {
    table.default_is("auth", vec!["bearer", "token_key"]);
    let tokens = vec![CredentialKind::Bearer, CredentialKind::TokenKey];
    // After a problem the result is the default, so that the route is not taken for an open one.
    let Some(list) = table.get("auth").and_then(|item| item.list()) else { return tokens };
    if list.is_empty() {
        return Vec::new();
    }
    let mut kinds = Vec::with_capacity(list.len());
    let names = CredentialKind::ALL.map(|(name, _)| name);
    for item in &list {
        let Some(name) = item.text_among(&names) else { continue };
        match CredentialKind::ALL.iter().find(|(known, _)| *known == name) {
            Some((_, kind)) if kinds.contains(kind) => item.issue("stands here twice"),
            Some((_, kind)) => kinds.push(*kind),
            None if name == "cookie" => {
                item.issue("is no kind: write \"login\"; [dialect.call] names the cookie of a login's tokens");
            }
            None => item.issue(no_such("kind of credential", name, names)),
        }
    }
    // All names were faulty. An empty list would open the route.
    if kinds.is_empty() { tokens } else { kinds }
}

/// Reads `users`: the sources whose users' passwords are accepted with Basic. The default is all.
pub(super) fn read_users(
    table: &mut TableReader<'_>,
    auth: &[CredentialKind],
    known: &References,
) -> Vec<String> {
    let takes_passwords = auth.contains(&CredentialKind::Basic);
    let item = table.get("users");
    if let Some(item) = item.as_ref().filter(|_| !takes_passwords) {
        item.issue("needs \"basic\" in auth");
    }
    let users: Vec<String> = match &item {
        Some(item) => known.users.refer_all(&item.list().unwrap_or_default()),
        None if takes_passwords => known.users.iter().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    let names_somebody = item.is_some_and(|item: SpannedValue<'_>| !item.is_empty_list());
    if takes_passwords && users.is_empty() && !names_somebody {
        table.issue("users", "has nobody whose password could be right: add a [[users]]");
    }
    users
}
