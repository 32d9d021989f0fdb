//! The place of a member in a JSON body.
//!
//! It is written as a text with dots between the names, `"user.password"`, like other paths in the
//! configuration. Where a name contains dots itself, it is a list: `["user", "a.b"]`. `server`
//! reads members by it and `client` writes them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Greatest nesting of a body that is read. Deeper bodies are refused, because reading them could
/// exhaust the stack. A login needs two or three levels at most.
pub(super) const DEEPEST: usize = 16;

/// The path to a member: the names of the members on the way, the outermost first.
///
/// Invariant: there is at least one name, no name is empty, and there are at most `DEEPEST` names,
/// so every path can lead into a body that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPath(Vec<String>);

impl MemberPath {
    /// The path with these names; `None` if there is no name, an empty one, or too many.
    pub fn new(names: Vec<String>) -> Option<Self> {
        let is_path =
            (1..=DEEPEST).contains(&names.len()) && names.iter().all(|name| !name.is_empty());
        is_path.then_some(Self(names))
    }

    /// Parses a path that is written with dots.
    pub fn parse(text: &str) -> Option<Self> {
        Self::new(text.split('.').map(str::to_owned).collect())
    }

    /// The names on the way to the member, the outermost first.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// True if no body can have both members: they are the same, or one is on the way to the other.
    /// Such a form of credential could never be presented and is reported as a mistake.
    pub(super) fn clashes(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }
}

impl<'de> Deserialize<'de> for MemberPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PathVisitor)
    }
}

const NO_PATH: &str = "a name on the path is empty, or there are more than 16";

struct PathVisitor;

impl<'de> Visitor<'de> for PathVisitor {
    type Value = MemberPath;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member, a path with dots, or a list of names")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<MemberPath, E> {
        MemberPath::parse(text).ok_or_else(|| E::custom(NO_PATH))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<MemberPath, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = list.next_element()? {
            names.push(name);
        }
        MemberPath::new(names).ok_or_else(|| A::Error::custom(NO_PATH))
    }
}
