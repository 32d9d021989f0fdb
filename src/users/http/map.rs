//! From the facts in a legacy system's answer to a user.
//!
//! The configuration can name places in the answer or in the token for each fact. Reserved claims
//! are never taken over, and the size of all facts is bounded. An answer that lacks the user's id
//! or name, where the operator named a place for it, is refused.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use crate::dialect::client::{ResponseValues, text, texts};
use crate::identity::{Claims, RESERVED_CLAIMS, UserId, UserProfile};
use crate::settings::{HttpUsers, LegacyNames, ResponsePath, ResponseRoot};

/// A user that the system let in, as its answer describes them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MappedUser {
    pub(super) id: UserId,
    /// True if the answer contains an id, so that it is not made of the name.
    pub(super) has_id: bool,
    pub(super) profile: UserProfile,
}

/// Most bytes of roles, scopes and claims together. All of them go into each token of the user, and
/// a token goes into a header.
const LARGEST: usize = 4 * 1024;

/// The user in the answer to a login with the name `typed`. The error is for the log.
///
/// Without an id in the answer or its token, an id is made of the name in them, or otherwise of the
/// name that was asked, exactly as it is spelled. If the spelling were simplified further than the
/// system does it, two people could become one user. Other spellings of the name still lead to the
/// same user, because the system is asked for a known user in the first spelling only.
pub(super) fn user(
    config: &HttpUsers,
    source: &str,
    typed: &str,
    facts: &ResponseValues,
) -> Result<MappedUser, String> {
    let map = &config.map;
    // If the operator named a place for the id or name, a missing value is an error. Any substitute
    // would make another user of the same person.
    let mapped = |path: &Option<ResponsePath>, found: &Option<String>| match path {
        None => Ok(found.clone()),
        Some(path) => match at(path, facts).and_then(text) {
            Some(text) => Ok(Some(text)),
            None => Err(format!("an answer without `{}`", path.path.join("."))),
        },
    };
    let id = mapped(&map.id, &facts.id)?;
    let name = mapped(&map.name, &facts.name)?;
    let email = match &map.email {
        None => facts.email.clone(),
        Some(path) => at(path, facts).and_then(text),
    };
    let list = |path: &Option<ResponsePath>, found: &Option<Vec<String>>| match path {
        None => found.clone().unwrap_or_default(),
        Some(path) => at(path, facts).and_then(texts).unwrap_or_default(),
    };
    let roles = named(list(&map.roles, &facts.roles), &config.role_names);
    let roles = if roles.is_empty() { config.default_roles.clone() } else { roles };
    let scopes = list(&map.scopes, &facts.scopes);
    // Some systems send one text with several scopes, separated by spaces (RFC 6749, section 3.3).
    let scopes = scopes.iter().flat_map(|scope| scope.split(' ')).filter(|scope| !scope.is_empty());
    let name = name.unwrap_or_else(|| typed.to_owned());
    let who = MappedUser {
        has_id: id.is_some(),
        id: id.map_or_else(|| unnamed_id(source, &distinct_name(config.names, &name)), UserId::new),
        profile: UserProfile {
            name,
            email,
            roles,
            scopes: scopes.map(str::to_owned).collect(),
            claims: claims(&map.claims, facts),
        },
    };
    let UserProfile { roles, scopes, claims, .. } = &who.profile;
    let size = |list: &[String]| list.iter().map(String::len).sum::<usize>();
    let claims = Value::Object(claims.clone()).to_string();
    if size(roles) + size(scopes) + claims.len() > LARGEST {
        return Err(format!("roles, scopes and claims of more than {LARGEST} bytes"));
    }
    Ok(who)
}

/// The part of a name that may distinguish two people. Where the system ignores case, only ASCII
/// letters are lowered: it may distinguish two letters for which Unicode has the same lower case.
pub(super) fn distinct_name(names: LegacyNames, name: &str) -> String {
    match names {
        LegacyNames::Exact => name.to_owned(),
        LegacyNames::CaseBlind => name.to_ascii_lowercase(),
    }
}

/// The id of a user to whom the system gives none: a UUID of version 5 (RFC 9562), made of source
/// and name.
pub(super) fn unnamed_id(source: &str, name: &str) -> UserId {
    let text = format!("tollhouse legacy user {}:{source}{name}", source.len());
    UserId::new(Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).to_string())
}

/// The roles under their names here. If there is a table, a role that is not in it is dropped.
fn named(found: Vec<String>, names: &BTreeMap<String, String>) -> Vec<String> {
    let mut roles: Vec<String> = Vec::with_capacity(found.len());
    for role in found {
        let role = if names.is_empty() { Some(&role) } else { names.get(&role) };
        if let Some(role) = role.filter(|role| !roles.contains(role)) {
            roles.push(role.clone());
        }
    }
    roles
}

