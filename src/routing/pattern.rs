//! The `path` setting of a route: a prefix, `=/exact`, or a pattern with `{segments}`.
//!
//! This file parses the text and refuses patterns that no request could match. `gateway` calls it
//! for every route of a configuration; `tree` stores the result.

/// A parsed path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub(super) segments: Vec<PatternSegment>,
    /// The pattern also matches every path below it.
    pub(super) prefix: bool,
    /// The pattern is exact (`=/path/`) and its path ends with a slash.
    pub(super) slash: bool,
}

/// One segment of a pattern. Literal text is compared with the decoded segment of a path, so a
/// pattern contains no percent escapes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum PatternSegment {
    Literal(Box<str>),
    /// `{name}`: matches exactly one segment that is not empty.
    Any,
}

/// The reasons for which a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("`{0}` has to begin with `/` (a prefix or pattern) or `=/` (exactly this path)")]
    Start(String),
    #[error("`{0}` in a path has to be a whole segment like `{{id}}`")]
    Braces(String),
    #[error("`{0}` cannot match: such a request is refused before routing")]
    NeverMatches(String),
}

impl Pattern {
    /// Parses a pattern. `/api/` and `/api` are the same prefix. A pattern with `{segments}` is a
    /// prefix only if it ends with a slash.
    ///
    /// # Errors
    /// Text that does not begin with a slash, braces around a part of a segment, and a path that no
    /// request can have because `path::canonical` would refuse it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (exact, path) = match text.strip_prefix('=') {
            Some(path) => (true, path),
            None => (false, text),
        };
        let inner = path.strip_prefix('/').ok_or_else(|| PatternError::Start(text.to_owned()))?;
        let slash = inner.ends_with('/');
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let mut segments = Vec::new();
        for segment in inner.split('/').filter(|_| !inner.is_empty()) {
            segments.push(PatternSegment::parse(segment, exact)?);
        }
        let any = segments.contains(&PatternSegment::Any);
        let prefix = !exact && (slash || !any || segments.is_empty());
        Ok(Self { segments, prefix, slash: exact && slash })
    }

    /// True for a pattern that matches one path only, such as `=/path`. Only such a route may stand
    /// beside a login endpoint of the same path.
    pub(super) fn is_literal(&self) -> bool {
        !self.prefix && !self.segments.contains(&PatternSegment::Any)
    }
}

impl PatternSegment {
    /// Parses one segment. Braces in an exact path are refused. So are segments that no canonical
    /// path contains, because such a route would silently never match.
    fn parse(text: &str, exact: bool) -> Result<Self, PatternError> {
        let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        if let Some(name) = name.filter(|_| !exact)
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Ok(Self::Any);
        }
        if text.contains(['{', '}', '*']) {
            return Err(PatternError::Braces(text.to_owned()));
        }
        let control = text.chars().any(char::is_control);
        if matches!(text, "" | "." | "..") || control || text.contains(['\\', '?', '#', '%']) {
            return Err(PatternError::NeverMatches(text.to_owned()));
        }
        Ok(Self::Literal(text.into()))
    }
}
