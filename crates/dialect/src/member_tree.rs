//! An object that is written member by member, each at its path, in the order in which they came.
//!
//! Paths with elements of lists make lists. A list is written only if its elements count up from 0
//! without a gap, because JSON cannot leave an element out, and a filler of our own could mean
//! something to the other system. `client` writes requests with it.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::member::{MemberPath, element_index};

/// A value that is being written. It cannot be printed outside tests, because its texts are
/// credentials.
#[cfg_attr(test, derive(Debug))]
pub(crate) enum MemberTree<'t, L> {
    Leaf(L),
    /// Invariant: no name occurs twice.
    Object(Vec<(&'t str, Self)>),
    /// Invariant once `build` has returned it: the indexes are 0, 1, 2 and so on.
    List(BTreeMap<usize, Self>),
}

impl<'t, L> MemberTree<'t, L> {
    /// An object with these values at their paths. `None` if no object has all of them: a path is
    /// given twice or on the way to another one, a value would have to be a list and an object, a
    /// list has a gap, or the first name is an element.
    pub(crate) fn build(members: impl IntoIterator<Item = (&'t MemberPath, L)>) -> Option<Self> {
        let mut root = Self::Object(Vec::new());
        for (path, value) in members {
            root.put(path.names(), value)?;
        }
        root.is_complete().then_some(root)
    }

    fn put(&mut self, path: &'t [String], value: L) -> Option<()> {
        let (name, rest) = path.split_first()?;
        let index = element_index(name);
        let Some(next) = rest.first() else {
            let leaf = Self::Leaf(value);
            return match (self, index) {
                (Self::Object(members), None) => {
                    let is_new = members.iter().all(|(known, _)| known != name);
                    is_new.then(|| members.push((name, leaf)))
                }
                (Self::List(items), Some(index)) => {
                    items.insert(index, leaf).is_none().then_some(())
                }
                _ => None,
            };
        };
        let empty = || match element_index(next) {
            None => Self::Object(Vec::new()),
            Some(_) => Self::List(BTreeMap::new()),
        };
        let inner = match (self, index) {
            (Self::Object(members), None) => {
                let known = members.iter().position(|(known, _)| known == name);
                let at = known.unwrap_or(members.len());
                if known.is_none() {
                    members.push((name, empty()));
                }
                &mut members.get_mut(at)?.1
            }
            (Self::List(items), Some(index)) => items.entry(index).or_insert_with(empty),
            _ => return None,
        };
        inner.put(rest, value)
    }

    /// True if no list has a gap.
    fn is_complete(&self) -> bool {
        match self {
            Self::Leaf(_) => true,
            Self::Object(members) => members.iter().all(|(_, member)| member.is_complete()),
            Self::List(items) => {
                items.keys().copied().eq(0..items.len()) && items.values().all(Self::is_complete)
            }
        }
    }
}

impl<L: Serialize> Serialize for MemberTree<'_, L> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Leaf(value) => value.serialize(serializer),
            Self::Object(members) => {
                serializer.collect_map(members.iter().map(|(name, member)| (name, member)))
            }
            Self::List(items) => serializer.collect_seq(items.values()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn written(paths: &[&str]) -> Option<Value> {
        let paths: Option<Vec<_>> = paths.iter().map(|path| MemberPath::parse(path)).collect();
        let paths = paths.expect("paths");
        let tree = MemberTree::build(paths.iter().zip(1..))?;
        Some(serde_json::to_value(tree).expect("JSON"))
    }

    #[test]
    fn elements_become_lists() {
        for (paths, expected) in [
            (vec![], json!({})),
            (vec!["a.b", "a.c"], json!({ "a": { "b": 1, "c": 2 } })),
            (vec!["a[1]", "a[0]"], json!({ "a": [2, 1] })),
            (vec!["a[0].b", "a[0].c", "a[1][0]"], json!({ "a": [{ "b": 1, "c": 2 }, [3]] })),
        ] {
            assert_eq!(written(&paths), Some(expected), "{paths:?}");
        }
    }

    #[test]
    fn members_that_no_object_has_are_not_written() {
        for paths in [
            vec!["a", "a"],
            vec!["a", "a.b"],
            vec!["a.b", "a"],
            vec!["a[0]", "a"],
            vec!["a[0]", "a.b"],
            vec!["a.b", "a[0]"],
            vec!["a[1]"],
            vec!["a[0]", "a[2]"],
            vec!["a[0].b[1]"],
            vec!["[0]"],
        ] {
            assert_eq!(written(&paths), None, "{paths:?}");
        }
    }

    proptest! {
        /// Every path reads back the value that was written to it.
        #[test]
        fn written_members_are_where_their_paths_say(
            paths in prop::collection::vec("[ab](\\.[ab]|\\[[01]\\]){0,3}", 0..6),
        ) {
            let names: Vec<&str> = paths.iter().map(String::as_str).collect();
            if let Some(object) = written(&names) {
                for (path, number) in paths.iter().zip(1..) {
                    let pointer = path.replace(['.', '['], "/").replace(']', "");
                    prop_assert_eq!(object.pointer(&format!("/{pointer}")), Some(&json!(number)));
                }
            }
        }
    }
}
