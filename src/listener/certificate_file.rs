//! A certificate chain and its key: reading them, checking that they belong together, and the facts
//! in the certificate.
//!
//! Each fault of the files of a listener's certificates has a variant in `CertError`, with the name
//! of the file. Names in a certificate that are no DNS names are left out, because no certificate
//! is chosen by them. `certs` and `self_signed` are the callers.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer};
use rustls::server::VerifierBuilderError;
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::settings;

/// The reason why a listener's certificates cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    #[error("no certificate is configured")]
    None,

    #[error("could not read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("could not write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("{} holds no PEM certificate", path.display())]
    NoCertificate { path: PathBuf },

    #[error("{} holds a damaged certificate", path.display())]
    Malformed { path: PathBuf },

    #[error("{} holds no private key in PEM (an encrypted one cannot be used)", path.display())]
    NoKey { path: PathBuf },

    #[error("the key in {} does not belong to the certificate in {}", key.display(), chain.display())]
    Mismatch { chain: PathBuf, key: PathBuf },

    #[error("the certificate in {} cannot be used", chain.display())]
    Unusable {
        chain: PathBuf,
        #[source]
        source: rustls::Error,
    },

    #[error("client_auth needs a client_ca")]
    NoClientCa,

    #[error("{} holds a certificate that cannot be trusted as an authority", path.display())]
    Authority {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },

    #[error("client certificates cannot be verified")]
    Verifier(#[from] VerifierBuilderError),

    #[error("could not make a certificate for {names}")]
    SelfSigned {
        names: String,
        #[source]
        source: rcgen::Error,
    },

    #[error("TLS could not be set up")]
    Setup(#[source] rustls::Error),
}

impl CertError {
    /// True if the key's file is at fault, false if the certificate's is.
    pub fn is_of_key(&self, file: &settings::CertificateFiles) -> bool {
        match self {
            Self::NoKey { .. } | Self::Mismatch { .. } => true,
            Self::Read { path, .. } => *path == file.key,
            _ => false,
        }
    }
}

/// The facts of a certificate that operators ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The file with the chain.
    pub chain: PathBuf,
    /// The names by which the certificate is chosen, in lower case; empty if it has only addresses.
    pub names: Vec<String>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// A fault of a certificate's time that clients find, or will find soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFault {
    NotYetValid,
    Expired,
    NearEnd,
}

/// When to warn. Renewal is automatic nearly everywhere, about a month ahead; two weeks before the
/// end it has failed. Earlier warnings would be about certificates that are renewed in time. A
/// certificate that is valid for less than eight weeks is renewed later: the last quarter of its life
/// counts as its end.
const NEAR_END: Duration = Duration::from_secs(14 * 24 * 3600);

impl CertificateFacts {
    /// True if the certificate ends within `margin` from `now`, or has ended already.
    pub fn ends_within(&self, margin: Duration, now: Timestamp) -> bool {
        self.not_after <= now.plus(margin)
    }

    /// The fault of the certificate's time at `now`; `None` if there is none.
    pub fn time_fault(&self, now: Timestamp) -> Option<TimeFault> {
        if self.not_before > now {
            return Some(TimeFault::NotYetValid);
        }
        if self.not_after <= now {
            return Some(TimeFault::Expired);
        }
        let near_end = NEAR_END.min(self.not_after.since(self.not_before) / 4);
        self.ends_within(near_end, now).then_some(TimeFault::NearEnd)
    }

    /// The fault of the certificate's time, as a message with the file and the date.
    pub fn problem(&self, now: Timestamp) -> Option<String> {
        let chain = self.chain.display();
        Some(match self.time_fault(now)? {
            TimeFault::NotYetValid => {
                format!("certificate {chain} is not valid before {}", self.not_before)
            }
            TimeFault::Expired => format!("certificate {chain} has ended on {}", self.not_after),
            TimeFault::NearEnd => format!("certificate {chain} ends soon, on {}", self.not_after),
        })
    }
}

