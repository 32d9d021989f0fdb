//! The one form of a path: decoded once, and refused where a server behind us could read it
//! differently.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::decompose_compatible;

use crate::config::AllowPath;

/// Spellings found in a path that only some routes let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// `;` in a segment, encoded or not: parameters to some servers, text to others.
    pub semicolon: bool,
    /// An empty segment before the last.
    pub double_slash: bool,
    /// `%2f`.
    pub encoded_slash: bool,
    /// What a server that decodes twice, or cuts a query off what it has decoded, reads otherwise:
    /// an escape that is left after one decoding, `%3f`, `%23`.
    pub percent: bool,
    /// A letter that folds to one of `/ \ . % ; ? #` (NFKC), such as a full-width slash.
    pub unicode: bool,
}

impl Oddities {
    /// What a route lets through.
    pub fn allowed(by: &[AllowPath]) -> Self {
        Self {
            semicolon: by.contains(&AllowPath::Semicolon),
            double_slash: by.contains(&AllowPath::DoubleSlash),
            encoded_slash: by.contains(&AllowPath::EncodedSlash),
            percent: by.contains(&AllowPath::Percent),
            unicode: by.contains(&AllowPath::Unicode),
        }
    }

    /// True if there is none that `allowed` lacks.
    pub fn within(self, allowed: Self) -> bool {
        (allowed.semicolon || !self.semicolon)
            && (allowed.double_slash || !self.double_slash)
            && (allowed.encoded_slash || !self.encoded_slash)
            && (allowed.percent || !self.percent)
            && (allowed.unicode || !self.unicode)
    }

    /// True if there is any.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// Why a path is refused.
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
    /// A sentence for the log.
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

/// The path decoded once, and what is odd about it. Borrowed where nothing was encoded.
pub(super) fn canonical(raw: &str) -> Result<(Cow<'_, str>, Oddities), PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    let mut oddities = Oddities::default();
    let decoded = if raw.contains('%') {
        Cow::Owned(decode(raw, &mut oddities)?)
    } else {
        Cow::Borrowed(raw)
    };
    check(&decoded, &mut oddities)?;
    Ok((decoded, oddities))
}

fn decode(raw: &str, oddities: &mut Oddities) -> Result<String, PathError> {
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
        // Decoded again these would divide or end the path: no route lets them through.
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

/// The digits of each escape that a server would find that decodes the path again.
fn escapes(decoded: &str) -> impl Iterator<Item = (u8, u8)> {
    decoded.as_bytes().windows(3).filter_map(|window| match window {
        [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            Some((*high, *low))
        }
        _ => None,
    })
}

/// True for a letter that is, or begins or ends with, one that divides paths to a server that
/// folds what it has decoded (NFKC): `／` is a slash to it, and `‥` two dots.
fn folds_to_divider(letter: char) -> bool {
    let mut found = false;
    decompose_compatible(letter, |part| {
        found |= matches!(part, '/' | '\\' | '.' | '%' | ';' | '?' | '#');
    });
    found
}

fn check(decoded: &str, oddities: &mut Oddities) -> Result<(), PathError> {
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
        // Some servers cut parameters off before they look: `/..;x/` is a dot segment to them.
        let bare = segment.split(';').next().unwrap_or(segment);
        if matches!(bare, "." | "..") {
            return Err(PathError::DotSegment);
        }
        oddities.double_slash |= segment.is_empty() && segments.peek().is_some();
    }
    Ok(())
}

/// How often a path may be encoded that is let through as `percent`; each time is a reading more.
const DEEPEST: usize = 4;

/// Every way in which a server behind us could read an oddly spelled path: encoded slashes as
/// slashes or as letters, decoded again, with its letters folded, with and without parameters, with
/// slashes merged or not. `None` if one of them is a path that is let through nowhere.
pub(super) fn readings(raw: &str, oddities: Oddities) -> Option<Vec<String>> {
    // No path that is let through has a NUL, so it stands for a letter that no pattern names.
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

/// Adds to the last of `texts` what it is when it is decoded again and again, and what is left of
/// each of these where a query or fragment is cut off.
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

/// The path, if it would be let through by itself.
fn plausible(path: String) -> Option<String> {
    check(&path.replace('\0', "_"), &mut Oddities::default()).ok().map(|()| path)
}

/// The path with each run of slashes as one.
fn merged(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !merged.ends_with('/') {
            merged.push(letter);
        }
    }
    merged
}

/// A raw path (with its query) with `inner` in place of the segments of `outer`, checked again:
/// rewriting must not make a path that would have been refused.
///
/// # Errors
/// Where the first segments are not those of `outer`, or the rest is not canonical.
pub(super) fn replace(
    raw: &str,
    query: Option<&str>,
    (outer, inner): (&str, &str),
    allowed: Oddities,
) -> Result<String, PathError> {
    let mut rest = raw;
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
    // `//host/` in front would be read as another authority.
    if !oddities.within(allowed) || rest.starts_with("//") {
        return Err(PathError::Odd);
    }
    // `/api` becomes `/v2`, not `/v2/`, which was not asked for.
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
        let odd = |semicolon, double_slash, encoded_slash| Oddities {
            semicolon,
            double_slash,
            encoded_slash,
            ..Oddities::default()
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
            let stripped = replace(raw, None, ("/api", ""), Oddities::default()).ok();
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
            let replaced = replace(raw, Some("q"), ("/api", "/v2"), Oddities::default()).ok();
            assert_eq!(replaced.as_deref(), expected, "{raw}: {why}");
        }
    }
}
