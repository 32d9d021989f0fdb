//! JSON from other parties, parsed strictly: the claims of tokens, and the answers of legacy
//! systems.
//!
//! An object that names a member twice is refused, because two readers could take different values.
//! Nesting deeper than these texts need, and anything after the value, are refused too. The length
//! of the text is bounded by the code that received it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// Upper bound on nesting: claims and answers are small objects. Without it a hostile text could
/// exhaust the stack.
const MAX_DEPTH: u8 = 16;

/// The object in `bytes`; `None` if they are not exactly one well-formed object.
pub fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match value(bytes)? {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// The value in `bytes`; `None` if they are not exactly one well-formed value.
pub fn value(bytes: &[u8]) -> Option<Value> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = StrictValue(MAX_DEPTH).deserialize(&mut reader).ok()?;
    // A second value after the first would be ignored by this reader and perhaps not by the next
    // one.
    reader.end().ok()?;
    Some(value)
}

/// Parses one value, with this many levels of nesting left.
#[derive(Clone, Copy)]
struct StrictValue(u8);

impl StrictValue {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(deeper)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            // One search looks for the member and reserves its place. The claims of every new token
            // pass through here.
            match object.entry(name) {
                Entry::Vacant(place) => place.insert(members.next_value_seed(deeper)?),
                Entry::Occupied(_) => return Err(A::Error::custom("a member is named twice")),
            };
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_object_without_doubled_members_is_read() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(17), "}".repeat(17));
        for (text, why) in [
            (r#"{"a":1,"a":1}"#, "named twice"),
            (r#"{"a":1,"\u0061":2}"#, "named twice, once escaped"),
            (r#"{"b":[{"a":1,"a":2}]}"#, "named twice further in"),
            (r#"{"a":1}{"#, "something follows"),
            (r#"{"a":1e999}"#, "not a finite number"),
            (r#"[1]"#, "not an object"),
            ("{\"a\":\"\u{1}\"}", "a control character"),
            ("", "nothing"),
            (deep.as_str(), "too deep"),
        ] {
            assert_eq!(object(text.as_bytes()), None, "{why}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), None, "not UTF-8");
        assert_eq!(object(b"\xef\xbb\xbf{}"), None, "a byte order mark");
        assert!(object(br#" { "a" : [1, {"a": null}] } "#).is_some());
    }
}
