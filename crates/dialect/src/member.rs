//! The place of a member in a body.
//!
//! It is written as a text with dots between the names, `"user.password"`, like other paths in the
//! configuration. An element of a list is its position in brackets behind the name of the list:
//! `"users[0].name"`. Where a name contains dots or brackets itself, the path is a list of names:
//! `["user", "a.b"]`. There too a name that is nothing but such brackets, `["users", "[0]"]`, is an
//! element; a member cannot have that name. `server` reads members by a path and `client` writes
//! them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Greatest nesting of a JSON body that is read. Deeper bodies are refused, because reading them
/// could exhaust the stack. A login needs two or three levels at most.
pub(super) const DEEPEST: usize = 16;

/// Longest index in digits: elements up to 999.
const LONGEST_INDEX: usize = 3;

/// The path to a member: the names of the members on the way, the outermost first.
///
/// Invariant: there is at least one name, no name is empty or an index that no element can have,
/// and there are at most `DEEPEST` names, so every path can lead into a body that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPath(Vec<String>);

impl MemberPath {
    /// The path with these names; `None` if there is no name, too many, or one that is empty or an
    /// index that no element can have.
    pub fn new(names: Vec<String>) -> Option<Self> {
        let is_name = |name: &String| !name.is_empty() && is_literal_or_element(name);
        let is_path = (1..=DEEPEST).contains(&names.len()) && names.iter().all(is_name);
        is_path.then_some(Self(names))
    }

    /// Parses a path that is written with dots, and with brackets for elements of lists. Brackets
    /// with anything but digits in them belong to the name: forms have fields such as `user[name]`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut names = Vec::new();
        for part in text.split('.') {
            let (name, indexes) = split_indexes(part);
            // A part may be an element alone: `users.[0]` is `users[0]`.
            if !name.is_empty() || indexes.is_empty() {
                names.push(name.to_owned());
            }
            names.extend(indexes.split_inclusive(']').map(str::to_owned));
        }
        Self::new(names)
    }

    /// The names on the way to the member, the outermost first. An element of a list is a name such
    /// as `[0]`.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// True if no body can have both members: they are the same, one is on the way to the other, or
    /// a value on the way would have to be a list for one and an object for the other. Such a form
    /// of credential could never be presented and is reported as a mistake.
    pub(super) fn clashes(&self, other: &Self) -> bool {
        let mut pairs = self.0.iter().zip(&other.0);
        pairs.find(|(one, other)| one != other).is_none_or(|(one, other)| {
            element_index(one).is_some() != element_index(other).is_some()
        })
    }
}

/// The index, if this name on a path is an element of a list: 5 for `[5]`.
pub(super) fn element_index(name: &str) -> Option<usize> {
    let digits = bracketed_digits(name)?;
    let is_index = digits.len() <= LONGEST_INDEX && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| is_index)
}

/// False for brackets with a number that is no index, such as `[01]` or `[1000]`. Taken for a name,
/// it would be a path that never leads anywhere.
fn is_literal_or_element(name: &str) -> bool {
    bracketed_digits(name).is_none() || element_index(name).is_some()
}

fn bracketed_digits(name: &str) -> Option<&str> {
    let digits = name.strip_prefix('[')?.strip_suffix(']')?;
    Some(digits).filter(|digits| !digits.is_empty() && is_digits(digits))
}

/// Splits off all brackets with digits at the end.
fn split_indexes(part: &str) -> (&str, &str) {
    let mut name = part;
    while let Some((before, index)) = name.rfind('[').map(|at| name.split_at(at)) {
        if bracketed_digits(index).is_none() {
            break;
        }
        name = before;
    }
    part.split_at(name.len())
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

impl<'de> Deserialize<'de> for MemberPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PathVisitor)
    }
}

const NO_PATH: &str = "a name on the path is empty, an index is not one of 0 to 999, or there are \
                       more than 16 names";

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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Option<Vec<String>> {
        MemberPath::parse(text).map(|path| path.0)
    }

    #[test]
    fn elements_of_lists_are_names_of_their_own() {
        for (text, expected) in [
            ("a", vec!["a"]),
            ("a.b[0].c", vec!["a", "b", "[0]", "c"]),
            ("a[10][999]", vec!["a", "[10]", "[999]"]),
            ("a.[2].b", vec!["a", "[2]", "b"]),
            ("[0].name", vec!["[0]", "name"]),
            ("Envelope.Body.@id", vec!["Envelope", "Body", "@id"]),
        ] {
            assert_eq!(names(text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn other_brackets_belong_to_the_name() {
        for text in ["user[name]", "ids[]", "[", "]", "a[", "a[0", "a[0]b", "[x]", "[-1]", "a[٣]"]
        {
            assert_eq!(names(text).expect(text), [text], "{text}");
        }
        let literal = vec!["a[0]".to_owned(), "b.c".to_owned()];
        assert_eq!(MemberPath::new(literal.clone()).expect("a path").names(), literal);
    }

    #[test]
    fn what_leads_nowhere_is_no_path() {
        let too_deep = vec!["a"; DEEPEST + 1].join(".");
        for text in ["", ".", "a.", ".a", "a..b", "a[1000]", "a[01]", "a[00]", "[01]", &too_deep] {
            assert_eq!(names(text), None, "{text}");
        }
        assert_eq!(MemberPath::new(vec!["a".to_owned(), "[1000]".to_owned()]), None);
        assert!(names(&vec!["a"; DEEPEST].join(".")).is_some());
    }

    #[test]
    fn paths_clash_if_no_body_has_both() {
        let clashes = |one: &str, other: &str| {
            let path = |text| MemberPath::parse(text).expect("a path");
            let found = path(one).clashes(&path(other));
            assert_eq!(found, path(other).clashes(&path(one)), "{one} and {other}");
            found
        };

        assert!(clashes("a", "a"));
        assert!(clashes("a", "a.b"));
        assert!(clashes("a[0]", "a"));
        assert!(clashes("a[0].b", "a.b"));
        assert!(!clashes("a[0]", "a[1]"));
        assert!(!clashes("a[0].b", "a[0].c"));
        assert!(!clashes("a.b", "a.c"));
    }
}
