//! A route's `path`: a prefix, `=/exact`, or a pattern with `{segments}`.

/// A path pattern, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub(super) segments: Vec<Segment>,
    /// Everything below matches too.
    pub(super) prefix: bool,
    /// An exact path that ends with a slash.
    pub(super) slash: bool,
}

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    Literal(Box<str>),
    /// `{name}`: exactly one segment that is not empty.
    Any,
}

/// Why a pattern cannot be used.
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
    /// Reads a pattern. `/api/` and `/api` are the same prefix; a pattern with `{segments}` is a
    /// prefix only if it ends with a slash.
    ///
    /// # Errors
    /// What does not begin with a slash, half segments in braces, and paths that no request has.
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
            segments.push(Segment::parse(segment, exact)?);
        }
        let any = segments.contains(&Segment::Any);
        let prefix = !exact && (slash || !any || segments.is_empty());
        Ok(Self { segments, prefix, slash: exact && slash })
    }

    /// True for `=/path`: what stands for one path only.
    pub(super) fn is_literal(&self) -> bool {
        !self.prefix && !self.segments.contains(&Segment::Any)
    }
}

impl Segment {
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
