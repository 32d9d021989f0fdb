//! A request's JSON object, read in one way only.
//!
//! Members given twice are refused at every depth, because two readers would not agree on which
//! one counts; depth is bounded; unknown members are looked at for nothing else. What is kept of
//! the body lives as long as the credential is looked for in it.

use std::collections::HashSet;
use std::fmt;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::dialect::member::DEEPEST;
use crate::dialect::{MemberPath, Reason};
use crate::secret::SecretString;

/// The members of a body that is one JSON object; none of an empty body.
#[derive(Default)]
pub(super) struct Object(Vec<(String, Member)>);

/// A member's value, as far as credentials go.
enum Member {
    Null,
    Text(SecretString),
    Object(Vec<(String, Self)>),
    Other,
}

impl Object {
    /// Reads the body according to its type.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Reason> {
        // Clients put a content type on requests without a body; nothing is then of no type.
        if body.is_empty() {
            return Ok(Self::default());
        }
        if !is_json(headers) {
            return Err(Reason::UnsupportedMediaType);
        }
        let mut reader = serde_json::Deserializer::from_slice(body);
        let object = reader.deserialize_map(Outermost).map_err(|_| Reason::MalformedRequest)?;
        reader.end().map_err(|_| Reason::MalformedRequest)?;
        Ok(object)
    }

    /// The text at this path; missing, `null` and empty are one, there and on the way.
    pub(super) fn text(&self, path: &MemberPath) -> Result<Option<&SecretString>, Reason> {
        let mut members = &self.0;
        let mut names = path.names().iter().peekable();
        while let Some(name) = names.next() {
            let found = members.iter().find(|(known, _)| known == name).map(|(_, member)| member);
            match (found, names.peek()) {
                (None | Some(Member::Null), _) => return Ok(None),
                (Some(Member::Object(inner)), Some(_)) => members = inner,
                (Some(Member::Text(text)), None) => {
                    return Ok(Some(text).filter(|text| !text.expose().is_empty()));
                }
                (Some(_), _) => return Err(Reason::MalformedRequest),
            }
        }
        Ok(None)
    }
}

/// `application/json`, `application/*+json` or no type at all.
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

struct Outermost;

impl<'de> Visitor<'de> for Outermost {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut members = Vec::new();
        each_once(&mut map, 1, |name, member| members.push((name.to_owned(), member)))?;
        Ok(Object(members))
    }
}

/// Reads an object's members, handing each to `take`; a name that was there before is an error.
fn each_once<'de, A: MapAccess<'de>>(
    map: &mut A,
    depth: usize,
    mut take: impl FnMut(&str, Member),
) -> Result<(), A::Error> {
    let mut seen = HashSet::new();
    // Names are compared as they read, so that `\u0061` is the same as `a`.
    while let Some(name) = map.next_key::<String>()? {
        take(&name, map.next_value_seed(Any { depth })?);
        if !seen.insert(name) {
            return Err(A::Error::custom("a member is given twice"));
        }
    }
    Ok(())
}

/// Any value, `depth` objects or arrays deep.
struct Any {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Any {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Member, D::Error> {
        if self.depth > DEEPEST {
            return Err(D::Error::custom("nested too deep"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Member, E> {
        Ok(Member::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Member, E> {
        Ok(Member::Text(text.into()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member, A::Error> {
        let mut members = Vec::new();
        each_once(&mut map, self.depth + 1, |name, member| {
            members.push((name.to_owned(), member))
        })?;
        Ok(Member::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Member, A::Error> {
        while items.next_element_seed(Self { depth: self.depth + 1 })?.is_some() {}
        Ok(Member::Other)
    }
}
