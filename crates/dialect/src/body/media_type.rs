//! A header value with parameters, such as a media type (RFC 9110, sections 5.6.6 and 8.3.1).
//!
//! Content types of bodies and of the parts of multipart bodies are read here, and also
//! `Content-Disposition`. A value that two readers could understand differently is refused: a
//! parameter that occurs twice, an unquoted value with other characters than those of a token, and
//! a backslash in quotes, which some readers take for an escape and others for itself.

use crate::octets::is_token_byte;

/// A value and its parameters.
#[cfg_attr(test, derive(Debug))]
pub(super) struct ParameterizedValue {
    /// The value before the first semicolon, in lower case: the type and subtype of a media type.
    pub(super) value: String,
    /// Invariant: the names are in lower case, and none occurs twice.
    parameters: Vec<(String, String)>,
}

impl ParameterizedValue {
    /// Parses the value of a header field; `None` if it is not well-formed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let end = text.find(';').unwrap_or(text.len());
        let (value, mut rest) = text.split_at(end);
        let value = trim(value);
        if !value.split('/').all(is_token) {
            return None;
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        while !rest.is_empty() {
            rest = trim(rest.strip_prefix(';')?);
            // Empty parameters are allowed: `text/plain;` and `text/plain;;charset=utf-8`.
            if rest.is_empty() || rest.starts_with(';') {
                continue;
            }
            let (name, after) = rest.split_once('=')?;
            let (value, after) = parse_value(after)?;
            let name = name.to_ascii_lowercase();
            if !is_token(&name) || parameters.iter().any(|(known, _)| *known == name) {
                return None;
            }
            parameters.push((name, value.to_owned()));
            rest = trim(after);
        }
        Some(Self { value: value.to_ascii_lowercase(), parameters })
    }

    /// The value of the parameter with this name, which is in lower case.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// True if every parameter has this name.
    pub(super) fn has_only(&self, name: &str) -> bool {
        self.parameters.iter().all(|(known, _)| known == name)
    }
}

/// The value at the beginning of `text`, without its quotes, and the text after it.
fn parse_value(text: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted.split_once('"').filter(|(value, _)| !value.contains('\\'));
    }
    let end = text.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(text.len());
    Some(text.split_at(end)).filter(|(value, _)| !value.is_empty())
}

/// True for a token (RFC 9110, section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Without the optional whitespace (RFC 9110, section 5.6.3) on both sides.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(String, Vec<(String, String)>)> {
        ParameterizedValue::parse(text).map(|parsed| (parsed.value, parsed.parameters))
    }

    fn parameters(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn parameters_are_read_with_and_without_quotes() {
        for (text, value, expected) in [
            ("application/json", "application/json", vec![]),
            (" Text/Plain ;", "text/plain", vec![]),
            ("a/b;;c=d ; ", "a/b", vec![("c", "d")]),
            ("a/b; CharSet=UTF-8;x=\"y; z\"", "a/b", vec![("charset", "UTF-8"), ("x", "y; z")]),
            ("form-data; name=\"\"", "form-data", vec![("name", "")]),
        ] {
            let expected = Some((value.to_owned(), parameters(&expected)));
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_value_that_could_be_read_in_two_ways_is_refused() {
        for text in [
            "",
            ";",
            "/",
            "a/",
            "a b",
            "a/b, c/d",
            "a/b c=d",
            "a/b; c",
            "a/b; c=",
            "a/b; c =d",
            "a/b; c= d",
            "a/b; c=d e",
            "a/b; c=d, e/f",
            "a/b; c=\"d",
            "a/b; c=\"d\"e",
            "a/b; c=\"\\d\"",
            "a/b; c=d; C=d",
            "a/b; ü=d",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
