//! The canonical form of a path: percent-decoded once, and refused where an upstream could read it
//! differently.
//!
//! The gateway authorizes the path that it reads. If the upstream reads another path in the same
//! bytes, then a request escapes its rule. Some ambiguous spellings are refused always
//! (`PathError`); others are reported as `PathAnomalies`, because a route may allow them. `Target`
//! and `RouteTable` are the only callers.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::decompose_compatible;

use crate::settings::AllowPath;

/// Ambiguous spellings that were found in a path, or that a route allows in its paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathAnomalies {
    /// `;` in a segment, encoded or not. Servlet containers cut path parameters off at it; other
    /// servers treat it as text.
    pub semicolon: bool,
    /// An empty segment before the last one. Some servers merge neighbouring slashes.
    pub double_slash: bool,
    /// An encoded slash, `%2f`. Some servers decode it into a separator, others keep it as a
    /// letter.
    pub encoded_slash: bool,
    /// A spelling that a second decoding would change: an escape that is left after one decoding,
    /// or `%3f` and `%23`, at which a server could cut off a query or a fragment.
    pub percent: bool,
    /// A letter that NFKC normalization folds to one of `/ \ . % ; ? #`, such as a full-width
    /// slash.
    pub unicode: bool,
}

impl PathAnomalies {
    /// The oddities that a route's `allow_path` setting names. An empty setting allows none, so the
    /// default of every route is the strict reading.
    pub fn allowed(by: &[AllowPath]) -> Self {
        Self {
            semicolon: by.contains(&AllowPath::Semicolon),
            double_slash: by.contains(&AllowPath::DoubleSlash),
            encoded_slash: by.contains(&AllowPath::EncodedSlash),
            percent: by.contains(&AllowPath::Percent),
            unicode: by.contains(&AllowPath::Unicode),
        }
    }

    /// True if every oddity of `self` is also in `allowed`. A route passes its own set, so that
    /// each oddity must have been allowed by name. `RouteTable` also checks that every reading
    /// leads to the same route.
    pub fn within(self, allowed: Self) -> bool {
        (allowed.semicolon || !self.semicolon)
            && (allowed.double_slash || !self.double_slash)
            && (allowed.encoded_slash || !self.encoded_slash)
            && (allowed.percent || !self.percent)
            && (allowed.unicode || !self.unicode)
    }

    /// True if there is at least one oddity.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// The reasons for which a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathError {
    NotAbsolute,
    BadEscape,
    Control,
    Backslash,
    DotSegment,
    NotUtf8,
    EncodedTwice,
    Odd,
}

impl PathError {
    /// One sentence for the log that names the fault.
    pub(super) const fn cause(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path does not begin with a slash",
            Self::BadEscape => "a percent sign without two hex digits in the path",
            Self::Control => "a control byte in the path",
            Self::Backslash => "a backslash in the path",
            Self::DotSegment => "a dot segment in the path",
            Self::NotUtf8 => "the path is not UTF-8",
            Self::EncodedTwice => "the path is encoded twice",
            Self::Odd => "the path without its prefix is ambiguous",
        }
    }
}

/// The path decoded once, with its oddities. The result borrows from `raw` if nothing was encoded.
///
/// # Errors
/// A path that is refused on every route: not absolute, a bad escape, not UTF-8, a control byte, a
/// backslash, a dot segment, or a separator that is encoded twice.
pub(super) fn canonical(raw: &str) -> Result<(Cow<'_, str>, PathAnomalies), PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    let mut oddities = PathAnomalies::default();
    let decoded = if raw.contains('%') {
        Cow::Owned(decode(raw, &mut oddities)?)
    } else {
        Cow::Borrowed(raw)
    };
    check(&decoded, &mut oddities)?;
    Ok((decoded, oddities))
}

