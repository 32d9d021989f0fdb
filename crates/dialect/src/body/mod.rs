//! The body of a request, read in one way only.
//!
//! A body comes as JSON, as a form, as a multipart form or as XML; the content type decides, and
//! the readers make the same `BodyValue` of each. All of them are strict: a body that two readers
//! could understand differently is refused, above all one in which a name occurs twice. Otherwise a
//! request could be one thing for the gateway and another for the system behind it.
//!
//! A body is read as a whole, but only what an endpoint names is looked at: unknown members are
//! ignored. The values live only while the credential is looked for in them.

mod form;
mod json;
mod media_type;
mod multipart;
mod value;
mod xml;

use std::fmt;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use self::media_type::ParameterizedValue;
pub(crate) use self::value::{BodyValue, Members};
pub(crate) use self::xml::TEXT;
use crate::member::element_index;
use crate::{MemberPath, Reason};
use tollhouse_core::secret::SecretString;
use tollhouse_core::strict_json;

/// Longest text that `scalar` gives, in bytes: what it gives is written into answers.
const LONGEST_SCALAR: usize = 256;

const FORM_TYPE: &str = "application/x-www-form-urlencoded";

/// The formats of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyFormat {
    Json,
    Form,
    Multipart,
    Xml,
}

/// The kind as dialects name it.
impl fmt::Display for BodyFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Form => "form",
            Self::Multipart => "multipart",
            Self::Xml => "xml",
        })
    }
}

/// The bodies that an endpoint reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AcceptedBodies {
    pub(crate) kinds: Vec<BodyFormat>,
    /// Further content types that mean JSON, as `type/subtype` in any case of letters.
    pub(crate) media_types: Vec<String>,
}

/// A body that was read. An empty one has no kind and no members.
#[cfg_attr(test, derive(Debug))]
pub(crate) struct ParsedBody {
    kind: Option<BodyFormat>,
    root: BodyValue,
}

/// The reasons why a body is not one that endpoints read.
#[cfg_attr(test, derive(Debug))]
pub(crate) enum BodyReadError {
    Refused(Reason),
    /// The body is a JSON list: several calls at once. No endpoint takes it.
    List,
}

impl From<BodyReadError> for Reason {
    fn from(error: BodyReadError) -> Self {
        match error {
            BodyReadError::Refused(reason) => reason,
            BodyReadError::List => Self::MalformedRequest,
        }
    }
}

impl ParsedBody {
    /// A body without members, for endpoints that do not look at it.
    pub(crate) fn empty() -> Self {
        Self { kind: None, root: BodyValue::Members(Members::new()) }
    }

    /// Reads a body in the one way that its content type says.
    ///
    /// # Errors
    ///
    /// `UnsupportedMediaType` if it is of a type or charset that the endpoint does not read, or has
    /// two types; `MalformedRequest` if it could be read in more than one way, or in none.
    pub(crate) fn read(
        headers: &HeaderMap,
        body: &[u8],
        accepts: &AcceptedBodies,
    ) -> Result<Self, BodyReadError> {
        // Some clients send a content type with requests that have no body. The type of an empty
        // body says nothing.
        if body.is_empty() {
            return Ok(Self::empty());
        }
        let unsupported = || BodyReadError::Refused(Reason::UnsupportedMediaType);
        let malformed = || BodyReadError::Refused(Reason::MalformedRequest);
        let content_type = single_type(headers).ok_or_else(unsupported)?;
        let kind = accepts.kind(content_type.as_ref()).ok_or_else(unsupported)?;
        let parameter = |name| content_type.as_ref().and_then(|known| known.parameter(name));
        let charset = parameter("charset");
        if charset.is_some_and(|name| !is_utf8(name) && !is_ascii(name)) {
            return Err(unsupported());
        }
        let text = std::str::from_utf8(body).map_err(|_| malformed())?;
        if !is_charset_of(charset, text) {
            return Err(malformed());
        }
        let members = match kind {
            BodyFormat::Json => match json::read(text) {
                Some(BodyValue::Members(members)) => Some(members),
                Some(BodyValue::List(_)) => return Err(BodyReadError::List),
                _ => None,
            },
            BodyFormat::Form => form::read(text),
            BodyFormat::Multipart => {
                parameter("boundary").and_then(|boundary| multipart::read(text, boundary))
            }
            BodyFormat::Xml => xml::read(text, xml::RepeatedElements::Refused),
        };
        let body =
            Self { kind: Some(kind), root: BodyValue::Members(members.ok_or_else(malformed)?) };
        if body.names_other_charset() { Err(unsupported()) } else { Ok(body) }
    }

