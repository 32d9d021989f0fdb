//! The JSON object in a request's body, read in one way only.
//!
//! A member that occurs twice is refused at every depth, because two JSON readers would not agree
//! which of them counts (RFC 8259, section 4). The nesting is bounded. Unknown members are ignored
//! apart from that. The parsed object lives only while the credential is looked for in it.

use std::collections::HashSet;
use std::fmt;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::member::DEEPEST;
use crate::{MemberPath, Reason};
use tollhouse_core::secret::SecretString;

/// The members of a body that is one JSON object. An empty body has no members.
#[derive(Default)]
pub(super) struct BodyObject(Vec<(String, BodyMember)>);

/// The value of a member, as far as a credential can be in it: texts and objects. Numbers, booleans
/// and lists are read, to check the body, and dropped.
enum BodyMember {
    Null,
    Text(SecretString),
    Object(Vec<(String, Self)>),
    Other,
}

impl BodyObject {
    /// Reads the body as JSON. Fails if the content type is not JSON, or the body is not exactly
    /// one object. An empty body is an object without members.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Reason> {
        // Some clients send a content type with requests that have no body. The type of an empty
        // body says nothing.
        if body.is_empty() {
            return Ok(Self::default());
        }
        if !is_json(headers) {
            return Err(Reason::UnsupportedMediaType);
        }
        let mut reader = serde_json::Deserializer::from_slice(body);
        let object =
            reader.deserialize_map(OutermostVisitor).map_err(|_| Reason::MalformedRequest)?;
        // `end` refuses anything after the object. A second object could be read by another system.
        reader.end().map_err(|_| Reason::MalformedRequest)?;
        Ok(object)
    }

    /// The text at this path. Missing, `null` and empty are the same, at the member itself and on
    /// the way to it. Any other value in its place makes the request malformed. A credential that
    /// is a number, for example, is never converted to text.
    pub(super) fn text(&self, path: &MemberPath) -> Result<Option<&SecretString>, Reason> {
        let mut members = &self.0;
        let mut names = path.names().iter().peekable();
        while let Some(name) = names.next() {
            let found = members.iter().find(|(known, _)| known == name).map(|(_, member)| member);
            match (found, names.peek()) {
                (None | Some(BodyMember::Null), _) => return Ok(None),
                (Some(BodyMember::Object(inner)), Some(_)) => members = inner,
                (Some(BodyMember::Text(text)), None) => {
                    return Ok(Some(text).filter(|text| !text.expose().is_empty()));
                }
                (Some(_), _) => return Err(Reason::MalformedRequest),
            }
        }
        Ok(None)
    }
}

/// True for `application/json`, `application/*+json`, or a request without any content type.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else {
        return !headers.contains_key(CONTENT_TYPE);
    };
    let Ok(value) = value.to_str() else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.strip_prefix("application/").is_some_and(|subtype| {
        subtype == "json" || subtype.strip_suffix("+json").is_some_and(|stem| !stem.is_empty())
    })
}

struct OutermostVisitor;

impl<'de> Visitor<'de> for OutermostVisitor {
    type Value = BodyObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BodyObject, A::Error> {
        let mut members = Vec::new();
        each_once(&mut map, 1, |name, member| members.push((name.to_owned(), member)))?;
        Ok(BodyObject(members))
    }
}

/// Reads the members of an object and passes each to `take`. A name that occurred before is an
/// error. Nothing may be taken from the object if this fails.
fn each_once<'de, A: MapAccess<'de>>(
    map: &mut A,
    depth: usize,
    mut take: impl FnMut(&str, BodyMember),
) -> Result<(), A::Error> {
    let mut seen = HashSet::new();
    // Names are compared after unescaping: `\u0061` is the same name as `a`, and a reader that
    // compared the raw text could be fooled. The name is taken first and compared afterwards, so a
    // repeated name always fails the whole body.
    while let Some(name) = map.next_key::<String>()? {
        take(&name, map.next_value_seed(AnyValue { depth })?);
        if !seen.insert(name) {
            return Err(A::Error::custom("a member is given twice"));
        }
    }
    Ok(())
}

/// Reads any value that is `depth` objects or arrays deep.
struct AnyValue {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for AnyValue {
    type Value = BodyMember;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<BodyMember, D::Error> {
        // The depth is checked before the value is read, so that a deeply nested body cannot
        // exhaust the stack.
        if self.depth > DEEPEST {
            return Err(D::Error::custom("nested too deep"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = BodyMember;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<BodyMember, E> {
        Ok(BodyMember::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<BodyMember, E> {
        Ok(BodyMember::Text(text.into()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<BodyMember, E> {
        Ok(BodyMember::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<BodyMember, E> {
        Ok(BodyMember::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<BodyMember, E> {
        Ok(BodyMember::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<BodyMember, E> {
        Ok(BodyMember::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BodyMember, A::Error> {
        let mut members = Vec::new();
        each_once(&mut map, self.depth + 1, |name, member| {
            members.push((name.to_owned(), member))
        })?;
        Ok(BodyMember::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<BodyMember, A::Error> {
        // Arrays are read to check their depth and repeated members; no credential is in an array.
        while items.next_element_seed(Self { depth: self.depth + 1 })?.is_some() {}
        Ok(BodyMember::Other)
    }
}
