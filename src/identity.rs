//! Who a request comes from, once that is proved.
//!
//! Plain values: `authn` makes them, `authz` and `upstream` read them, `session` keeps them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::text;

/// The lasting id of a person or a service: no two sources or issuers give the same one.
///
/// Limits, revocation and the upstream's `X-Auth-Subject` all use this, never a dialect's `sub`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(Arc<str>);

/// The lasting id that a source gives a user: a number perhaps, which another source gives too.
///
/// It is of use only together with the source; everybody else knows the user by their `Subject`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(Arc<str>);

/// What a source's ids are worth outside that source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdRule {
    /// UUIDs by construction, which nobody chose: the subject is the id itself.
    #[default]
    Unique,
    /// Whatever the source says: the subject is a UUIDv5 of source and id.
    Local,
    /// The subject is the id itself, because the operator says that all sources of this rule mean
    /// the same people.
    Shared,
}

/// The rule of each source, by its name: how a source's ids become subjects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdRules(HashMap<String, IdRule>);

/// A session's id: UUID v7, good for logs and look-ups, never a secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub Uuid);

/// What a subject may be, by name.
pub type Role = Arc<str>;

/// What a token may be used for, by name (RFC 6749 §3.3).
pub type Scope = Arc<str>;

/// Further facts about a user, by claim name.
pub type Claims = Map<String, Value>;

/// Claims that the gateway sets itself; a user must not be able to carry others' values in them.
pub const RESERVED_CLAIMS: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "sid",
    "uid",
    "src",
    "client_id",
    "kh",
    "cnf",
    "scope",
    "roles",
    "preferred_username",
];

/// A proved identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Lasting id (`uid` of our own tokens).
    pub subject: Subject,
    /// Name to show (`preferred_username`).
    pub username: Arc<str>,
    /// The user source that knows the name; empty for a foreign token.
    pub source: Arc<str>,
    /// Name of the `[[issuer]]`, or `self`.
    pub issuer: Arc<str>,
    /// The login that issued the token (`client_id`); empty for a foreign token.
    pub login: Arc<str>,
    /// The session, if the token is ours.
    pub session: Option<SessionId>,
    /// Roles granted.
    pub roles: Vec<Role>,
    /// Scopes granted.
    pub scopes: Vec<Scope>,
    /// Every claim of the token, for `require.claims` and `$claims.…`.
    pub claims: Claims,
}

/// One of the fields that tell an upstream who calls.
pub type IdentityField = (HeaderName, HeaderValue);

/// The issuer name of our own tokens.
pub const SELF_ISSUER: &str = "self";

/// The issuer name of callers with an API key.
pub const API_KEY_ISSUER: &str = "api_key";

/// The issuer name of callers with a name and a password.
pub const BASIC_ISSUER: &str = "basic";

/// The issuer name of callers with a client certificate.
pub const CERTIFICATE_ISSUER: &str = "certificate";

/// Issuer names of callers who have no token: no `[[issuer]]` is called so.
pub const RESERVED_ISSUERS: [&str; 3] = [API_KEY_ISSUER, BASIC_ISSUER, CERTIFICATE_ISSUER];

impl Subject {
    /// Wraps an id.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The subject of a foreign token: a UUIDv5 of issuer and `sub`, so that two issuers that
    /// use the same `sub` are never the same person.
    pub fn foreign(issuer: &str, sub: &str) -> Self {
        let mut name = Vec::with_capacity(issuer.len() + sub.len() + 8);
        text::decimal(&mut name, issuer.len() as u64);
        for part in [":", issuer, sub] {
            name.extend_from_slice(part.as_bytes());
        }
        Self::hashed(Uuid::NAMESPACE_URL, &name)
    }

    /// The subject of a user whose source numbers its users as it likes.
    fn local(source: &str, id: &UserId) -> Self {
        // The length keeps a letter from moving between the two.
        let name = format!("tollhouse user id {}:{source}{id}", source.len());
        Self::hashed(Uuid::NAMESPACE_OID, name.as_bytes())
    }

    fn hashed(namespace: Uuid, name: &[u8]) -> Self {
        let id = Uuid::new_v5(&namespace, name);
        Self::new(&*id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl UserId {
    /// Wraps an id.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl IdRules {
    /// The rules of these sources; a source that is not among them is `Unique`.
    pub fn new(rules: impl IntoIterator<Item = (String, IdRule)>) -> Self {
        Self(rules.into_iter().collect())
    }

    /// Who the user `id` of `source` is to everybody else.
    pub fn subject(&self, source: &str, id: &UserId) -> Subject {
        match self.rule(source) {
            IdRule::Local => Subject::local(source, id),
            IdRule::Unique | IdRule::Shared => Subject::new(id.0.clone()),
        }
    }

    /// Within what a subject is one person: the source, or all sources that share their ids.
    pub fn realm<'a>(&self, source: &'a str) -> &'a str {
        match self.rule(source) {
            IdRule::Shared => "",
            IdRule::Unique | IdRule::Local => source,
        }
    }

    fn rule(&self, source: &str) -> IdRule {
        self.0.get(source).copied().unwrap_or_default()
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SessionId {
    /// A new id (UUID v7 at `now`, so that sessions sort by age).
    pub fn new(now: crate::clock::Timestamp) -> Self {
        let seconds = now.secs();
        // Invariant: less than a thousand million.
        let nanos = u32::try_from(now.millis() % 1000 * 1_000_000).unwrap_or_default();
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos)))
    }

    /// Reads the hyphenated form.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    /// When the session began; `None` for an id that was not made by `new`.
    pub fn began(&self) -> Option<crate::clock::Timestamp> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        let begun = crate::clock::Timestamp::from_secs(seconds);
        Some(begun.plus(std::time::Duration::from_nanos(nanos.into())))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_two_sources_give_is_two_subjects_unless_they_share_their_users() {
        let rules = IdRules::new([
            ("first".to_owned(), IdRule::Local),
            ("second".to_owned(), IdRule::Local),
            ("old".to_owned(), IdRule::Shared),
            ("new".to_owned(), IdRule::Shared),
        ]);
        let seven = UserId::new("7");
        let of = |source: &'static str| (rules.realm(source), rules.subject(source, &seven));

        assert_ne!(of("first").1, of("second").1);
        assert_eq!(of("old"), of("new"));
        assert_eq!(of("staff"), ("staff", Subject::new("7")), "unique by construction");
        let moved = Subject::local("first7", &UserId::new(""));
        assert_ne!(of("first").1, moved, "a letter that moved");
        assert_ne!(of("first").1, Subject::new("7"), "a file may say this id");
    }
}
