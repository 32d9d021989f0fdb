//! The paths of one host as a tree of segments (a trie).
//!
//! `PathTree::find` returns the entries of the best matching pattern. The tree refuses two entries
//! that would take the same requests. It does not decide about methods: that is for `RouteTable`,
//! its only caller.

use std::cmp::Reverse;
use std::collections::HashMap;

use http::Method;

use super::PathAnomalies;
use super::pattern::{Pattern, PatternSegment};
use crate::format::fold_case;

/// The paths of one host. Patterns that ignore case are in a tree of their own, folded.
#[derive(Debug)]
pub(super) struct PathTree<T> {
    plain: PathNode<T>,
    case_insensitive: PathNode<T>,
    /// Every inserted pattern by its folded shape. A new pattern is compared with these to find
    /// ambiguous ones.
    taken: HashMap<PatternShape, Vec<ShapeEntry>>,
}

/// A pattern with its literal segments folded to one case. Only two patterns of the same shape can
/// be ambiguous: between different shapes the search has an order, by rank or, on equal rank, by
/// trying literal segments before `{segments}`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PatternShape {
    segments: Vec<PatternSegment>,
    prefix: bool,
    slash: bool,
}

/// One inserted entry of a shape.
#[derive(Debug)]
struct ShapeEntry {
    /// The segments as written, before folding.
    segments: Vec<PatternSegment>,
    case_insensitive: bool,
    methods: Vec<Method>,
}

impl ShapeEntry {
    /// True if some request would match both entries: they share a path (in the folded form if one
    /// of them ignores case) and a method. An empty list of methods shares every method.
    fn meets(&self, other: &Self) -> bool {
        let same_path =
            self.case_insensitive || other.case_insensitive || self.segments == other.segments;
        let shared = self.methods.iter().any(|method| other.methods.contains(method));
        same_path && (shared || self.methods.is_empty() || other.methods.is_empty())
    }
}

/// Two entries take the same requests. The order of the configuration file would decide between
/// them, so the second entry is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another takes the same path by one of its methods already")]
pub struct PathConflict;

/// One node of the tree: the entries whose pattern ends here, and the nodes of the next segments.
/// Literal segments are found by hashing; at most one child stands for `{segments}`.
#[derive(Debug)]
struct PathNode<T> {
    literal: HashMap<Box<str>, Self>,
    any: Option<Box<Self>>,
    /// Entries for this path and everything below it.
    prefix: Vec<PathEntry<T>>,
    /// Entries for exactly this path: index 0 without a slash at its end, index 1 with one.
    exact: [Vec<PathEntry<T>>; 2],
}

/// One endpoint or route, with the conditions besides its path.
#[derive(Debug)]
pub(super) struct PathEntry<T> {
    /// The accepted methods. Empty means every method.
    pub(super) methods: Vec<Method>,
    pub(super) allowed: PathAnomalies,
    /// The entry is a login endpoint that leaves some requests to the route below it.
    pub(super) falls_through: bool,
    /// The entry was written as `=/path`.
    pub(super) literal: bool,
    pub(super) value: T,
}

/// The segments of a plain path; `{name}` stands for any segment.
fn segments(path: &str) -> Vec<PatternSegment> {
    let is_any = |segment: &str| segment.starts_with('{') && segment.ends_with('}');
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let read = |segment: &str| match is_any(segment) {
        true => PatternSegment::Any,
        false => PatternSegment::Literal(segment.into()),
    };
    segments.map(read).collect()
}

/// The segments with their literal text folded to one case.
fn fold(segments: &[PatternSegment]) -> Vec<PatternSegment> {
    let fold = |segment: &PatternSegment| match segment {
        PatternSegment::Literal(text) => PatternSegment::Literal(fold_case(text).into()),
        PatternSegment::Any => PatternSegment::Any,
    };
    segments.iter().map(fold).collect()
}

impl<T> Default for PathTree<T> {
    fn default() -> Self {
        Self {
            plain: PathNode::default(),
            case_insensitive: PathNode::default(),
            taken: HashMap::new(),
        }
    }
}

