//! Where a member of a JSON body is.
//!
//! Written as text with dots between the names on the way, `"user.password"`, as paths are in all
//! of the configuration; or as a list where a name has dots itself, `["user", "a.b"]`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Bodies that are deeper are refused.
pub(super) const DEEPEST: usize = 16;

/// The names of the members on the way to one, the outermost first.
///
/// Invariant: there is one at least, none is empty, and there are no more than a body is deep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPath(Vec<String>);

impl MemberPath {
    /// A path of these names; `None` where there is none, an empty one, or too many.
    pub fn new(names: Vec<String>) -> Option<Self> {
        let is_path =
            (1..=DEEPEST).contains(&names.len()) && names.iter().all(|name| !name.is_empty());
        is_path.then_some(Self(names))
    }

    /// Reads a path with dots.
    pub fn parse(text: &str) -> Option<Self> {
        Self::new(text.split('.').map(str::to_owned).collect())
    }

    /// The names, the outermost first.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// True if both cannot be in one body: one is the other, or on the way to it.
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
