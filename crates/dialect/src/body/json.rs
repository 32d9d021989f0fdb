//! JSON (RFC 8259).
//!
//! A member that occurs twice is refused at every depth, because two JSON readers would not agree
//! which of them counts (RFC 8259, section 4). The nesting is bounded. Numbers keep their type; one
//! with more digits than an integer of 64 bits holds is rounded to a floating-point number.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::value::{BodyValue, UniqueMembers};
use crate::member::DEEPEST;

/// Reads one JSON value of any type; `None` if the text is anything else.
pub(super) fn read(text: &str) -> Option<BodyValue> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = ValueReader { depth: 0 }.deserialize(&mut reader).ok()?;
    // `end` refuses anything after the value. A second value could be read by another system.
    reader.end().ok().map(|()| value)
}

/// Reads any value that is `depth` objects or lists deep.
struct ValueReader {
    depth: usize,
}

impl ValueReader {
    fn inner(&self) -> Self {
        Self { depth: self.depth + 1 }
    }
}

impl<'de> DeserializeSeed<'de> for ValueReader {
    type Value = BodyValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<BodyValue, D::Error> {
        // The depth is checked before the value is read, so that a deeply nested body cannot
        // exhaust the stack.
        if self.depth > DEEPEST {
            return Err(D::Error::custom("nested too deep"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueReader {
    type Value = BodyValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<BodyValue, E> {
        Ok(BodyValue::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<BodyValue, E> {
        Ok(BodyValue::text(text))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<BodyValue, E> {
        Ok(BodyValue::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<BodyValue, E> {
        Ok(BodyValue::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<BodyValue, E> {
        Ok(BodyValue::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<BodyValue, E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(BodyValue::Number(number))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BodyValue, A::Error> {
        let mut members = UniqueMembers::default();
        // Names are compared after unescaping: `\u0061` is the same name as `a`, and a reader that
        // compared the raw text could be fooled.
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(self.inner())?;
            let twice = || A::Error::custom("a member is given twice");
            members.add(name, value).ok_or_else(twice)?;
        }
        Ok(BodyValue::Members(members.finish()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<BodyValue, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner())? {
            list.push(item);
        }
        Ok(BodyValue::List(list))
    }
}
