//! The identity of the caller of a request, once it is proved, and the ids it consists of.
//!
//! These are plain values. `authn` makes identities, `authz` and `upstream` read them, `session`
//! stores parts of them. Nothing here verifies anything.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::format;

/// The permanent id of a person or a service. Invariant: no two sources or issuers have the same
/// one, except sources that the operator has declared to share their users.
///
/// Limits, revocations and the header `X-Auth-Subject` use this id, never the `sub` of a dialect,
/// which may be any text that a legacy client expects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(Arc<str>);

/// The permanent id of a user within one source. It may be a small number that another source uses
/// too.
///
/// It identifies a user only together with the source. Everything outside the source knows the user
/// by the `Subject`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(Arc<str>);

/// How the ids of a source become subjects. The rule must not change while the source's users have
/// sessions or limits: with another rule they are other people. The configuration sets it for each
/// source (`ids`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdRule {
    /// The ids are UUIDs that nobody could choose, so the id itself is the subject. Users of
    /// `users.toml` without an id in the file get such a UUID.
    #[default]
    Unique,
    /// The ids may be anything: the subject is a UUID of version 5 (RFC 9562) made of source and
    /// id, so equal ids of two sources stay different people.
    Local,
    /// The id itself is the subject, because the operator has declared that all sources with this
    /// rule have the same people. A mistake there gives one person the rights of another.
    Shared,
}

/// The rule of each source, by the name of the source. One value is made when the configuration is
/// loaded and is used wherever a user of a source becomes an identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdRules(HashMap<String, IdRule>);

/// The id of a session: a UUID of version 7, which sorts by time. It is used in logs and look-ups
/// and is not a secret: knowing it gives no access.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub Uuid);

/// The name of a role: what a user may be.
pub type Role = Arc<str>;

/// The name of a scope: what a token may be used for (RFC 6749, section 3.3).
pub type Scope = Arc<str>;

/// Further facts about a user, by the name of the claim. They come from the user source or from the
/// issuer of a token, and routes can require values in them. They go into tokens, so they must be
/// small.
pub type Claims = Map<String, Value>;

/// Claims that the gateway sets itself. A user source must not be able to set them: a user could
/// otherwise carry the id, the roles or the expiry of another user in a token. Readers of users and
/// of legacy answers refuse or drop them.
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

/// The facts about a user that go into tokens, headers and templates, whichever source has the user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserProfile {
    pub name: String,
    pub email: Option<String>,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    pub claims: Claims,
}

/// The identity of a caller, after the credential was verified. It is the same for all kinds of
/// credentials, and `issuer` tells them apart. Routes decide by roles, scopes and claims, and
/// upstreams get them as header fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The permanent id (`uid` in our own tokens).
    pub subject: Subject,
    /// The name to display (`preferred_username`).
    pub username: Arc<str>,
    /// The user source that knows the user; empty for a foreign token.
    pub source: Arc<str>,
    /// The name of the `[[issuer]]` section, `self`, or one of the reserved names below.
    pub issuer: Arc<str>,
    /// The login that issued the token (`client_id`); empty for a foreign token.
    pub login: Arc<str>,
    /// The session, if the token is one of ours.
    pub session: Option<SessionId>,
    /// The roles of the caller.
    pub roles: Vec<Role>,
    /// The scopes of the credential.
    pub scopes: Vec<Scope>,
    /// All claims of the token, for `require.claims` and `$claims.…`.
    pub claims: Claims,
}

impl Identity {
    /// An identity without roles, scopes and claims, which has no session and is in no source.
    pub fn new(issuer: impl Into<Arc<str>>, subject: Subject, username: &str) -> Self {
        Self {
            subject,
            username: username.into(),
            source: "".into(),
            issuer: issuer.into(),
            login: "".into(),
            session: None,
            roles: Vec::new(),
            scopes: Vec::new(),
            claims: Claims::new(),
        }
    }
}

/// A header field that tells an upstream who the caller is. Fields of these names in a client's
/// request are removed before, because an upstream believes whatever arrives in them.
pub type IdentityField = (HeaderName, HeaderValue);

/// The name used as issuer for our own tokens.
pub const SELF_ISSUER: &str = "self";

/// The name used as issuer for callers with an API key.
pub const API_KEY_ISSUER: &str = "api_key";

/// The name used as issuer for callers with a name and password (Basic authentication).
pub const BASIC_ISSUER: &str = "basic";

/// The name used as issuer for callers with a client certificate.
pub const CERTIFICATE_ISSUER: &str = "certificate";

/// The issuer names of callers without a token. No `[[issuer]]` section may have one of them,
/// because they would be taken for each other in logs and rules. Their callers have no session and
/// no token of ours.
pub const RESERVED_ISSUERS: [&str; 3] = [API_KEY_ISSUER, BASIC_ISSUER, CERTIFICATE_ISSUER];

impl Subject {
    /// A subject with this id.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The subject of a foreign token: a UUID of version 5 made of issuer and `sub`. Two issuers
    /// that use the same `sub` therefore never mean the same person. The result is the same in
    /// every gateway and after every restart.
    pub fn foreign(issuer: &str, sub: &str) -> Self {
        // The issuer's length comes first. Otherwise a character could move from the issuer to
        // `sub`, and two people would have one subject.
        let mut name = Vec::with_capacity(issuer.len() + sub.len() + 8);
        format::decimal(&mut name, issuer.len() as u64);
        for part in [":", issuer, sub] {
            name.extend_from_slice(part.as_bytes());
        }
        Self::hashed(Uuid::NAMESPACE_URL, &name)
    }

    /// The subject of a user whose source may use any ids: a UUID of version 5 of source and id.
    /// The name of the source is part of it, so renaming a source makes its users other people.
    fn local(source: &str, id: &UserId) -> Self {
        // The length keeps a character from moving between source and id. Without it, id `7` of
        // source `a1` and id `17` of source `a` would be the same person.
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
    /// A user id with this text.
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
    /// The rules of these sources. A source without a rule is `Unique`.
    pub fn new(rules: impl IntoIterator<Item = (String, IdRule)>) -> Self {
        Self(rules.into_iter().collect())
    }

    /// The subject of the user `id` of `source`.
    pub fn subject(&self, source: &str, id: &UserId) -> Subject {
        match self.rule(source) {
            IdRule::Local => Subject::local(source, id),
            IdRule::Unique | IdRule::Shared => Subject::new(id.0.clone()),
        }
    }

    /// The scope in which a subject is one person: the name of the source, or empty for all sources
    /// that share their users. Revoking "all sessions of a user" and the limit of sessions work
    /// within it.
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
    /// A new id: a UUID of version 7 with the time `now`, so that sessions sort by age in the store
    /// and in lists. Clocks that are set back can make a newer session sort before an older one.
    pub fn new(now: crate::clock::Timestamp) -> Self {
        let seconds = now.secs();
        // Invariant: the value is below one thousand million, so it always fits.
        let nanos = u32::try_from(now.millis() % 1000 * 1_000_000).unwrap_or_default();
        // The remaining bits of the UUID are random, so two sessions of the same millisecond get
        // different ids.
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos)))
    }

    /// Parses the text form of an id; `None` if it is not a UUID.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    /// When the session began; `None` for an id that `new` did not make. The time has the precision
    /// of milliseconds and is the clock's of that moment.
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
