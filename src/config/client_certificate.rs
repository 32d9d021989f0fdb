//! `[[client_certificate]]`: who the holders of client certificates are.
//!
//! A listener's `client_ca` says whose certificates are believed; an entry here says who it is that
//! one of them names.

use toml::Table as Written;

use super::item::Item;
use super::out::Out;
use super::reader::Table;
use super::suggest::Names;
use crate::client::AlternativeName;
use crate::dn::DistinguishedName;
use crate::secret::Digest;

/// A caller, by his certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientCertificate {
    pub name: String,
    pub by: CertificateName,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
}

/// What a certificate must say to be the one that is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateName {
    Subject(DistinguishedName),
    /// One of its subject alternative names.
    San(AlternativeName),
    /// SHA-256 of the whole certificate.
    Fingerprint(Digest),
}

impl ClientCertificate {
    /// `None` where it cannot be said which certificate is meant; that has been reported then.
    pub(super) fn read(mut table: Table<'_>, names: &mut Names) -> Option<Self> {
        let name = names.read(&mut table, None);
        let by = read_name(&mut table);
        let roles = table.words("roles").unwrap_or_default();
        let scopes = table.words("scopes").unwrap_or_default();
        Some(Self { name, by: by?, roles, scopes })
    }

    pub(super) fn print(&self) -> Written {
        let (key, text) = self.by.written();
        Out::default()
            .text("name", &self.name)
            .text(key, text)
            .texts("roles", self.roles.clone())
            .texts("scopes", self.scopes.clone())
            .table()
    }
}

impl CertificateName {
    /// The key and the value that say it.
    pub fn written(&self) -> (&'static str, String) {
        match self {
            Self::Subject(subject) => ("subject", subject.to_string()),
            Self::San(name) => ("san", name.to_string()),
            Self::Fingerprint(digest) => ("fingerprint", digest.hex()),
        }
    }
}

fn read_name(table: &mut Table<'_>) -> Option<CertificateName> {
    let read = [
        table.get("subject").map(|item| read_subject(&item)),
        table.get("san").map(|item| read_san(&item)),
        table.get("fingerprint").map(|item| read_fingerprint(&item)),
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

fn read_subject(item: &Item<'_>) -> Option<CertificateName> {
    let subject = DistinguishedName::parse(item.text()?);
    if subject.is_none() {
        item.issue("must be a distinguished name (RFC 4514), for example \"CN=robot,O=acme\"");
    }
    subject.map(CertificateName::Subject)
}

fn read_san(item: &Item<'_>) -> Option<CertificateName> {
    let name = AlternativeName::parse(item.text()?);
    if name.is_none() {
        item.issue("must be \"dns:…\", \"uri:…\" or \"email:…\"");
    }
    name.map(CertificateName::San)
}

fn read_fingerprint(item: &Item<'_>) -> Option<CertificateName> {
    // OpenSSL writes a colon between two digits each.
    let digest = Digest::from_hex(&item.text()?.replace(':', ""));
    if digest.is_none() {
        item.issue("must be the certificate's SHA-256 in hex");
    }
    digest.map(CertificateName::Fingerprint)
}
