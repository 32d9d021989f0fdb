//! Multipart forms: `multipart/form-data` (RFC 7578), with small text fields only.
//!
//! Files are refused, and so is everything that readers of multipart bodies do not agree about:
//! text before the first or after the last delimiter, a delimiter that does not fill its line, line
//! ends other than CRLF around it, folded fields, other parameters than `name`, escapes in names,
//! and encodings of the content. RFC 2046, section 5.1.1, has the grammar.
//!
//! The code is our own, because the maintained crates for this format read streams of files
//! asynchronously and are lenient where this module must not be. A body is in memory here as a
//! whole, and a credential needs no files.

use super::media_type::{ParameterizedValue, is_token, trim};
use super::value::{BodyValue, Members, UniqueMembers};

/// Most parts of a body. A login has a few fields.
const MOST_PARTS: usize = 64;

/// The characters of a boundary beside letters and digits (RFC 2046, section 5.1.1).
const BOUNDARY_MARKS: &str = "'()+_,-./:=? ";

/// Reads a body with this boundary; `None` if it is not well-formed, or not only of text fields.
pub(super) fn read(text: &str, boundary: &str) -> Option<Members> {
    if !is_boundary(boundary) {
        return None;
    }
    let delimiter = format!("--{boundary}");
    let mut rest = text.strip_prefix("\r\n").unwrap_or(text).strip_prefix(&delimiter)?;
    let mut members = UniqueMembers::default();
    while let Some(part) = rest.strip_prefix("\r\n") {
        if members.len() == MOST_PARTS {
            return None;
        }
        // The text of a delimiter may occur nowhere else, not even in the middle of a line. Readers
        // differ in what they take for the beginning of a line.
        let (part, after) = part.split_once(&delimiter)?;
        let (name, content) = read_part(part.strip_suffix("\r\n")?)?;
        members.add(name, BodyValue::text(content))?;
        rest = after;
    }
    matches!(rest, "--" | "--\r\n").then(|| members.finish())
}

fn is_boundary(text: &str) -> bool {
    let is_allowed =
        |character: char| character.is_ascii_alphanumeric() || BOUNDARY_MARKS.contains(character);
    (1..=70).contains(&text.len()) && text.chars().all(is_allowed) && !text.ends_with(' ')
}

/// The name and the content of a part.
fn read_part(part: &str) -> Option<(String, &str)> {
    let (head, content) = part.split_once("\r\n\r\n")?;
    let mut name = None;
    let mut seen = Vec::new();
    for line in head.split("\r\n") {
        let (field, value) = line.split_once(':')?;
        let field = field.to_ascii_lowercase();
        if !is_token(&field) || is_ambiguous(value) || seen.contains(&field) {
            return None;
        }
        let is_fine = match field.as_str() {
            "content-disposition" => {
                name = Some(parse_name(value)?);
                true
            }
            "content-type" => is_plain_text(value, content),
            // Some clients say that the content is as it is.
            "content-transfer-encoding" => {
                let encodings = ["7bit", "8bit", "binary"];
                encodings.iter().any(|known| trim(value).eq_ignore_ascii_case(known))
            }
            // Readers may believe it instead of the delimiter.
            "content-length" => trim(value) == content.len().to_string(),
            // RFC 7578, section 4.8: all others are ignored.
            _ => true,
        };
        if !is_fine {
            return None;
        }
        seen.push(field);
    }
    Some((name?, content))
}

/// True for a value with a control character, which some readers take for the end of the line.
fn is_ambiguous(value: &str) -> bool {
    value.contains(|character: char| character.is_control() && character != '\t')
}

/// The name of a text field. A percent sign begins an escape for some readers only (RFC 7578,
/// section 2, and browsers, which escape a quote so).
fn parse_name(disposition: &str) -> Option<String> {
    let disposition = ParameterizedValue::parse(disposition)?;
    let name = disposition.parameter("name").filter(|name| !name.contains('%'))?;
    // A part with any other parameter is a file, or has its name twice, as `name*`.
    (disposition.value == "form-data" && disposition.has_only("name")).then(|| name.to_owned())
}

fn is_plain_text(content_type: &str, content: &str) -> bool {
    ParameterizedValue::parse(content_type).is_some_and(|parsed| {
        parsed.value == "text/plain"
            && parsed.has_only("charset")
            && super::is_charset_of(parsed.parameter("charset"), content)
    })
}
