//! The facts in the answer to a login: tokens, and the user that they belong to.
//!
//! They come from another system and are not verified here. Each value is bounded in length and
//! free of control characters; a value of an unexpected type is ignored. `users::http` decides what
//! is made of them.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::match_template::ExtractedValues;
use crate::Dialect;
use crate::calls::CallCarrier;
use crate::carrier::SessionFact;
use crate::placeholders::{Placeholder, PlaceholderName};
use crate::times::{TimeForm, TimeName};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::SecretString;
use tollhouse_core::strict_json;

/// Longest text that is accepted for a name, an id or a role, in bytes.
const LONGEST_TEXT: usize = 1024;

/// The facts that were read from an answer. Its debug output shows the name only, because most of
/// the fields are credentials. Fields are `None` where neither the answer nor the token has the
/// value.
#[derive(Clone, Default)]
pub struct ResponseValues {
    pub access_token: Option<SecretString>,
    pub refresh_token: Option<SecretString>,
    /// What stands beside the access token, where the dialect has pairs: its key, or a fact.
    pub key: Option<SecretString>,
    /// The ticket for the second step, where one is due.
    pub ticket: Option<SecretString>,
    /// The end (`exp`) of the access token, where the answer has it.
    pub expires: Option<Timestamp>,
    /// The lifetime of the access token, where the answer has that instead.
    pub ttl: Option<Duration>,
    /// The end and the lifetime of the refresh token, likewise.
    pub refresh_end: Option<Timestamp>,
    pub refresh_ttl: Option<Duration>,
    /// The system's own name for the session.
    pub session: Option<String>,
    pub id: Option<String>,
    pub name: Option<String>,
    pub email: Option<String>,
    /// `None` if the dialect has no roles, which is different from a user without roles.
    pub roles: Option<Vec<String>>,
    pub scopes: Option<Vec<String>>,
    pub claims: Map<String, Value>,
    /// The whole answer, for mappings in the configuration.
    pub answer: Value,
    /// The claims of the access token. Their signature was not verified: they can be trusted as far
    /// as the connection on which the token came. They must not be used as proof of anything.
    pub token: Map<String, Value>,
}

impl fmt::Debug for ResponseValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeardFacts").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ResponseValues {
    /// Collects the facts from an answer and from the token in it. If both have a value, the
    /// answer's counts.
    pub(super) fn of(dialect: &Dialect, found: ExtractedValues, answer: Value) -> Self {
        let mut facts = Self { answer, ..Self::default() };
        facts.take(dialect, found);
        let token = facts.access_token.as_ref().and_then(|token| claims_of(token.expose()));
        facts.token = token.unwrap_or_default();
        let claims = Value::Object(facts.token.clone());
        // A token whose claims do not match the dialect's template is not used for facts.
        if let Some(found) =
            ExtractedValues::read(dialect.access_claims.root(), &claims, &|_| false)
        {
            facts.take(dialect, found);
        }
        let fact = dialect.call.iter().find_map(|carrier| match carrier {
            CallCarrier::Pair(pair) => pair.fact,
            CallCarrier::Token(_) => None,
        });
        if let Some(fact) = fact {
            facts.key = facts.fact(fact).map(|fact| fact.as_str().into());
        }
        facts
    }

    /// The fact that a request repeats beside the token.
    fn fact(&self, fact: SessionFact) -> Option<&String> {
        match fact {
            SessionFact::UserId => self.id.as_ref(),
            SessionFact::UserName => self.name.as_ref(),
            SessionFact::SessionId => self.session.as_ref(),
        }
    }

    /// When the access token expires: by the answer's time, by its lifetime, or by the token's own
    /// `exp`, in this order. `None` if none of the three is known.
    pub fn expires(&self, now: Timestamp) -> Option<Timestamp> {
        let by_token = || self.token.get("exp").and_then(Value::as_u64).map(Timestamp::from_secs);
        self.expires.or_else(|| self.ttl.map(|ttl| now.plus(ttl))).or_else(by_token)
    }

    /// When the refresh token expires, found in the same way.
    pub fn refresh_expires(&self, now: Timestamp) -> Option<Timestamp> {
        let claims = || claims_of(self.refresh_token.as_ref()?.expose());
        let by_token = || claims()?.get("exp").and_then(Value::as_u64).map(Timestamp::from_secs);
        let by_ttl = self.refresh_ttl.map(|ttl| now.plus(ttl));
        self.refresh_end.or(by_ttl).or_else(by_token)
    }

    fn take(&mut self, dialect: &Dialect, found: ExtractedValues) {
        for (place, value) in found.0 {
            match place {
                Placeholder::Named(name) => self.take_named(dialect, name, &value),
                Placeholder::UserClaim(path) => put(&mut self.claims, &path, value),
                Placeholder::Time(TimeName::AccessExpires, form) => {
                    fill(&mut self.expires, form.read(&value));
                }
                Placeholder::Time(TimeName::RefreshExpires, form) => {
                    fill(&mut self.refresh_end, form.read(&value));
                }
                Placeholder::Time(..) | Placeholder::Request(_) | Placeholder::Config(_) => {}
            }
        }
    }

    fn take_named(&mut self, dialect: &Dialect, name: PlaceholderName, value: &Value) {
        match name {
            PlaceholderName::AccessToken => fill(&mut self.access_token, secret(value)),
            PlaceholderName::RefreshToken => fill(&mut self.refresh_token, secret(value)),
            PlaceholderName::SessionKey => fill(&mut self.key, secret(value)),
            PlaceholderName::Ticket => fill(&mut self.ticket, secret(value)),
            PlaceholderName::UserId => fill(&mut self.id, text(value)),
            PlaceholderName::Username => fill(&mut self.name, text(value)),
            PlaceholderName::UserEmail => fill(&mut self.email, text(value)),
            PlaceholderName::UserRoles => fill(&mut self.roles, texts(value)),
            PlaceholderName::UserScopes => fill(&mut self.scopes, texts(value)),
            PlaceholderName::UserRoleNumber => {
                let role = number(value).map(|number| dialect.roles_of(number));
                fill(&mut self.roles, role);
            }
            PlaceholderName::SessionId => fill(&mut self.session, text(value)),
            PlaceholderName::RefreshTtl => {
                fill(&mut self.refresh_ttl, instant(value).map(Duration::from_secs))
            }
            PlaceholderName::RefreshTtlMs => {
                fill(&mut self.refresh_ttl, instant(value).map(Duration::from_millis))
            }
            PlaceholderName::AccessTtl => {
                fill(&mut self.ttl, instant(value).map(Duration::from_secs))
            }
            PlaceholderName::AccessTtlMs => {
                fill(&mut self.ttl, instant(value).map(Duration::from_millis))
            }
            _ => {}
        }
    }
}

