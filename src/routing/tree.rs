//! The paths of one host, as a tree of segments.
//!
//! `find` gives the entries of the best pattern for a path; which of them takes the method is
//! for the table to say.

use std::cmp::Reverse;
use std::collections::HashMap;

use http::Method;

use super::Oddities;
use super::pattern::{Pattern, Segment};
use crate::text::fold_case;

/// The paths of one host; those matched without regard to case are apart, folded.
#[derive(Debug)]
pub(super) struct Paths<T> {
    plain: Node<T>,
    folded: Node<T>,
    /// What was inserted, by its shape without regard to case, to find what would be ambiguous.
    taken: HashMap<Shape, Vec<Taken>>,
}

/// A pattern as it is in the tree, but folded.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Shape {
    segments: Vec<Segment>,
    prefix: bool,
    slash: bool,
}

/// One entry of a shape.
#[derive(Debug)]
struct Taken {
    /// As they are matched.
    segments: Vec<Segment>,
    folded: bool,
    methods: Vec<Method>,
}

impl Taken {
    /// True if some request would be both entries'.
    fn meets(&self, other: &Self) -> bool {
        let same_path = self.folded || other.folded || self.segments == other.segments;
        let shared = self.methods.iter().any(|method| other.methods.contains(method));
        same_path && (shared || self.methods.is_empty() || other.methods.is_empty())
    }
}

/// Two entries take the same requests: which of them gets one would be chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another takes the same path by one of its methods already")]
pub struct AmbiguousPath;

#[derive(Debug)]
struct Node<T> {
    literal: HashMap<Box<str>, Self>,
    any: Option<Box<Self>>,
    /// This path and everything below.
    prefix: Vec<Entry<T>>,
    /// Exactly this path, without and with a slash at its end.
    exact: [Vec<Entry<T>>; 2],
}

#[derive(Debug)]
pub(super) struct Entry<T> {
    /// Empty: all.
    pub(super) methods: Vec<Method>,
    pub(super) allowed: Oddities,
    /// A login endpoint that takes only what is not authenticated.
    pub(super) falls_through: bool,
    /// Written as `=/path`.
    pub(super) literal: bool,
    pub(super) value: T,
}

fn literals(path: &str) -> Vec<Segment> {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.map(|segment| Segment::Literal(segment.into())).collect()
}

fn fold(segments: &[Segment]) -> Vec<Segment> {
    let fold = |segment: &Segment| match segment {
        Segment::Literal(text) => Segment::Literal(fold_case(text).into()),
        Segment::Any => Segment::Any,
    };
    segments.iter().map(fold).collect()
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self { plain: Node::default(), folded: Node::default(), taken: HashMap::new() }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            literal: HashMap::new(),
            any: None,
            prefix: Vec::new(),
            exact: [Vec::new(), Vec::new()],
        }
    }
}

/// The entries of the longest pattern that matches.
#[derive(Debug)]
pub(super) struct Best<'t, T> {
    pub(super) entries: &'t [Entry<T>],
    /// Segments matched.
    length: usize,
    /// How many of them by a `{segment}`.
    any: usize,
    exact: bool,
    /// Found without regard to case.
    pub(super) folded: bool,
}

impl<T> Best<'_, T> {
    /// True for a path written as `=/path`.
    pub(super) fn is_literal(&self) -> bool {
        self.entries.iter().any(|entry| entry.literal)
    }

    pub(super) fn takes(&self, method: &Method) -> bool {
        of_method(self.entries, method).is_some()
    }

    /// The longest is best; then what names more of its segments, so that `/{page}` does not
    /// take `/api` from `/api/`; then what is exact.
    fn rank(&self) -> (usize, Reverse<usize>, bool) {
        (self.length, Reverse(self.any), self.exact)
    }
}

impl<T> Paths<T> {
    /// Adds what takes the paths of `pattern`.
    ///
    /// # Errors
    /// Where an entry that is there already takes some of the same requests.
    pub(super) fn insert(
        &mut self,
        pattern: &Pattern,
        folded: bool,
        entry: Entry<T>,
    ) -> Result<(), AmbiguousPath> {
        self.take(pattern, folded, &entry.methods)?;
        let node = if folded {
            self.folded.at(&fold(&pattern.segments))
        } else {
            self.plain.at(&pattern.segments)
        };
        let [plain, slashed] = &mut node.exact;
        let entries = match (pattern.prefix, pattern.slash) {
            (true, _) => &mut node.prefix,
            (false, false) => plain,
            (false, true) => slashed,
        };
        entries.push(entry);
        Ok(())
    }