impl<T> Default for PathNode<T> {
    fn default() -> Self {
        Self {
            literal: HashMap::new(),
            any: None,
            prefix: Vec::new(),
            exact: [Vec::new(), Vec::new()],
        }
    }
}

/// The entries of the best matching pattern, with the facts that rank it.
#[derive(Debug)]
pub(super) struct PathMatch<'t, T> {
    pub(super) entries: &'t [PathEntry<T>],
    /// The number of matched segments.
    length: usize,
    /// The number of segments that a `{segment}` matched.
    any: usize,
    exact: bool,
    /// The entries are from the tree that ignores case.
    pub(super) case_insensitive: bool,
}

impl<T> PathMatch<'_, T> {
    /// True if one of the entries was written as `=/path`.
    pub(super) fn is_literal(&self) -> bool {
        self.entries.iter().any(|entry| entry.literal)
    }

    /// True if one of the entries takes `method`.
    pub(super) fn takes(&self, method: &Method) -> bool {
        of_method(self.entries, method).is_some()
    }

    /// The order of preference. The longest match is best. Among equals, the one with fewer
    /// `{segments}` is best, so that `/{page}` does not take `/api` from `/api/`. Then an exact
    /// pattern is better than a prefix.
    fn rank(&self) -> (usize, Reverse<usize>, bool) {
        (self.length, Reverse(self.any), self.exact)
    }
}

impl<T> PathTree<T> {
    /// Adds an entry for the paths of `pattern`.
    ///
    /// # Errors
    /// An entry that was added before takes some of the same requests.
    pub(super) fn insert(
        &mut self,
        pattern: &Pattern,
        case_insensitive: bool,
        entry: PathEntry<T>,
    ) -> Result<(), PathConflict> {
        self.take(pattern, case_insensitive, &entry.methods)?;
        let node = if case_insensitive {
            self.case_insensitive.at(&fold(&pattern.segments))
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

    /// Records the pattern in `taken`, or refuses it as ambiguous. Shapes are compared folded,
    /// because a pattern that ignores case also takes the paths of one that does not.
    fn take(
        &mut self,
        pattern: &Pattern,
        case_insensitive: bool,
        methods: &[Method],
    ) -> Result<(), PathConflict> {
        let Pattern { segments, prefix, slash } = pattern.clone();
        let shape = PatternShape { segments: fold(&segments), prefix, slash };
        let taken = ShapeEntry { segments, case_insensitive, methods: methods.to_vec() };
        let others = self.taken.entry(shape).or_default();
        if others.iter().any(|other| other.meets(&taken)) {
            return Err(PathConflict);
        }
        others.push(taken);
        Ok(())
    }

    /// Adds an entry for exactly `path`, without a check for ambiguity. Login endpoints use it. A
    /// slash at the end counts, except for the root path `/`.
    pub(super) fn insert_exact(&mut self, path: &str, entry: PathEntry<T>) {
        let [plain, slashed] = &mut self.plain.at(&segments(path)).exact;
        let entries = if path.len() > 1 && path.ends_with('/') { slashed } else { plain };
        entries.push(entry);
    }

    /// The best match for a decoded path, from both trees. Whether its entries take the method is
    /// not considered, so a longer pattern with another method gives a 405, not a shorter match.
    pub(super) fn find(&self, path: &str) -> Option<PathMatch<'_, T>> {
        let plain = self.plain.find(path);
        if self.case_insensitive.is_empty() {
            return plain;
        }
        let case_insensitive = self
            .case_insensitive
            .find(&fold_case(path))
            .map(|best| PathMatch { case_insensitive: true, ..best });
        // On equal rank the pattern that respects case wins, because it is the more specific one.
        // The folded tree is searched only if it has entries: folding a path allocates, and most
        // configurations do not use it.
        match (plain, case_insensitive) {
            (Some(plain), Some(case_insensitive)) if case_insensitive.rank() > plain.rank() => {
                Some(case_insensitive)
            }
            (plain, case_insensitive) => plain.or(case_insensitive),
        }
    }
}

impl<T> PathNode<T> {
    /// True if nothing was inserted at or below this node.
    fn is_empty(&self) -> bool {
        self.literal.is_empty()
            && self.any.is_none()
            && self.prefix.is_empty()
            && self.exact.iter().all(Vec::is_empty)
    }

