//! Conditions on a request: values that it must have.
//!
//! `{ form = { grant_type = "password" } }`, `{ json = { "auth.scope" = "*" } }`: a value, a list of
//! values of which one must be there, or `"*"` for "is there".

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::MemberPath;
use crate::body::BodyFormat;
use crate::carrier::Carrier;
use crate::problem::DialectProblems;

/// Conditions as they are written, by the place that they are about.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawConditions {
    pub(crate) json: BTreeMap<String, Value>,
    pub(crate) form: BTreeMap<String, Value>,
    pub(crate) multipart: BTreeMap<String, Value>,
    pub(crate) xml: BTreeMap<String, Value>,
    pub(crate) query: BTreeMap<String, Value>,
    pub(crate) fields: BTreeMap<String, Value>,
}

/// A condition on one value of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub(crate) at: Carrier,
    pub(crate) expected: ExpectedValue,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ExpectedValue {
    Any,
    OneOf(Vec<Value>),
}

impl Condition {
    /// True if every request that fulfils all of `later` fulfils all of `earlier`, too, so that the
    /// later endpoint would never be reached.
    pub(crate) fn hides(earlier: &[Self], later: &[Self]) -> bool {
        let is_implied = |wanted: &Self| {
            later.iter().any(|it| it.at == wanted.at && wanted.expected.includes(&it.expected))
        };
        earlier.iter().all(is_implied)
    }
}

impl RawConditions {
    /// Checks the conditions. What is wrong is in `problems`, and left out.
    pub(crate) fn check(self, at: &str, problems: &mut DialectProblems) -> Vec<Condition> {
        let places = [
            (NamedPlace::Json, self.json),
            (NamedPlace::Form, self.form),
            (NamedPlace::Multipart, self.multipart),
            (NamedPlace::Xml, self.xml),
            (NamedPlace::Query, self.query),
            (NamedPlace::Fields, self.fields),
        ];
        let mut conditions = Vec::new();
        for (place, members) in places {
            for (name, value) in members {
                let at = format!("{at}.{}.{name}", place.key());
                let expected = ExpectedValue::read(value, place == NamedPlace::Json);
                match (place.carrier(&name), expected) {
                    (Ok(at), Ok(expected)) => conditions.push(Condition { at, expected }),
                    (Err(message), _) | (_, Err(message)) => problems.add(&at, "", message),
                }
            }
        }
        conditions
    }
}

impl ExpectedValue {
    fn read(value: Value, has_types: bool) -> Result<Self, &'static str> {
        let values = match value {
            Value::String(any) if any == "*" => return Ok(Self::Any),
            Value::Array(values) if !values.is_empty() => values,
            value => vec![value],
        };
        let fits = |value: &Value| match value {
            Value::String(_) => true,
            Value::Number(_) | Value::Bool(_) => has_types,
            _ => false,
        };
        if values.iter().all(fits) {
            return Ok(Self::OneOf(values));
        }
        Err("must be a value, a list of values, or \"*\" for any")
    }

    fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::OneOf(_), Self::Any) => false,
            (Self::OneOf(own), Self::OneOf(others)) => others.iter().all(|it| own.contains(it)),
        }
    }

    /// True if a lenient reader could take the value for one of the expected ones.
    pub(crate) fn is_like(&self, value: &Value) -> bool {
        let plain = |value: &Value| match value {
            Value::String(text) => text.trim().to_lowercase(),
            other => other.to_string(),
        };
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        let found = plain(value);
        match self {
            Self::Any => true,
            Self::OneOf(values) => values.iter().map(plain).any(|expected| {
                let are_numbers = number(&expected).zip(number(&found));
                // Equal to the last bit, because both are spellings of one number.
                let is_same =
                    are_numbers.is_some_and(|(one, other)| one.to_bits() == other.to_bits());
                expected == found || is_same
            }),
        }
    }

    /// True if a request with this value in its place fulfils the condition.
    pub(crate) fn holds(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (_, None | Some(Value::Null)) => false,
            (Self::Any, Some(_)) => true,
            (Self::OneOf(values), Some(value)) => values.contains(value),
        }
    }
}

/// A kind of place in a request, as tables of names and values have it as their key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamedPlace {
    Json,
    Form,
    Multipart,
    Xml,
    Query,
    Fields,
    Path,
}

impl NamedPlace {
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Form => "form",
            Self::Multipart => "multipart",
            Self::Xml => "xml",
            Self::Query => "query",
            Self::Fields => "fields",
            Self::Path => "path",
        }
    }

    /// The place with this name, or what is wrong with the name.
    pub(crate) fn carrier(self, name: &str) -> Result<Carrier, &'static str> {
        match self {
            Self::Json => member(BodyFormat::Json, name),
            Self::Form => flat(BodyFormat::Form, name),
            Self::Multipart => flat(BodyFormat::Multipart, name),
            Self::Xml => member(BodyFormat::Xml, name),
            Self::Query => Carrier::query(name.to_owned()),
            Self::Fields => Carrier::field(name),
            Self::Path => Carrier::variable(name.to_owned()),
        }
    }
}

fn member(kind: BodyFormat, name: &str) -> Result<Carrier, &'static str> {
    let path =
        MemberPath::parse(name).ok_or("must be a member of the body, or a path with dots")?;
    Ok(Carrier::Member(kind, path))
}

/// A name in a body that has no members inside others.
fn flat(kind: BodyFormat, name: &str) -> Result<Carrier, &'static str> {
    let path = MemberPath::new(vec![name.to_owned()]).ok_or("must be a name")?;
    Ok(Carrier::Member(kind, path))
}