    fn take(
        &mut self,
        pattern: &Pattern,
        folded: bool,
        methods: &[Method],
    ) -> Result<(), AmbiguousPath> {
        let Pattern { segments, prefix, slash } = pattern.clone();
        let shape = Shape { segments: fold(&segments), prefix, slash };
        let taken = Taken { segments, folded, methods: methods.to_vec() };
        let others = self.taken.entry(shape).or_default();
        if others.iter().any(|other| other.meets(&taken)) {
            return Err(AmbiguousPath);
        }
        others.push(taken);
        Ok(())
    }

    /// Adds what takes exactly `path`.
    pub(super) fn insert_exact(&mut self, path: &str, entry: Entry<T>) {
        let [plain, slashed] = &mut self.plain.at(&literals(path)).exact;
        let entries = if path.len() > 1 && path.ends_with('/') { slashed } else { plain };
        entries.push(entry);
    }

    pub(super) fn find(&self, path: &str) -> Option<Best<'_, T>> {
        let plain = self.plain.find(path);
        if self.folded.is_empty() {
            return plain;
        }
        let folded = self.folded.find(&fold_case(path)).map(|best| Best { folded: true, ..best });
        match (plain, folded) {
            (Some(plain), Some(folded)) if folded.rank() > plain.rank() => Some(folded),
            (plain, folded) => plain.or(folded),
        }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.literal.is_empty()
            && self.any.is_none()
            && self.prefix.is_empty()
            && self.exact.iter().all(Vec::is_empty)
    }

    fn at(&mut self, segments: &[Segment]) -> &mut Self {
        segments.iter().fold(self, |node, segment| match segment {
            Segment::Literal(text) => node.literal.entry(text.clone()).or_default(),
            Segment::Any => node.any.get_or_insert_default(),
        })
    }

    fn find(&self, path: &str) -> Option<Best<'_, T>> {
        self.walk(path.strip_prefix('/')?, 0, 0)
    }

    /// `rest` is what follows the slash after this node's segment; `length` segments led here,
    /// `any` of them by a `{segment}`.
    fn walk(&self, rest: &str, length: usize, any: usize) -> Option<Best<'_, T>> {
        let (segment, after) = match rest.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (rest, None),
        };
        let best = if segment.is_empty() && after.is_none() {
            None
        } else {
            let literal = self.literal.get(segment).map(|node| (node, any));
            let braces = self.any.as_deref().filter(|_| !segment.is_empty());
            let found = [literal, braces.map(|node| (node, any + 1))].into_iter().flatten();
            // The literal one goes first, and stays where both are as good.
            found
                .filter_map(|(node, any)| node.enter(after, length + 1, any))
                .reduce(|first, second| if second.rank() > first.rank() { second } else { first })
        };
        best.or_else(|| self.here(rest.is_empty() && length == 0, length, any))
    }

    /// This node's segment was matched; `after` is what follows the next slash, if there is one.
    fn enter(&self, after: Option<&str>, length: usize, any: usize) -> Option<Best<'_, T>> {
        let [plain, slashed] = &self.exact;
        let exact = match after {
            None => plain,
            Some("") => slashed,
            Some(after) => return self.walk(after, length, any),
        };
        if exact.is_empty() {
            return self.here(false, length, any);
        }
        Some(Best { entries: exact, length, any, exact: true, folded: false })
    }

    /// What this node itself takes: the path that ends at the root, or everything below.
    fn here(&self, root: bool, length: usize, any: usize) -> Option<Best<'_, T>> {
        let [plain, _] = &self.exact;
        let (entries, exact) =
            if root && !plain.is_empty() { (plain, true) } else { (&self.prefix, false) };
        (!entries.is_empty()).then_some(Best { entries, length, any, exact, folded: false })
    }
}

/// The entry that takes `method`.
pub(super) fn of_method<'t, T>(entries: &'t [Entry<T>], method: &Method) -> Option<&'t Entry<T>> {
    entries.iter().find(|entry| entry.methods.is_empty() || entry.methods.contains(method))
}

/// What the entries take, for `Allow`.
pub(super) fn methods<T>(entries: &[Entry<T>]) -> Vec<Method> {
    entries.iter().flat_map(|entry| entry.methods.iter().cloned()).collect()
}