    /// The format in which the body came; `None` if it was empty.
    pub(crate) fn kind(&self) -> Option<BodyFormat> {
        self.kind
    }

    /// The value at this path of a body of this kind, which may be `Null` or an empty text. `None`
    /// if the body is of another kind, or something else is on the way. For an XML element with
    /// text and attributes it is the text.
    pub(crate) fn value(&self, kind: BodyFormat, path: &MemberPath) -> Option<&BodyValue> {
        self.find(kind, path).ok().flatten()
    }

    /// The text at this path. Missing, `null` and empty are the same, at the member itself and on
    /// the way to it.
    ///
    /// # Errors
    ///
    /// `MalformedRequest` if any other value is in its place. A credential that is a number, for
    /// example, is never converted to text.
    pub(crate) fn text(
        &self,
        kind: BodyFormat,
        path: &MemberPath,
    ) -> Result<Option<&SecretString>, Reason> {
        match self.find(kind, path)? {
            None | Some(BodyValue::Null) => Ok(None),
            Some(BodyValue::Text(text)) => Ok(Some(text).filter(|text| !text.expose().is_empty())),
            Some(_) => Err(Reason::MalformedRequest),
        }
    }

    /// A text of at most 256 bytes, a number or a flag at this path, with its type, for writing it
    /// into an answer. It must not be used where a credential is.
    pub(crate) fn scalar(&self, kind: BodyFormat, path: &MemberPath) -> Option<Value> {
        match self.value(kind, path)? {
            BodyValue::Text(text) if text.expose().len() <= LONGEST_SCALAR => {
                Some(text.expose().as_str().into())
            }
            BodyValue::Number(number) => Some(number.clone().into()),
            BodyValue::Flag(flag) => Some((*flag).into()),
            _ => None,
        }
    }

    /// The names of a form's fields; none for bodies of another kind.
    pub(crate) fn flat_names(&self) -> impl Iterator<Item = &String> {
        let is_flat = matches!(self.kind, Some(BodyFormat::Form | BodyFormat::Multipart));
        let members = match &self.root {
            BodyValue::Members(members) if is_flat => members.as_slice(),
            _ => &[],
        };
        members.iter().map(|(name, _)| name)
    }

    /// True if a member on the way to this path is there in another spelling: upper and lower case
    /// are the same to some readers.
    pub(crate) fn has_other_spelling(&self, kind: BodyFormat, path: &MemberPath) -> bool {
        if self.kind != Some(kind) {
            return false;
        }
        let mut value = &self.root;
        for name in path.names() {
            let BodyValue::Members(members) = value else { return false };
            let folded = name.to_lowercase();
            let is_other = |known: &String| known != name && known.to_lowercase() == folded;
            if members.iter().any(|(known, _)| is_other(known)) {
                return true;
            }
            match member(members, name) {
                Some(found) => value = found,
                None => return false,
            }
        }
        false
    }

    /// The value at a path; `None` if it is missing or something on the way is missing or null.
    fn find(&self, kind: BodyFormat, path: &MemberPath) -> Result<Option<&BodyValue>, Reason> {
        if self.kind != Some(kind) {
            return Ok(None);
        }
        let is_xml = kind == BodyFormat::Xml;
        let mut value = &self.root;
        for name in path.names() {
            let found = match (value, element_index(name)) {
                (BodyValue::Null, _) => None,
                (BodyValue::Members(members), None) => member(members, name),
                (BodyValue::List(items), Some(index)) => items.get(index),
                // An XML element that has only text could have children, too: they are missing.
                (BodyValue::Text(_), None) if is_xml && name == TEXT => Some(value),
                (BodyValue::Text(_), None) if is_xml => None,
                _ => return Err(Reason::MalformedRequest),
            };
            match found {
                Some(found) => value = found,
                None => return Ok(None),
            }
        }
        match value {
            BodyValue::Members(members) if is_xml => {
                Ok(Some(member(members, TEXT).unwrap_or(value)))
            }
            value => Ok(Some(value)),
        }
    }