/// Decodes each escape once. Encoded slashes, question marks and hashes are recorded as oddities,
/// because after decoding they look like separators. Bytes that are not UTF-8 are refused, overlong
/// encodings among them.
fn decode(raw: &str, oddities: &mut PathAnomalies) -> Result<String, PathError> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit =
            || char::from(bytes.next()?).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(PathError::BadEscape) };
        let byte = high << 4 | low;
        oddities.encoded_slash |= byte == b'/';
        oddities.percent |= matches!(byte, b'?' | b'#');
        decoded.push(byte);
    }
    let decoded = String::from_utf8(decoded).map_err(|_| PathError::NotUtf8)?;
    for (high, low) in escapes(&decoded) {
        // A second decoding would turn `%2f`, `%2e`, `%5c`, `%00` and `%3b` into a separator, a
        // dot, or the end of a C string. No legitimate path needs these, so no route can allow
        // them.
        let divides = matches!(
            (high, low.to_ascii_lowercase()),
            (b'2', b'f' | b'e') | (b'5', b'c') | (b'0', b'0') | (b'3', b'b')
        );
        if divides {
            return Err(PathError::EncodedTwice);
        }
        oddities.percent = true;
    }
    Ok(decoded)
}

/// The two hexadecimal digits of each escape that a second decoding would find.
fn escapes(decoded: &str) -> impl Iterator<Item = (u8, u8)> {
    decoded.as_bytes().windows(3).filter_map(|window| match window {
        [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            Some((*high, *low))
        }
        _ => None,
    })
}

/// True if NFKC normalization turns the letter into text that contains a separator. To a server
/// that normalizes after decoding, `／` is a slash and `‥` is two dots.
fn folds_to_divider(letter: char) -> bool {
    let mut found = false;
    decompose_compatible(letter, |part| {
        found |= matches!(part, '/' | '\\' | '.' | '%' | ';' | '?' | '#');
    });
    found
}

/// Refuses control bytes, backslashes and dot segments in a decoded path; records the oddities that
/// a route may allow.
///
/// # Errors
/// The first fault that is found. No route can allow one of these.
fn check(decoded: &str, oddities: &mut PathAnomalies) -> Result<(), PathError> {
    for byte in decoded.bytes() {
        match byte {
            0..=0x1f | 0x7f => return Err(PathError::Control),
            b'\\' => return Err(PathError::Backslash),
            b';' => oddities.semicolon = true,
            _ => {}
        }
    }
    if !decoded.is_ascii() {
        let mut letters = decoded.chars().filter(|letter| !letter.is_ascii());
        oddities.unicode = letters.any(folds_to_divider);
    }
    let mut segments = decoded.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        // Servlet containers remove path parameters before they resolve dot segments, so `/..;x/`
        // is a dot segment to them. Each segment is therefore judged without its parameters.
        let bare = segment.split(';').next().unwrap_or(segment);
        if matches!(bare, "." | "..") {
            return Err(PathError::DotSegment);
        }
        oddities.double_slash |= segment.is_empty() && segments.peek().is_some();
    }
    Ok(())
}

/// Upper bound on repeated decoding of a path that is allowed as `percent`. Each decoding adds a
/// reading to compare, and a path that still has escapes after the last one is refused.
const DEEPEST: usize = 4;

/// Every path that an upstream could see in an oddly spelled one. The readings combine: encoded
/// slashes as separators or as letters, decoded again, normalized (NFKC), with and without path
/// parameters, with neighbouring slashes merged or not.
///
/// `None` if one of the readings is refused on every route, or if the path is encoded too often.
pub(super) fn interpretations(raw: &str, oddities: PathAnomalies) -> Option<Vec<String>> {
    // This reading keeps an encoded slash as a letter. NUL stands for that letter: `check` refuses
    // control bytes, so no accepted path and no pattern contains NUL.
    let opaque = raw.replace("%2f", "\0").replace("%2F", "\0");
    let mut texts = Vec::with_capacity(2);
    for spelling in [raw, opaque.as_str()] {
        texts.push(percent_decode_str(spelling).decode_utf8_lossy().into_owned());
        if oddities.percent {
            decode_again(&mut texts)?;
        }
    }
    if oddities.unicode {
        for number in 0..texts.len() {
            let folded: String = texts.get(number)?.nfkc().collect();
            texts.push(plausible(folded)?);
        }
    }
    let mut readings = Vec::with_capacity(4 * texts.len());
    for text in texts {
        let bare = |segment: &'_ str| segment.split(';').next().map(str::to_owned);
        let bare: Vec<String> = text.split('/').filter_map(bare).collect();
        for path in [text, bare.join("/")] {
            readings.push(merged(&path));
            readings.push(path);
        }
    }
    Some(readings)
}

