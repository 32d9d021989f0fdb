//! A route's own header rules (`request_headers` and `response_headers`), prepared for use.
//!
//! Values without placeholders are built once. If a placeholder has no value, then the field is
//! removed: an upstream must find there the value of the rule or nothing, and never the client's.
//! `gateway` builds the rules; the pipeline and `forward` apply them.

use std::borrow::Cow;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value as Json;

use super::HeaderFacts;
use super::identity::{item, list, text};
use crate::identity::{Identity, SessionId};
use crate::settings::{self, ValuePart};

/// Fields to remove, and fields to set afterwards.
#[derive(Clone, Debug, Default)]
pub struct HeaderEdits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, RenderedValue)>,
}

/// A value: complete, or with placeholders.
#[derive(Clone, Debug)]
enum RenderedValue {
    Ready(HeaderValue),
    Parts(Vec<ValuePart>),
}

/// A configured value that no header field can carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value of `{name}` has bytes that a header field cannot carry")]
pub struct RuleError {
    pub name: HeaderName,
}

impl HeaderEdits {
    /// Prepares the configured rules.
    ///
    /// # Errors
    /// A value that contains control bytes.
    pub fn build(config: &settings::HeaderRules) -> Result<Self, RuleError> {
        let mut set = Vec::with_capacity(config.set.len());
        for (name, value) in &config.set {
            let mut whole = String::new();
            let mut fixed = true;
            for part in &value.0 {
                match part {
                    ValuePart::Text(part) => whole.push_str(part),
                    _ => fixed = false,
                }
            }
            let ready = HeaderValue::from_bytes(whole.as_bytes())
                .map_err(|_| RuleError { name: name.clone() })?;
            let made = if fixed {
                RenderedValue::Ready(ready)
            } else {
                RenderedValue::Parts(value.0.clone())
            };
            set.push((name.clone(), made));
        }
        Ok(Self { remove: config.remove.clone(), set })
    }

    /// The names that are set. Clients must not send them.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.set.iter().map(|(name, _)| name)
    }

    /// Removes and sets fields of a message.
    pub fn apply(&self, headers: &mut HeaderMap, facts: &HeaderFacts<'_>) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, made) in &self.set {
            let value = match made {
                RenderedValue::Ready(value) => Some(value.clone()),
                RenderedValue::Parts(parts) => render(parts, facts),
            };
            match value {
                Some(value) => headers.insert(name, value),
                None => headers.remove(name),
            };
        }
    }
}

/// The value of a rule; `None` if one of its placeholders has no value.
fn render(parts: &[ValuePart], facts: &HeaderFacts<'_>) -> Option<HeaderValue> {
    let mut whole = String::new();
    for part in parts {
        whole.push_str(&render_part(part, facts)?);
    }
    HeaderValue::from_bytes(whole.as_bytes()).ok()
}

/// The value of one part. All values except fixed text are encoded like the identity fields.
fn render_part<'a>(part: &'a ValuePart, facts: &HeaderFacts<'a>) -> Option<Cow<'a, str>> {
    let identity = || facts.identity;
    let value = match part {
        ValuePart::Text(fixed) => return Some(Cow::Borrowed(fixed)),
        ValuePart::Claim(path) => claim(identity()?, path)?,
        ValuePart::Subject => text(identity()?.subject.as_str()),
        ValuePart::Username => text(&identity()?.username),
        ValuePart::Session => Cow::Owned(identity()?.session.as_ref().map(SessionId::to_string)?),
        ValuePart::Roles => list(&identity()?.roles),
        ValuePart::Scopes => list(&identity()?.scopes),
        ValuePart::Issuer => text(&identity()?.issuer),
        ValuePart::Source => text(&identity()?.source),
        ValuePart::ClientAddress => Cow::Owned(
            facts.client.address.or(facts.client.peer.map(|peer| peer.ip()))?.to_string(),
        ),
        ValuePart::RequestId => Cow::Borrowed(facts.request_id.as_str()),
        ValuePart::Host => text(facts.host),
    };
    (!value.is_empty()).then_some(value)
}

/// The claim at a path, as text. A list is joined by commas; an object has no text form.
fn claim<'a>(identity: &'a Identity, path: &[String]) -> Option<Cow<'a, str>> {
    let (first, rest) = path.split_first()?;
    let found = rest
        .iter()
        .try_fold(identity.claims.get(first)?, |value, name| value.as_object()?.get(name))?;
    match found {
        Json::Array(items) => {
            let items: Option<Vec<_>> =
                items.iter().map(|value| Some(item(&scalar(value)?).into_owned())).collect();
            Some(Cow::Owned(items?.join(",")))
        }
        Json::String(value) => Some(text(value)),
        value => scalar(value),
    }
}

/// A single value as text. Nested lists and objects have no agreed text form.
fn scalar(value: &Json) -> Option<Cow<'_, str>> {
    match value {
        Json::String(value) => Some(Cow::Borrowed(value)),
        Json::Bool(_) | Json::Number(_) => Some(Cow::Owned(value.to_string())),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}