    /// True if a field of the form says that the others are in another charset than UTF-8 (HTML,
    /// section 4.10.21.5; RFC 7578, section 4.6).
    fn names_other_charset(&self) -> bool {
        let is_form = matches!(self.kind, Some(BodyFormat::Form | BodyFormat::Multipart));
        let BodyValue::Members(members) = &self.root else { return false };
        match member(members, "_charset_") {
            Some(BodyValue::Text(name)) => is_form && !is_utf8(name.expose()),
            _ => false,
        }
    }
}

/// An answer of another system that is a form or XML, as members of JSON; `None` if it is not
/// well-formed. Elements of one name that stand side by side are a list.
pub(crate) fn read_answer(kind: BodyFormat, text: &str) -> Option<Value> {
    let members = match kind {
        BodyFormat::Json => return strict_json::value(text.as_bytes()),
        BodyFormat::Form => form::read(text),
        BodyFormat::Xml => xml::read(text, xml::RepeatedElements::Listed),
        // No answer is of parts.
        BodyFormat::Multipart => None,
    };
    members.map(value::members_json)
}

fn member<'b>(members: &'b Members, name: &str) -> Option<&'b BodyValue> {
    members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// The content type; `Some(None)` if there is none, and `None` if it is not well-formed. With two,
/// a proxy before the gateway may have seen the other one.
fn single_type(headers: &HeaderMap) -> Option<Option<ParameterizedValue>> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => Some(None),
        (Some(value), None) => ParameterizedValue::parse(value.to_str().ok()?).map(Some),
        (Some(_), Some(_)) => None,
    }
}

impl AcceptedBodies {
    /// The kind of a body with this content type; `None` if the endpoint does not read it.
    fn kind(&self, content_type: Option<&ParameterizedValue>) -> Option<BodyFormat> {
        let Some(content_type) = content_type else {
            return match self.kinds.as_slice() {
                [kind] => Some(*kind),
                kinds => Some(BodyFormat::Json).filter(|kind| kinds.contains(kind)),
            };
        };
        let name = content_type.value.as_str();
        let kind = match name {
            FORM_TYPE => Some(BodyFormat::Form),
            "multipart/form-data" => Some(BodyFormat::Multipart),
            "application/xml" | "text/xml" => Some(BodyFormat::Xml),
            "application/json" => Some(BodyFormat::Json),
            other => suffix_kind(other),
        };
        let is_read = |kind: &BodyFormat| self.kinds.contains(kind);
        let is_own = || self.media_types.iter().any(|own| own.eq_ignore_ascii_case(name));
        // A type that the endpoint reads as what it says is never JSON as well.
        kind.filter(is_read).or_else(|| Some(BodyFormat::Json).filter(is_read).filter(|_| is_own()))
    }
}

/// The kind of a type such as `application/scim+json` (RFC 6839).
fn suffix_kind(name: &str) -> Option<BodyFormat> {
    let (stem, suffix) = name.strip_prefix("application/")?.rsplit_once('+')?;
    match suffix {
        "json" if !stem.is_empty() => Some(BodyFormat::Json),
        "xml" if !stem.is_empty() => Some(BodyFormat::Xml),
        _ => None,
    }
}

/// True if `text` can have been sent in this charset. Without one it is UTF-8.
fn is_charset_of(charset: Option<&str>, text: &str) -> bool {
    charset.is_none_or(|name| is_utf8(name) || (is_ascii(name) && text.is_ascii()))
}

fn is_utf8(charset: &str) -> bool {
    // The second name is no registered one, but nobody means anything else by it.
    ["utf-8", "utf8"].iter().any(|name| charset.eq_ignore_ascii_case(name))
}

fn is_ascii(charset: &str) -> bool {
    charset.eq_ignore_ascii_case("us-ascii")
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