fn claims(map: &BTreeMap<String, ResponsePath>, facts: &ResponseValues) -> Claims {
    let mut claims = facts.claims.clone();
    // A legacy system must not set claims that the gateway sets itself, for example the subject or
    // the expiry.
    claims.retain(|name, _| !RESERVED_CLAIMS.contains(&name.as_str()));
    for (name, path) in map {
        if let Some(value) = at(path, facts).filter(|value| !value.is_null()) {
            claims.insert(name.clone(), value.clone());
        }
    }
    claims
}

fn at<'a>(path: &ResponsePath, facts: &'a ResponseValues) -> Option<&'a Value> {
    let (first, rest) = path.path.split_first()?;
    let root = match path.root {
        ResponseRoot::Answer => facts.answer.get(first),
        ResponseRoot::Token => facts.token.get(first),
    };
    rest.iter().try_fold(root?, |value, name| value.get(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dialect::Dialect;
    use crate::settings::{PasswordImport, UserMap};

    fn config(map: UserMap, role_names: &[(&str, &str)]) -> HttpUsers {
        HttpUsers {
            client: None,
            keep: false,
            url: None,
            dialect: Dialect::builtin("native").expect("built in"),
            ca: None,
            timeout: std::time::Duration::ZERO,
            parallel: 1,
            import: PasswordImport::Off,
            names: LegacyNames::Exact,
            map,
            role_names: role_names.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
            default_roles: vec!["guest".to_owned()],
        }
    }

    fn path(root: ResponseRoot, path: &[&str]) -> Option<ResponsePath> {
        Some(ResponsePath { root, path: path.iter().map(|&name| name.to_owned()).collect() })
    }

    fn facts() -> ResponseValues {
        ResponseValues {
            answer: json!({ "user": { "id": 7, "flags": [1, 2, "x"], "none": null, "deep": {} } }),
            ..ResponseValues::default()
        }
    }

    #[test]
    fn ids_are_told_or_else_made_of_the_name_to_the_letter() {
        let plain = config(UserMap::default(), &[]);
        let id_of = |config: &HttpUsers, typed: &str, name: Option<&str>| {
            let facts = ResponseValues { name: name.map(str::to_owned), ..facts() };
            user(config, "s", typed, &facts).expect("a user").id
        };
        let id = |typed: &str, name: Option<&str>| id_of(&plain, typed, name);
        let blind = HttpUsers { names: LegacyNames::CaseBlind, ..plain.clone() };
        for twin in ["Bob", "ｂob", "bob "] {
            assert_ne!(id(twin, None), id("bob", None), "{twin}: may be another person");
            assert_ne!(id("x", Some(twin)), id("x", Some("bob")), "{twin}: may be another person");
            let is_one = id_of(&blind, twin, None) == id_of(&blind, "bob", None);
            assert_eq!(is_one, twin == "Bob", "{twin}: case alone is what such a system ignores");
        }
        assert_eq!(id("x", Some("bob")), id("bob", None));
        assert_ne!(id("bob", Some("bert")), id("bob", None), "it is not the typed one");
        let mapped =
            UserMap { id: path(ResponseRoot::Answer, &["user", "id"]), ..UserMap::default() };
        let mapped = user(&config(mapped, &[]), "s", "bob", &facts()).expect("a user");
        assert_eq!((mapped.id.as_str(), mapped.profile.name.as_str()), ("7", "bob"));
        for missing in [&["user", "none"][..], &["user", "deep"], &["nobody"], &["user", "id", "x"]]
        {
            let map = UserMap { id: path(ResponseRoot::Answer, missing), ..UserMap::default() };
            assert!(user(&config(map, &[]), "s", "bob", &facts()).is_err(), "{missing:?}");
        }
    }

    #[test]
    fn roles_are_those_of_the_table_and_claims_never_the_gateways_own() {
        let map =
            UserMap { roles: path(ResponseRoot::Answer, &["user", "flags"]), ..UserMap::default() };
        let roles = |names: &[(&str, &str)], map: &UserMap| {
            user(&config(map.clone(), names), "s", "bob", &facts()).expect("a user").profile.roles
        };
        assert_eq!(roles(&[], &map), ["1", "2", "x"]);
        assert_eq!(roles(&[("2", "dev"), ("x", "dev")], &map), ["dev"], "once, and no others");
        assert_eq!(roles(&[("9", "root")], &map), ["guest"], "none is heard");
        let elsewhere =
            UserMap { roles: path(ResponseRoot::Token, &["user", "flags"]), ..UserMap::default() };
        assert_eq!(roles(&[], &elsewhere), ["guest"], "an answer is no token");

        let mut found = facts();
        found.claims = serde_json::from_str(r#"{"uid":"root","tenant":"a"}"#).expect("JSON");
        let who = user(&config(UserMap::default(), &[]), "s", "bob", &found).expect("a user");
        assert_eq!(Value::Object(who.profile.claims), json!({ "tenant": "a" }));
        found.claims.insert("long".to_owned(), "x".repeat(LARGEST).into());
        assert!(user(&config(UserMap::default(), &[]), "s", "bob", &found).is_err());
    }
}
