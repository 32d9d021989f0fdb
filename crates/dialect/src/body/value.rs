//! The values in a body, in whatever format it came.
//!
//! Only what the formats have in common is here: texts, numbers, flags, lists, and members by name.
//! A text may be a password and is overwritten when it is dropped. None of these types can be
//! printed outside tests, because a number can be a one-time code.

use std::collections::HashSet;

use serde_json::Number;
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

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn finish(self) -> Members {
        self.members
    }
}
