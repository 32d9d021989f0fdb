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

/// Reads `signature`: how requests to the route are signed. It may be left out where there is one
/// way. Without "signature" in auth it would be asked in vain.
pub(super) fn read_signature(
    table: &mut TableReader<'_>,
    auth: &[CredentialKind],
    known: &References,
) -> Option<String> {
    let takes = auth.contains(&CredentialKind::Signature);
    let item = table.get("signature");
    if let Some(item) = item.as_ref().filter(|_| !takes) {
        item.issue("needs \"signature\" in auth");
    }
    if let Some(item) = &item {
        return known.signatures.refer(item);
    }
    let mut names = known.signatures.iter();
    match (takes, names.next(), names.next()) {
        (false, ..) => None,
        (true, Some(name), None) => Some(name.to_owned()),
        (true, None, _) => {
            if !known.signatures.is_incomplete() {
                table.issue("auth", "takes signatures, but there is no [[signature]]");
            }
            None
        }
        (true, Some(_), Some(_)) => {
            table.issue("signature", "is missing: there are several [[signature]]; name one");
            None
        }
    }
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
