//! What the answer to a login says: tokens, and whose they are.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::backwards::Found;
use crate::clock::Timestamp;
use crate::dialect::Dialect;
use crate::dialect::places::{Name, Place};
use crate::json;
use crate::secret::SecretString;

/// Longer texts are none of a user's.
const LONGEST_TEXT: usize = 1024;

/// What was heard. Prints nothing of it: most of it is a credential.
#[derive(Clone, Default)]
pub struct HeardFacts {
    pub access_token: Option<SecretString>,
    pub refresh_token: Option<SecretString>,
    /// The second secret of a pair.
    pub key: Option<SecretString>,
    /// What the second step has to bring, where one is due.
    pub ticket: Option<SecretString>,
    /// `exp` of the access token, where the answer says it.
    pub expires: Option<Timestamp>,
    /// Its life, where the answer says that.
    pub ttl: Option<Duration>,
    pub id: Option<String>,
    pub name: Option<String>,
    pub email: Option<String>,
    /// `None`: the dialect says nothing of roles.
    pub roles: Option<Vec<String>>,
    pub scopes: Option<Vec<String>>,
    pub claims: Map<String, Value>,
    /// The whole answer.
    pub answer: Value,
    /// Claims of the access token. Nobody verified them: they are worth what the connection is
    /// over which the token came.
    pub token: Map<String, Value>,
}

impl fmt::Debug for HeardFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeardFacts").field("name", &self.name).finish_non_exhaustive()
    }
}

impl HeardFacts {
    /// What an answer and the token in it say. Where both say something, the answer counts.
    pub(super) fn of(dialect: &Dialect, found: Found, answer: Value) -> Self {
        let mut facts = Self { answer, ..Self::default() };
        facts.take(dialect, found);
        let token = facts.access_token.as_ref().and_then(|token| claims_of(token.expose()));
        facts.token = token.unwrap_or_default();
        let claims = Value::Object(facts.token.clone());
        // A token that is not as the dialect says tells nothing.
        if let Some(found) = Found::read(dialect.access_claims.root(), &claims, &|_| false) {
            facts.take(dialect, found);
        }
        facts
    }

    /// When the access token expires, by the answer or by the token itself.
    pub fn expires(&self, now: Timestamp) -> Option<Timestamp> {
        let by_token = || self.token.get("exp").and_then(Value::as_u64).map(Timestamp::from_secs);
        self.expires.or_else(|| self.ttl.map(|ttl| now.plus(ttl))).or_else(by_token)
    }

    fn take(&mut self, dialect: &Dialect, found: Found) {
        for (place, value) in found.0 {
            match place {
                Place::Named(name) => self.take_named(dialect, name, &value),
                Place::UserClaim(path) => put(&mut self.claims, &path, value),
                Place::Config(_) => {}
            }
        }
    }

    fn take_named(&mut self, dialect: &Dialect, name: Name, value: &Value) {
        match name {
            Name::AccessToken => fill(&mut self.access_token, secret(value)),
            Name::RefreshToken => fill(&mut self.refresh_token, secret(value)),
            Name::SessionKey => fill(&mut self.key, secret(value)),
            Name::Ticket => fill(&mut self.ticket, secret(value)),
            Name::UserId => fill(&mut self.id, text(value)),
            Name::Username => fill(&mut self.name, text(value)),
            Name::UserEmail => fill(&mut self.email, text(value)),
            Name::UserRoles => fill(&mut self.roles, texts(value)),
            Name::UserScopes => fill(&mut self.scopes, texts(value)),
            Name::UserRoleNumber => {
                let role = number(value).map(|number| dialect.roles_of(number));
                fill(&mut self.roles, role);
            }
            Name::AccessExpires => {
                fill(&mut self.expires, instant(value).map(Timestamp::from_secs));
            }
            Name::AccessExpiresMs => {
                fill(&mut self.expires, instant(value).map(Timestamp::from_millis));
            }
            Name::AccessTtl => fill(&mut self.ttl, instant(value).map(Duration::from_secs)),
            _ => {}
        }
    }
}

impl Dialect {
    /// The role behind a number of the dialect's table; none where it stands for no role.
    fn roles_of(&self, number: i64) -> Vec<String> {
        let role = self.role_numbers.iter().find(|(_, known)| *known == number);
        role.map(|(role, _)| role.clone()).into_iter().collect()
    }
}

/// What was heard first stays.
fn fill<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

/// A name, an id, a role: text or a whole number that stands for itself.
pub(crate) fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        _ => return None,
    };
    let fits = !text.is_empty() && text.len() <= LONGEST_TEXT && !text.contains(char::is_control);
    fits.then_some(text)
}

/// A list of such texts, or one alone; what is none is left out.
pub(crate) fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => Some(items.iter().filter_map(text).collect()),
        other => text(other).map(|text| vec![text]),
    }
}

fn secret(value: &Value) -> Option<SecretString> {
    value.as_str().filter(|text| is_token(text)).map(SecretString::from)
}

/// True of what can be presented again: visible ASCII and nothing else.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Whole seconds or milliseconds; some servers write them as text or as a fraction.
fn instant(value: &Value) -> Option<u64> {
    let whole = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    whole.or_else(|| {
        let fraction = value.as_f64().filter(|number| (0.0..1e15).contains(number))?;
        format!("{:.0}", fraction.trunc()).parse().ok()
    })
}

/// The claims of a token in compact form, unverified; `None` if it is no such token.
fn claims_of(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    json::object(&URL_SAFE_NO_PAD.decode(payload).ok()?)
}

/// Puts a value at a path; nothing where the path leads through a value that is no object.
fn put(claims: &mut Map<String, Value>, path: &[String], value: Value) {
    let Some((name, rest)) = path.split_first() else { return };
    if value.is_null() {
        return;
    }
    if rest.is_empty() {
        claims.entry(name.clone()).or_insert(value);
        return;
    }
    let inner = claims.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        put(inner, rest, value);
    }
}
