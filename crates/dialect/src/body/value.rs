//! The values in a body, in whatever format it came.
//!
//! Only what the formats have in common is here: texts, numbers, flags, lists, and members by name.
//! A text may be a password and is overwritten when it is dropped. None of these types can be
//! printed outside tests, because a number can be a one-time code.

use std::collections::HashSet;

use serde_json::{Number, Value};
use tollhouse_core::secret::SecretString;

/// A value in a body. XML, forms and multipart bodies have texts and members only.
#[cfg_attr(test, derive(Clone, Debug, PartialEq))]
pub(crate) enum BodyValue {
    Null,
    Text(SecretString),
    Flag(bool),
    Number(Number),
    List(Vec<Self>),
    /// Invariant: no name occurs twice.
    Members(Members),
}

/// Names and values, in the order of the body.
pub(crate) type Members = Vec<(String, BodyValue)>;

impl BodyValue {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// The value as JSON has it. Its texts are no longer overwritten when they are dropped.
    pub(super) fn into_json(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Text(text) => text.expose().as_str().into(),
            Self::Flag(flag) => flag.into(),
            Self::Number(number) => number.into(),
            Self::List(items) => items.into_iter().map(Self::into_json).collect(),
            Self::Members(members) => members_json(members),
        }
    }
}

/// Members as a JSON object.
pub(super) fn members_json(members: Members) -> Value {
    let members = members.into_iter().map(|(name, value)| (name, value.into_json()));
    Value::Object(members.collect())
}

/// Members that are being collected. A repeated name is refused, because two readers could take
/// different ones of the two values.
#[derive(Default)]
pub(super) struct UniqueMembers {
    seen: HashSet<String>,
    members: Members,
}

impl UniqueMembers {
    /// Adds a member; `None` if there is one of this name. The whole body must then be refused.
    pub(super) fn add(&mut self, name: impl Into<String>, value: BodyValue) -> Option<()> {
        let name = name.into();
        let is_new = self.seen.insert(name.clone());
        self.members.push((name, value));
        is_new.then_some(())
    }

    /// Adds a member; members of one name become a list. The values themselves are no lists.
    pub(super) fn collect(&mut self, name: &str, value: BodyValue) {
        if self.seen.insert(name.to_owned()) {
            self.members.push((name.to_owned(), value));
            return;
        }
        let mut known = self.members.iter_mut().filter(|(known, _)| known == name);
        match known.next() {
            Some((_, BodyValue::List(items))) => items.push(value),
            Some((_, single)) => {
                let first = std::mem::replace(single, BodyValue::Null);
                *single = BodyValue::List(vec![first, value]);
            }
            None => {}
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn finish(self) -> Members {
        self.members
    }
}
