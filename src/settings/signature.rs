//! `[[signature]]`: how a kind of clients signs its requests.
//!
//! A signature covers what `signed` puts together of a request. The keys are `[[api_key]]`s; each
//! verifies one algorithm, which follows from its type and never from the request.

use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::written;
use crate::algorithm::Algorithm;
use crate::dialect::Carrier;

/// One way to sign requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SignatureSettings {
    pub name: String,
    /// The place of the key's id.
    #[serde(serialize_with = "carrier")]
    pub key: Carrier,
    /// The place of the signature.
    #[serde(serialize_with = "carrier")]
    pub signature: Carrier,
    pub encoding: SignatureEncoding,
    pub ecdsa: EcdsaForm,
    pub timestamp: SignedTime,
    /// The bytes that are signed.
    pub signed: SignedTemplate,
    /// At most one for each type of key.
    pub algorithms: Vec<Algorithm>,
}

/// The time that a client signs, by which old requests are told from new ones.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedTime {
    pub place: Carrier,
    pub unit: TimeUnit,
    /// How far the time may be from the gateway's, in either direction.
    pub skew: Duration,
}

/// The unit in which a time counts from 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum TimeUnit {
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "ms")]
    Milliseconds,
}

/// How the bytes of a signature are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureEncoding {
    /// With padding (RFC 4648, section 4).
    Base64,
    /// Without padding (RFC 4648, section 5).
    Base64Url,
    Hex,
}

/// How the two numbers of an ECDSA signature are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EcdsaForm {
    /// As ASN.1 (RFC 3279, section 2.2.3), which OpenSSL and most libraries write.
    Der,
    /// One after the other, each as long as the curve (RFC 7518, section 3.4).
    Fixed,
}

/// The bytes that are signed: texts and values of the request, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedTemplate(pub Vec<SignedPart>);

/// One part of the signed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedPart {
    Text(String),
    /// As the client sent it.
    Timestamp,
    Method,
    /// Path and query, byte for byte as received.
    Uri,
    Path,
    /// Without the question mark; empty if there is none.
    Query,
    /// In lower case, with the port if the client named one.
    Host,
    /// The key's id.
    Key,
    Body,
    /// SHA-256 of the body in lower-case hex.
    BodyDigest,
}

impl SignedPart {
    /// The placeholders, each with its name after the `$`.
    pub(crate) const PLACEHOLDERS: &[(&str, Self)] = &[
        ("timestamp", Self::Timestamp),
        ("method", Self::Method),
        ("uri", Self::Uri),
        ("path", Self::Path),
        ("query", Self::Query),
        ("host", Self::Host),
        ("key", Self::Key),
        ("body", Self::Body),
        ("body_sha256", Self::BodyDigest),
    ];
}

impl SignatureSettings {
    /// Every place of a part of the credential.
    pub fn places(&self) -> [&Carrier; 3] {
        [&self.key, &self.signature, &self.timestamp.place]
    }
}

impl SignedTemplate {
    pub fn has(&self, part: &SignedPart) -> bool {
        self.0.contains(part)
    }

    /// True if the body has to be read before the signature can be verified.
    pub fn has_body(&self) -> bool {
        self.has(&SignedPart::Body) || self.has(&SignedPart::BodyDigest)
    }

    /// Writes the text that `parse` reads.
    fn render(&self) -> String {
        let part = |part: &SignedPart| match part {
            SignedPart::Text(text) => text.replace('$', "$$"),
            part => SignedPart::PLACEHOLDERS
                .iter()
                .find(|(_, place)| place == part)
                .map(|(name, _)| format!("${name}"))
                .unwrap_or_default(),
        };
        self.0.iter().map(part).collect()
    }
}

impl Serialize for SignedTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.render())
    }
}

impl Serialize for SignedTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct SkewText<'d>(#[serde(serialize_with = "written::duration")] &'d Duration);

        let mut table = serializer.serialize_map(Some(3))?;
        if let Some((key, value)) = written_place(&self.place) {
            table.serialize_entry(key, value)?;
        }
        table.serialize_entry("unit", &self.unit)?;
        table.serialize_entry("skew", &SkewText(&self.skew))?;
        table.end()
    }
}

fn carrier<S: Serializer>(carrier: &Carrier, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(written_place(carrier))
}

/// The key and the value by which a place in the head of a request is written.
fn written_place(carrier: &Carrier) -> Option<(&'static str, &str)> {
    match carrier {
        Carrier::Field(name) => Some(("field", name.as_str())),
        Carrier::Scheme(scheme) => Some(("scheme", scheme)),
        Carrier::Query(name) => Some(("query", name)),
        Carrier::Cookie(_) | Carrier::Variable(_) | Carrier::Member(..) => None,
    }
}
