//! `request_headers` and `response_headers` of a route: header fields to set and to remove. Values
//! may contain placeholders, which `headers` fills in for each request.

use http::header::HeaderName;
use serde::{Serialize, Serializer};

use super::written;

/// Fields to set and to remove.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HeaderRules {
    #[serde(serialize_with = "written::texts")]
    pub remove: Vec<HeaderName>,
    #[serde(serialize_with = "written::entries")]
    pub set: Vec<(HeaderName, ValueTemplate)>,
}

/// The value of a header field; it may contain placeholders. The parts are joined.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueTemplate(pub Vec<ValuePart>);

/// One part of the value of a header field.
#[derive(Clone, Debug, PartialEq)]
pub enum ValuePart {
    Text(String),
    /// `$claims.a.b`: a path into the claims of the identity.
    Claim(Vec<String>),
    /// `$subject`, `$username`, `$session`, `$roles`, `$scopes`, `$issuer`, `$source`.
    Subject,
    Username,
    Session,
    Roles,
    Scopes,
    Issuer,
    Source,
    /// `$client.address`
    ClientAddress,
    /// `$request.id`
    RequestId,
    /// `$host`: the normalised host of the request.
    Host,
}

impl ValuePart {
    /// The placeholders, each with its name after the `$`.
    pub(crate) const PLACEHOLDERS: &[(&str, Self)] = &[
        ("subject", Self::Subject),
        ("username", Self::Username),
        ("session", Self::Session),
        ("roles", Self::Roles),
        ("scopes", Self::Scopes),
        ("issuer", Self::Issuer),
        ("source", Self::Source),
        ("client.address", Self::ClientAddress),
        ("request.id", Self::RequestId),
        ("host", Self::Host),
    ];
}

impl ValueTemplate {
    /// Writes the text that `parse` reads.
    pub(crate) fn render(&self) -> String {
        let part = |part: &ValuePart| match part {
            ValuePart::Text(text) => text.replace('$', "$$"),
            ValuePart::Claim(path) => format!("$claims.{}", path.join(".")),
            part => ValuePart::PLACEHOLDERS
                .iter()
                .find(|(_, place)| place == part)
                .map(|(name, _)| format!("${name}"))
                .unwrap_or_default(),
        };
        self.0.iter().map(part).collect()
    }
}

impl Serialize for ValueTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.render())
    }
}
