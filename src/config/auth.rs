//! `auth` of a route: the kinds of credentials that the route accepts.
//!
//! An explicit empty list opens the route to everybody. To make sure that no mistake does the same,
//! every faulty list counts as the default, which accepts tokens only.

use super::item::SpannedValue;
use super::reader::TableReader;
use super::references::References;
use super::suggest::no_such;

/// A kind of credential that a route accepts. A route with several kinds is satisfied by a
/// credential of any one of them; a route without any is open to everybody. Which of them is used,
/// if a request has several, is decided by `authn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// `Authorization: Bearer` (RFC 6750, section 2.1).
    Bearer,
    /// The pair of `X-Access-Token` and `X-Key`, which Webitel clients send.
    TokenKey,
    /// The key of an `[[api_key]]`, in the field that `[api_keys]` names.
    ApiKey,
    /// `Authorization: Basic` (RFC 7617): a user's name and password on every request.
    Basic,
    /// The certificate that the client presented in the TLS handshake.
    Certificate,
}

/// Every kind with its name in the configuration.
const KINDS: [(&str, CredentialKind); 5] = [
    ("bearer", CredentialKind::Bearer),
    ("token_key", CredentialKind::TokenKey),
    ("api_key", CredentialKind::ApiKey),
    ("basic", CredentialKind::Basic),
    ("certificate", CredentialKind::Certificate),
];

impl CredentialKind {
    /// The name of the kind in `auth`.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// True for tokens, which were issued at a login or by an issuer.
    pub fn is_token(self) -> bool {
        matches!(self, Self::Bearer | Self::TokenKey)
    }
}

/// Reads `auth`. Left out, it means tokens; an empty list means that the route needs no credential.
pub(super) fn read(table: &mut TableReader<'_>) -> Vec<CredentialKind> {
    let tokens = vec![CredentialKind::Bearer, CredentialKind::TokenKey];
    // After a problem the result is the default, so that the route is not taken for an open one.
    let Some(list) = table.get("auth").and_then(|item| item.list()) else { return tokens };
    if list.is_empty() {
        return Vec::new();
    }
    let mut kinds = Vec::with_capacity(list.len());
    for item in &list {
        let Some(name) = item.string() else { continue };
        match KINDS.iter().find(|(known, _)| *known == name) {
            Some((_, kind)) if kinds.contains(kind) => item.issue("stands here twice"),
            Some((_, kind)) => kinds.push(*kind),
            None if name == "cookie" => item.issue("is not available in this version"),
            None => {
                let names = KINDS.iter().map(|(name, _)| *name);
                item.issue(no_such("kind of credential", name, names));
            }
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