/// A chain and its key, as read from their files. They are not yet known to belong together.
/// Keeping them together makes sure that an error can name both files.
pub(super) struct CertificateAndKey<'a> {
    file: &'a settings::CertificateFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl<'a> CertificateAndKey<'a> {
    /// Reads both files, and adds their contents to `digest`, by which changes are noticed.
    pub(super) fn read(
        file: &'a settings::CertificateFiles,
        digest: &mut digest::Context,
    ) -> Result<Self, CertError> {
        let chain = read(&file.chain)?;
        let key = Zeroizing::new(read(&file.key)?);
        for content in [chain.as_slice(), key.as_slice()] {
            // The length comes before each content. Otherwise two files could be split in another
            // place and have the same digest. A change could then go unnoticed.
            digest.update(&content.len().to_be_bytes());
            digest.update(content);
        }
        Ok(Self {
            file,
            chain: chain_from(&file.chain, &chain)?,
            key: PrivateKeyDer::from_pem_slice(&key)
                .map_err(|_| CertError::NoKey { path: file.key.clone() })?,
        })
    }

    /// The first certificate of the chain. Parsing it also shows that it can be parsed.
    fn leaf(&self) -> Result<X509Certificate<'_>, CertError> {
        let leaf = self
            .chain
            .first()
            .ok_or_else(|| CertError::NoCertificate { path: self.file.chain.clone() })?;
        let (_, leaf) = x509_parser::parse_x509_certificate(leaf)
            .map_err(|_| CertError::Malformed { path: self.file.chain.clone() })?;
        Ok(leaf)
    }

    /// The facts of the certificate, for metrics and warnings.
    pub(super) fn facts(&self) -> Result<CertificateFacts, CertError> {
        let leaf = self.leaf()?;
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp());
        let not_before = seconds(leaf.validity().not_before).unwrap_or(0);
        let not_after = seconds(leaf.validity().not_after).unwrap_or(0);
        let names = alternative_names(&leaf).into_iter().filter_map(|name| match name {
            // A name with a NUL or a space could be read as another name by other software.
            GeneralName::DNSName(name) => {
                let host = name.strip_prefix("*.").unwrap_or(name);
                DnsName::try_from(host).is_ok().then(|| name.to_ascii_lowercase())
            }
            _ => None,
        });
        Ok(CertificateFacts {
            chain: self.file.chain.clone(),
            names: names.collect(),
            not_before: Timestamp::from_secs(not_before),
            not_after: Timestamp::from_secs(not_after),
        })
    }

    /// All alternative names that are DNS names or addresses, as text.
    pub(super) fn all_names(&self) -> Result<Vec<String>, CertError> {
        let leaf = self.leaf()?;
        let names = alternative_names(&leaf).into_iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
                let v6 = <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from);
                v4.or(v6).ok().map(|address| address.to_string())
            }
            _ => None,
        });
        Ok(names.collect())
    }

    /// The chain and the key in the form of rustls, which checks here that they belong together.
    pub(super) fn certified(self, provider: &CryptoProvider) -> Result<CertifiedKey, CertError> {
        let file = self.file;
        CertifiedKey::from_der(self.chain, self.key, provider).map_err(|source| match source {
            rustls::Error::InconsistentKeys(_) => {
                CertError::Mismatch { chain: file.chain.clone(), key: file.key.clone() }
            }
            source => CertError::Unusable { chain: file.chain.clone(), source },
        })
    }
}

fn alternative_names<'a>(leaf: &X509Certificate<'a>) -> Vec<GeneralName<'a>> {
    match leaf.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.clone(),
        _ => Vec::new(),
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, CertError> {
    std::fs::read(path).map_err(|source| CertError::Read { path: path.to_owned(), source })
}

pub(super) fn chain_from(
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|_| CertError::Malformed { path: path.to_owned() })?;
    if chain.is_empty() {
        return Err(CertError::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}