    /// The node for `segments`; creates the nodes on the way.
    fn at(&mut self, segments: &[PatternSegment]) -> &mut Self {
        segments.iter().fold(self, |node, segment| match segment {
            PatternSegment::Literal(text) => node.literal.entry(text.clone()).or_default(),
            PatternSegment::Any => node.any.get_or_insert_default(),
        })
    }

    /// Searches from the root. A path without a leading slash matches nothing. `OPTIONS *` has such
    /// a path, so it reaches no route.
    fn find(&self, path: &str) -> Option<PathMatch<'_, T>> {
        self.walk(path.strip_prefix('/')?, 0, 0)
    }

    /// Matches the next segment of `rest`, the path after this node's slash. `length` segments led
    /// to this node, and `any` of them matched a `{segment}`.
    ///
    /// Recursion is bounded by the depth of the configured patterns, not by the path of the
    /// request: a node without a matching child ends it.
    fn walk(&self, rest: &str, length: usize, any: usize) -> Option<PathMatch<'_, T>> {
        let (segment, after) = match rest.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (rest, None),
        };
        let best = if segment.is_empty() && after.is_none() {
            None
        } else {
            // A literal child and a `{segment}` child can both match. Both branches are walked,
            // because the longer match decides and it may be below either of them.
            let literal = self.literal.get(segment).map(|node| (node, any));
            let braces = self.any.as_deref().filter(|_| !segment.is_empty());
            let found = [literal, braces.map(|node| (node, any + 1))].into_iter().flatten();
            // The literal branch comes first, and `reduce` keeps it on equal rank.
            found
                .filter_map(|(node, any)| node.enter(after, length + 1, any))
                .reduce(|first, second| if second.rank() > first.rank() { second } else { first })
        };
        best.or_else(|| self.here(rest.is_empty() && length == 0, length, any))
    }

    /// Called when this node's segment was matched. `after` is the path behind the next slash, or
    /// `None` if the path ends without a slash.
    fn enter(&self, after: Option<&str>, length: usize, any: usize) -> Option<PathMatch<'_, T>> {
        let [plain, slashed] = &self.exact;
        let exact = match after {
            None => plain,
            Some("") => slashed,
            Some(after) => return self.walk(after, length, any),
        };
        if exact.is_empty() {
            return self.here(false, length, any);
        }
        Some(PathMatch { entries: exact, length, any, exact: true, case_insensitive: false })
    }

    /// The entries of this node itself: the exact ones if the path ends at the root, else those of
    /// the prefix.
    fn here(&self, root: bool, length: usize, any: usize) -> Option<PathMatch<'_, T>> {
        let [plain, _] = &self.exact;
        let (entries, exact) =
            if root && !plain.is_empty() { (plain, true) } else { (&self.prefix, false) };
        (!entries.is_empty()).then_some(PathMatch {
            entries,
            length,
            any,
            exact,
            case_insensitive: false,
        })
    }
}

/// The first entry that takes `method`. For routes there is at most one, because `PathTree::insert`
/// refuses a second entry that shares a method.
pub(super) fn of_method<'t, T>(
    entries: &'t [PathEntry<T>],
    method: &Method,
) -> Option<&'t PathEntry<T>> {
    entries.iter().find(|entry| entry.methods.is_empty() || entry.methods.contains(method))
}

/// All methods of the entries, for the `Allow` field of a 405 (RFC 9110 §15.5.6). The list is empty
/// if an entry takes every method, but then there is no 405 to answer.
pub(super) fn methods<T>(entries: &[PathEntry<T>]) -> Vec<Method> {
    entries.iter().flat_map(|entry| entry.methods.iter().cloned()).collect()
}