/// Replaces the last of `texts` by all its repeated decodings. For each decoding that has a query
/// or a fragment, it adds the path before that query or fragment.
fn decode_again(texts: &mut Vec<String>) -> Option<()> {
    let mut text = texts.pop()?;
    for _ in 0..DEEPEST {
        if let Some((path, _)) = text.split_once(['?', '#']) {
            texts.push(plausible(path.to_owned())?);
        }
        let has_more = escapes(&text).next().is_some();
        texts.push(text.clone());
        if !has_more {
            return Some(());
        }
        text = plausible(percent_decode_str(&text).decode_utf8().ok()?.into_owned())?;
    }
    None
}

/// Returns the path if a request could have named it directly; `None` if `check` would refuse it.
fn plausible(path: String) -> Option<String> {
    check(&path.replace('\0', "_"), &mut PathAnomalies::default()).ok().map(|()| path)
}

/// The path with each run of slashes merged into one.
fn merged(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !merged.ends_with('/') {
            merged.push(letter);
        }
    }
    merged
}

/// A prefix of paths, and the text that replaces it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PrefixReplacement<'a> {
    pub(super) outer: &'a str,
    pub(super) inner: &'a str,
}

/// Replaces the prefix `outer` of a raw path by `inner` and appends the query. The rest is checked
/// again, because cutting a prefix off can create a path that would have been refused.
///
/// # Errors
/// The first segments are not those of `outer`, or the rest is not canonical.
pub(super) fn replace(
    raw: &str,
    query: Option<&str>,
    prefix: PrefixReplacement<'_>,
    allowed: PathAnomalies,
) -> Result<String, PathError> {
    let PrefixReplacement { outer, inner } = prefix;
    let mut rest = raw;
    // The segments are compared decoded, because the raw path may spell them with escapes. The rest
    // keeps its bytes, so that the upstream sees the client's spelling.
    for wanted in outer.split('/').filter(|segment| !segment.is_empty()) {
        let inner = rest.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        let end = inner.find('/').unwrap_or(inner.len());
        let (segment, after) = inner.split_at(end);
        let slashed = format!("/{segment}");
        let (decoded, _) = canonical(&slashed)?;
        if !decoded.get(1..).is_some_and(|decoded| decoded.eq_ignore_ascii_case(wanted)) {
            return Err(PathError::Odd);
        }
        rest = after;
    }
    let (_, oddities) = canonical(if rest.is_empty() { "/" } else { rest })?;
    // A path that begins with `//host/` can be read as a reference to another authority (RFC 3986
    // §4.2).
    if !oddities.within(allowed) || rest.starts_with("//") {
        return Err(PathError::Odd);
    }
    // A request for exactly the prefix `/api` becomes `/v2`, without a slash that the client did
    // not send. Only an empty result becomes `/`, because a path is never empty.
    let rest = if rest.is_empty() && inner.is_empty() { "/" } else { rest };
    Ok(match query {
        Some(query) => format!("{inner}{rest}?{query}"),
        None => format!("{inner}{rest}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_can_be_read_in_two_ways_are_refused() {
        for (raw, expected, why) in [
            ("/public/../admin", Err(PathError::DotSegment), "raw dots"),
            ("/public/%2e%2e/admin", Err(PathError::DotSegment), "encoded dots"),
            ("/public/%2E./admin", Err(PathError::DotSegment), "half encoded dots"),
            ("/..;/admin", Err(PathError::DotSegment), "dots that a servlet would see"),
            ("/a/.", Err(PathError::DotSegment), "a single dot"),
            ("/a%5cb", Err(PathError::Backslash), "an encoded backslash"),
            ("/a\\b", Err(PathError::Backslash), "a raw backslash"),
            ("/a%00b", Err(PathError::Control), "NUL"),
            ("/a%0ab", Err(PathError::Control), "a line feed"),
            ("/a%7f", Err(PathError::Control), "DEL"),
            ("/a%ff", Err(PathError::NotUtf8), "not UTF-8"),
            ("/a%c0%af", Err(PathError::NotUtf8), "an overlong slash"),
            ("/a%2", Err(PathError::BadEscape), "half an escape"),
            ("/a%zz", Err(PathError::BadEscape), "no hex"),
            ("/a%252fb", Err(PathError::EncodedTwice), "a slash encoded twice"),
            ("/a%252e%252e/b", Err(PathError::EncodedTwice), "dots encoded twice"),
            ("/a%253bb", Err(PathError::EncodedTwice), "a semicolon encoded twice"),
            ("/a%2500", Err(PathError::EncodedTwice), "NUL encoded twice"),
            ("a/b", Err(PathError::NotAbsolute), "no slash at its beginning"),
            ("", Err(PathError::NotAbsolute), "empty"),
            ("/%61dmin", Ok("/admin"), "an escape that was not needed"),
            ("/caf%C3%A9", Ok("/café"), "UTF-8"),
            ("/file%2etxt", Ok("/file.txt"), "a dot that is no segment"),
            ("/...", Ok("/..."), "three dots are a name"),
            ("/a%25b", Ok("/a%b"), "a percent sign"),
            ("/a/", Ok("/a/"), "a slash at the end"),
        ] {
            let found = canonical(raw).map(|(path, _)| path.into_owned());
            assert_eq!(found, expected.map(str::to_owned), "{raw}: {why}");
        }
    }

    #[test]
    fn odd_spellings_are_told_apart() {
        let odd = |semicolon, double_slash, encoded_slash| PathAnomalies {
            semicolon,
            double_slash,
            encoded_slash,
            ..PathAnomalies::default()
        };
        for (raw, expected, why) in [
            ("/a/b", odd(false, false, false), "nothing odd"),
            ("/a;x=1/b", odd(true, false, false), "parameters"),
            ("/a%3Bb", odd(true, false, false), "an encoded semicolon"),
            ("//admin", odd(false, true, false), "two slashes at the beginning"),
            ("/a//b", odd(false, true, false), "two slashes in the middle"),
            ("/a//", odd(false, true, false), "two slashes at the end"),
            ("/a%2fb", odd(false, false, true), "an encoded slash"),
            ("/a%2Fb", odd(false, false, true), "the same in the other case"),
        ] {
            assert_eq!(canonical(raw).unwrap().1, expected, "{raw}: {why}");
        }
    }

    #[test]
    fn stripping_a_prefix_cannot_make_another_path() {
        for (raw, expected, why) in [
            ("/api/x", Some("/x"), "the rest"),
            ("/api", Some("/"), "nothing is left"),
            ("/api/", Some("/"), "a slash is left"),
            ("/%61pi/x%20y", Some("/x%20y"), "the rest keeps its spelling"),
            ("/api//x", None, "would name another host"),
            ("/apix", None, "not at a segment"),
            ("/other/x", None, "not the prefix"),
        ] {
            let stripped = replace(
                raw,
                None,
                PrefixReplacement { outer: "/api", inner: "" },
                PathAnomalies::default(),
            )
            .ok();
            assert_eq!(stripped.as_deref(), expected, "{raw}: {why}");
        }
    }

    #[test]
    fn a_prefix_is_replaced_as_a_whole_and_nothing_else_is() {
        for (raw, expected, why) in [
            ("/api/x%20y", Some("/v2/x%20y?q"), "the rest keeps its spelling"),
            ("/api", Some("/v2?q"), "no slash where none was asked for"),
            ("/%61pi", Some("/v2?q"), "nor where the prefix is spelled otherwise"),
            ("/api/", Some("/v2/?q"), "a slash is left"),
            ("/api//x", None, "an empty segment"),
            ("/api/../x", None, "a dot segment"),
            ("/api/%2fx", None, "an encoded slash"),
            ("/apix", None, "not at a segment"),
        ] {
            let replaced = replace(
                raw,
                Some("q"),
                PrefixReplacement { outer: "/api", inner: "/v2" },
                PathAnomalies::default(),
            )
            .ok();
            assert_eq!(replaced.as_deref(), expected, "{raw}: {why}");
        }
    }
}
