//! The certificate that a client presented in its TLS handshake, parsed once for each connection.
//!
//! The handshake has proved that an authority of the listener issued the certificate and that the
//! client has its key. If the handshake was that of a trusted proxy, then `authn` has verified what
//! the proxy tells of it. This file reads the names in it; `authn` decides who that is. Some programs
//! end a name at a NUL byte, so a certificate with such a name is refused as a whole.

use std::fmt;

use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::X509Name;

use crate::clock::Timestamp;
use crate::distinguished_name::{Attribute, DistinguishedName};
use crate::secret::Digest;

/// The contents of a client certificate that are compared or forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// `None` if the subject is empty, or has characters that can be read in more than one way.
    pub subject: Option<DistinguishedName>,
    pub names: Vec<AlternativeName>,
    /// SHA-256 of the whole certificate in DER form.
    pub fingerprint: Digest,
    /// The whole certificate in DER form.
    pub der: Vec<u8>,
    pub not_before: Timestamp,
    /// The first instant at which the certificate is no longer valid.
    pub not_after: Timestamp,
}

/// A subject alternative name (RFC 5280, section 4.2.1.6) of one of the kinds that are compared.
/// Other kinds are ignored. Its text form is the one in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AlternativeName {
    /// A DNS name, in lower case.
    Dns(String),
    Uri(String),
    Email(String),
}

/// The reasons why a certificate does not name anybody unambiguously.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    #[error("the client's certificate cannot be read")]
    Malformed,
    #[error("a name in the client's certificate has a NUL byte")]
    Nul,
}

/// The reasons for which the certificate that a trusted proxy tells does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardedFault {
    #[error("the proxy tells two certificates of one client")]
    Repeated,
    #[error("the certificate that the proxy tells cannot be read: {0}")]
    Malformed(&'static str),
    #[error("the certificate that the proxy tells has expired")]
    Expired,
    #[error("no authority of the listener issued the certificate that the proxy tells")]
    Untrusted,
}

impl ClientCertificate {
    /// Parses the DER form.
    ///
    /// # Errors
    ///
    /// If the certificate does not name anybody unambiguously.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateFault> {
        let parsed = x509_parser::parse_x509_certificate(der);
        let (rest, certificate) = parsed.map_err(|_| CertificateFault::Malformed)?;
        // Bytes after the certificate are refused: another reader might take them for something
        // else.
        if !rest.is_empty() {
            return Err(CertificateFault::Malformed);
        }
        let at = |time: i64| Timestamp::from_secs(u64::try_from(time).unwrap_or(0));
        let validity = certificate.validity();
        Ok(Self {
            subject: subject(certificate.subject())?,
            names: alternative_names(&certificate)?,
            fingerprint: Digest::of(der),
            der: der.to_vec(),
            not_before: at(validity.not_before.timestamp()),
            // The validity includes its last second (RFC 5280, section 4.1.2.5).
            not_after: at(validity.not_after.timestamp().saturating_add(1)),
        })
    }

    /// True if the certificate is valid at `now`. The handshake checked this once, but a connection
    /// or a resumed TLS session can last longer than the certificate. The caller checks it for each
    /// request.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

impl AlternativeName {
    /// Parses the text forms `dns:…`, `uri:…` and `email:…`, as they are written in the
    /// configuration.
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

/// The subject in the order of its text form, from the most specific part to the root. In DER it is
/// written the other way round (RFC 4514, section 2.1). `None` if any part of it is unreadable: a
/// shortened subject could equal another one.
fn subject(name: &X509Name<'_>) -> Result<Option<DistinguishedName>, CertificateFault> {
    let mut parts: Vec<Vec<Attribute>> = Vec::new();
    let mut is_readable = true;
    for part in name.iter() {
        let mut attributes = Vec::new();
        for attribute in part.iter() {
            let value = attribute.attr_value();
            let is_wide = [Tag::BmpString, Tag::UniversalString].contains(&value.tag());
            // In the two wide string types a zero byte is part of a character; in all others it is
            // a NUL.
            if value.data.contains(&0) && !is_wide {
                return Err(CertificateFault::Nul);
            }
            // The remaining string types (for example TeletexString) have characters that programs
            // decode in different ways. A subject with such a value is not used for comparing,
            // because two readers could see two different names.
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
        // The classic attack: `admin\0.attacker.example` is issued to the owner of
        // `attacker.example`, and read by some programs as `admin`. Ignoring only this one name
        // would leave room for other combinations, so the whole certificate is refused.
        if text.contains('\0') {
            return Err(CertificateFault::Nul);
        }
        names.extend(AlternativeName::parse(&format!("{kind}:{text}")));
    }
    Ok(names)
}
