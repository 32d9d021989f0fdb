//! Places in a configuration: the path of a key, and the position in the file.
//!
//! Messages name both. Values that are looked up after reading (secrets, files, accepted warnings)
//! are found by the path.

use std::fmt;

/// The path of a key: `upstream[1].servers[0]`. The empty path stands for the whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(String);

impl KeyPath {
    /// The path of the key `name` below this one. A name that TOML would not accept bare is quoted.
    #[must_use]
    pub fn key(&self, name: &str) -> Self {
        let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let name = if !name.is_empty() && name.bytes().all(is_bare) {
            name.to_owned()
        } else {
            format!("{name:?}")
        };
        if self.0.is_empty() { Self(name) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The path of the element with this number, counted from 0.
    #[must_use]
    pub fn index(&self, number: usize) -> Self {
        Self(format!("{}[{number}]", self.0))
    }

    /// True if this path is `outer` itself or below it.
    pub(super) fn is_within(&self, outer: &Self) -> bool {
        let rest = self.0.strip_prefix(outer.0.as_str());
        // `routes` begins with `route` but is not below it, so a separator has to follow.
        rest.is_some_and(|rest| {
            outer.0.is_empty() || rest.is_empty() || rest.starts_with(['.', '['])
        })
    }

    /// Appends a relative path that is already written out: `reply.json`, `[2]`.
    #[must_use]
    pub fn below(&self, path: &str) -> Self {
        if path.is_empty() || path.starts_with('[') || self.0.is_empty() {
            Self(format!("{}{path}", self.0))
        } else {
            Self(format!("{}.{path}", self.0))
        }
    }

    /// The path of the table or list that contains this one; `None` at the top.
    fn outer(&self) -> Option<Self> {
        let end = self.0.rfind(['.', '['])?;
        Some(Self(self.0.get(..end)?.to_owned()))
    }

    /// This path, and then each path that contains it, from the inside out.
    pub(super) fn outwards(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self.clone()), Self::outer)
    }

    /// The path as it is written in messages.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A position in a file. Both numbers begin at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FilePosition {
    pub line: usize,
    /// Counted in characters, not in bytes.
    pub column: usize,
}