impl Dialect {
    /// The role with this number in the dialect's table; none if the number stands for no role. If
    /// several roles share a number, it is the first of them. The number alone cannot tell them
    /// apart.
    fn roles_of(&self, number: i64) -> Vec<String> {
        let role = self.role_numbers.iter().find(|(_, known)| *known == number);
        role.map(|(role, _)| role.clone()).into_iter().collect()
    }
}

/// Sets a value only if there is none yet: the first source counts.
fn fill<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

/// A name, an id or a role: a text, or a whole number that is turned into text. `None` if it is
/// empty, too long or contains control characters, which could forge log lines or headers. Some
/// systems number their users.
pub fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        _ => return None,
    };
    let fits = !text.is_empty() && text.len() <= LONGEST_TEXT && !text.contains(char::is_control);
    fits.then_some(text)
}

/// A list of such texts, or a single one. Items of another type are left out.
pub fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => Some(items.iter().filter_map(text).collect()),
        other => text(other).map(|text| vec![text]),
    }
}

fn secret(value: &Value) -> Option<SecretString> {
    value.as_str().filter(|text| is_token(text)).map(SecretString::from)
}

/// True for a value that can be sent in a header: visible ASCII only.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

impl TimeForm {
    /// The time that is written in this form.
    fn read(&self, value: &Value) -> Option<Timestamp> {
        match self {
            Self::Seconds => instant(value).map(Timestamp::from_secs),
            Self::Millis => instant(value).map(Timestamp::from_millis),
            Self::Rfc3339 | Self::Rfc1123 | Self::Format(_) => self.parse_text(value.as_str()?),
        }
    }
}

/// A time in whole seconds or milliseconds. Some servers write it as text or as a number with a
/// fraction. A fraction is cut off: a token then expires here slightly earlier.
fn instant(value: &Value) -> Option<u64> {
    let whole = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    whole.or_else(|| {
        // The bound keeps the number in the range where a floating-point number has all whole
        // values (below 2^53). A larger number would be rounded and could name another second.
        let fraction = value.as_f64().filter(|number| (0.0..1e15).contains(number))?;
        format!("{:.0}", fraction.trunc()).parse().ok()
    })
}

/// The claims of a token in compact form (RFC 7519), without verification; `None` if it is no such
/// token. Opaque tokens are common, so this is no error.
fn claims_of(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let _ = parts.next()?;
    let payload = parts.next()?;
    let _ = parts.next()?;
    if parts.next().is_some() {
        return None;
    }
    strict_json::object(&URL_SAFE_NO_PAD.decode(payload).ok()?)
}

/// Puts a value at a path. Does nothing if the path leads through a value that is not an object.
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
