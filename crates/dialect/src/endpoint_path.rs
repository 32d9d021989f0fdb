//! The path of an endpoint, which may have variables: `/v3/sessions/{token}`.
//!
//! A variable stands for one segment, decoded once. It never has a slash, a dot segment or a control
//! character, so that no request can name another path by it.

use std::collections::BTreeMap;
use std::fmt;

use crate::octets::{is_unreserved, percent_encoded};

/// The path of an endpoint below the login's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPath {
    /// As it is written.
    text: String,
    segments: Vec<PathSegment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PathSegment {
    Fixed(String),
    Variable(String),
}

impl EndpointPath {
    /// Reads a path: its fixed parts have one spelling only, no escapes, no dot segments, and no
    /// empty segments except the last. A path with several spellings could be matched here and read
    /// differently by the upstream. `None` for any other text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('/')?;
        let number = rest.split('/').count();
        let mut segments = Vec::with_capacity(number);
        for (at, segment) in rest.split('/').enumerate() {
            let variable = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
            let is_last = at + 1 == number;
            segments.push(match variable {
                Some(name) if is_name(name) => PathSegment::Variable(name.to_owned()),
                Some(_) => return None,
                None if is_plain(segment) && (is_last || !segment.is_empty()) => {
                    PathSegment::Fixed(segment.to_owned())
                }
                None => return None,
            });
        }
        Some(Self { text: text.to_owned(), segments })
    }

    /// The path as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its variables.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            PathSegment::Variable(name) => Some(name.as_str()),
            PathSegment::Fixed(_) => None,
        })
    }

    /// True if no variable is in it.
    pub fn is_fixed(&self) -> bool {
        self.variables().next().is_none()
    }

    /// The values of the variables in a path that was decoded once; `None` if it is another path.
    pub fn matches(&self, decoded: &str) -> Option<Vec<(String, String)>> {
        let mut rest = decoded.strip_prefix('/')?.split('/');
        let mut values = Vec::new();
        for segment in &self.segments {
            let found = rest.next()?;
            match segment {
                PathSegment::Fixed(fixed) if fixed == found => {}
                PathSegment::Fixed(_) => return None,
                PathSegment::Variable(name) if is_value(found) => {
                    values.push((name.clone(), found.to_owned()));
                }
                PathSegment::Variable(_) => return None,
            }
        }
        rest.next().is_none().then_some(values)
    }

    /// The path with values for its variables, percent-encoded; `None` if one is missing.
    pub(crate) fn fill(&self, values: &BTreeMap<String, String>) -> Option<String> {
        let mut path = String::new();
        for segment in &self.segments {
            path.push('/');
            match segment {
                PathSegment::Fixed(fixed) => path.push_str(fixed),
                PathSegment::Variable(name) => {
                    path.push_str(&percent_encoded(values.get(name)?, is_unreserved))
                }
            }
        }
        Some(path)
    }

    /// The path with `***` in the place of each variable.
    pub(crate) fn masked(&self) -> String {
        let segment = |segment: &PathSegment| match segment {
            PathSegment::Fixed(fixed) => format!("/{fixed}"),
            PathSegment::Variable(_) => "/***".to_owned(),
        };
        self.segments.iter().map(segment).collect()
    }

    /// True if one request can have both paths.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&PathSegment, &PathSegment)| match (one, other) {
            (PathSegment::Fixed(one), PathSegment::Fixed(other)) => one == other,
            _ => true,
        };
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(is_same)
    }
}

impl fmt::Display for EndpointPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_plain(segment: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte);
    segment.bytes().all(is_plain) && !matches!(segment, "." | "..")
}

fn is_value(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && !segment.contains(['/', '\\'])
        && !segment.contains(char::is_control)
}
