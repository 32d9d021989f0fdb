//! The certificate that a client showed in its TLS handshake, taken apart once a connection.
//!
//! The handshake has proved that an authority of the listener vouches for it and that the client
//! has its key. What is read here says whom it names; who that is to us, `authn` knows. A name with
//! a NUL in it ends early for some readers, so a certificate with one names nobody.

use std::fmt;

use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::X509Name;

use crate::clock::Timestamp;
use crate::dn::{Attribute, DistinguishedName};
use crate::secret::Digest;

/// What a client's certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// `None` where it is empty, or in letters that we cannot read in one way.
    pub subject: Option<DistinguishedName>,
    pub names: Vec<AlternativeName>,
    /// SHA-256 of the whole certificate.
    pub fingerprint: Digest,
    pub not_before: Timestamp,
    /// The first instant at which it does not hold any more.
    pub not_after: Timestamp,
}

/// A subject alternative name (RFC 5280 §4.2.1.6) of a kind that is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AlternativeName {
    /// In lower case.
    Dns(String),
    Uri(String),
    Email(String),
}

/// Why nobody can be said to be named by a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    #[error("the client's certificate cannot be read")]
    Malformed,
    #[error("a name in the client's certificate has a NUL byte")]
    Nul,
}

impl ClientCertificate {
    /// Reads the DER form.
    ///
    /// # Errors
    /// When it names nobody for certain.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateFault> {
        let parsed = x509_parser::parse_x509_certificate(der);
        let (rest, certificate) = parsed.map_err(|_| CertificateFault::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateFault::Malformed);
        }
        let at = |time: i64| Timestamp::from_secs(u64::try_from(time).unwrap_or(0));
        let validity = certificate.validity();
        Ok(Self {
            subject: subject(certificate.subject())?,
            names: alternative_names(&certificate)?,
            fingerprint: Digest::of(der),
            not_before: at(validity.not_before.timestamp()),
            // Its last second counts (RFC 5280 §4.1.2.5).
            not_after: at(validity.not_after.timestamp().saturating_add(1)),
        })
    }

    /// Whether it holds at `now`: a connection or a resumed session may be older than its end.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

impl AlternativeName {
    /// Reads `dns:…`, `uri:…` or `email:…`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        let is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        match kind {
            _ if !is_plain => None,
            "dns" => Some(Self::Dns(name.to_ascii_lowercase())),
            "uri" => Some(Self::Uri(name.to_owned())),
            "email" => Some(Self::Email(name.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for AlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(name) => write!(f, "uri:{name}"),
            Self::Email(name) => write!(f, "email:{name}"),
        }
    }
}

/// The subject from its own part up to the root: the other way round than it is written in DER
/// (RFC 4514 §2.1).
fn subject(name: &X509Name<'_>) -> Result<Option<DistinguishedName>, CertificateFault> {
    let mut parts: Vec<Vec<Attribute>> = Vec::new();
    let mut is_readable = true;
    for part in name.iter() {
        let mut attributes = Vec::new();
        for attribute in part.iter() {
            let value = attribute.attr_value();
            let is_wide = [Tag::BmpString, Tag::UniversalString].contains(&value.tag());
            if value.data.contains(&0) && !is_wide {
                return Err(CertificateFault::Nul);
            }
            // Other strings have letters that are read in more than one way.
            let is_text =
                [Tag::Utf8String, Tag::PrintableString, Tag::Ia5String].contains(&value.tag());
            match std::str::from_utf8(value.data).ok().filter(|text| is_text && !text.is_empty()) {
                Some(text) => attributes.push((attribute.attr_type().to_id_string(), text.into())),
                None => is_readable = false,
            }
        }
        parts.push(attributes);
    }
    parts.reverse();
    Ok(DistinguishedName::new(parts).filter(|_| is_readable))
}

fn alternative_names(
    certificate: &X509Certificate<'_>,
) -> Result<Vec<AlternativeName>, CertificateFault> {
    let extension = certificate.subject_alternative_name();
    let Some(extension) = extension.map_err(|_| CertificateFault::Malformed)? else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for name in &extension.value.general_names {
        let (kind, text) = match name {
            GeneralName::DNSName(text) => ("dns", text),
            GeneralName::URI(text) => ("uri", text),
            GeneralName::RFC822Name(text) => ("email", text),
            _ => continue,
        };
        if text.contains('\0') {
            return Err(CertificateFault::Nul);
        }
        names.extend(AlternativeName::parse(&format!("{kind}:{text}")));
    }
    Ok(names)
}
