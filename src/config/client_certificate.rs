//! `[[client_certificate]]`: the callers that client certificates stand for.
//!
//! A listener's `client_ca` decides which certificates are trusted at all. An entry here gives the
//! holder of one of them a name, roles and scopes. A trusted certificate without an entry is no
//! caller.

use super::item::SpannedValue;
use super::names::SectionNames;
use super::reader::TableReader;
use crate::client::AlternativeName;
use crate::distinguished_name::DistinguishedName;
use crate::secret::Digest;
use crate::settings::{CertificateHolder, CertificateName};

impl CertificateHolder {
    /// Reads one section. `None` if it does not identify a certificate, which has been reported.
    pub(super) fn read(mut table: TableReader<'_>, names: &mut SectionNames) -> Option<Self> {
        // Everything is read before anything can return, so that all problems of the section are
        // reported.
        let name = names.read(&mut table, None);
        let by = read_name(&mut table);
        let roles = table.plain_names("roles").unwrap_or_default();
        let scopes = table.plain_names("scopes").unwrap_or_default();
        Some(Self { name, by: by?, roles, scopes })
    }
}

fn read_name(table: &mut TableReader<'_>) -> Option<CertificateName> {
    // With two of them it would be open whether both must match or one is enough.
    let [subject, san, fingerprint] = table.one_of(["subject", "san", "fingerprint"]);
    let read = [
        subject.map(|item| read_subject(&item)),
        san.map(|item| read_san(&item)),
        fingerprint.map(|item| read_fingerprint(&item)),
    ];
    let mut given = read.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(name), None) => name,
        (None, _) => {
            table.issue("", "names no certificate: give subject, san or fingerprint");
            None
        }
        (Some(_), Some(_)) => {
            table.issue("", "has to name its certificate by subject, san or fingerprint alone");
            None
        }
    }
}

fn read_subject(item: &SpannedValue<'_>) -> Option<CertificateName> {
    let subject = DistinguishedName::parse(item.string()?);
    if subject.is_none() {
        item.issue("must be a distinguished name (RFC 4514), for example \"CN=robot,O=acme\"");
    }
    subject.map(CertificateName::Subject)
}

fn read_san(item: &SpannedValue<'_>) -> Option<CertificateName> {
    let name = AlternativeName::parse(item.string()?);
    if name.is_none() {
        item.issue("must be \"dns:…\", \"uri:…\" or \"email:…\"");
    }
    name.map(CertificateName::San)
}

fn read_fingerprint(item: &SpannedValue<'_>) -> Option<CertificateName> {
    // OpenSSL prints a colon between every two digits.
    let digest = Digest::from_hex(&item.string()?.replace(':', ""));
    if digest.is_none() {
        item.issue("must be the certificate's SHA-256 in hex");
    }
    digest.map(CertificateName::Fingerprint)
}
