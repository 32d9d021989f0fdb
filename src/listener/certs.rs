//! The certificates of one listener, and their renewal while it serves.
//!
//! `reload` reads every file again and compares contents, not times, because a renewed
//! certificate may arrive through a symlink. A new set is taken only as a whole: every chain
//! reads, every key fits its certificate, the client CA is usable. Otherwise the old set is
//! served on. Called at bind and by a task of the back room.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer};
use rustls::server::{ServerConfig, VerifierBuilderError};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;
use zeroize::Zeroizing;

use crate::client::CertificateNames;
use crate::clock::{Clock, Timestamp};
use crate::config;

use super::self_signed;
use super::tls::{self, Resolver};

/// Why a listener's certificates cannot be served.
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

/// What operators want to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The file of its chain.
    pub chain: PathBuf,
    /// The names it is chosen by, lower-cased; none if it only has addresses.
    pub names: Vec<String>,
    pub not_after: Timestamp,
}

impl CertificateFacts {
    /// True if the certificate ends within `margin` from `now`, or has ended.
    pub fn ends_within(&self, margin: Duration, now: Timestamp) -> bool {
        self.not_after <= now.plus(margin)
    }
}

/// Certificates that can be served together.
#[derive(Debug, Default)]
pub(super) struct Set {
    pub(super) keys: Vec<Arc<CertifiedKey>>,
    pub(super) names: Arc<CertificateNames>,
    facts: Vec<CertificateFacts>,
}

/// The certificates and the TLS settings of one listener.
#[derive(Debug)]
pub struct Certificates {
    listener: String,
    config: config::Tls,
    state: PathBuf,
    clock: Clock,
    provider: Arc<CryptoProvider>,
    resolver: Arc<Resolver>,
    server: ArcSwap<ServerConfig>,
    /// What was served last, and the lock that lets one reload run at a time.
    contents: Mutex<Contents>,
}

/// Digests of what was read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Contents {
    certificates: Vec<u8>,
    client_ca: Vec<u8>,
}

impl Certificates {
    /// Reads everything for the first time; makes a self-signed certificate if one is due.
    pub(super) fn load(
        listener: &str,
        config: &config::Tls,
        state: &Path,
        clock: Clock,
    ) -> Result<Self, CertError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut contents = Contents::default();
        let (set, digest) = read_set(config, state, clock.now(), &provider)?;
        contents.certificates = digest;
        let authorities = read_authorities(config, &mut contents.client_ca)?;
        let resolver = Arc::new(Resolver::new(set));
        let server = tls::server_config(config, &provider, resolver.clone(), authorities)?;
        let certificates = Self {
            listener: listener.to_owned(),
            config: config.clone(),
            state: state.to_owned(),
            clock,
            provider,
            resolver,
            server: ArcSwap::from_pointee(server),
            contents: Mutex::new(contents),
        };
        certificates.warn_of_ends();
        Ok(certificates)
    }

    /// Reads the files again; true if other certificates are served from now on.
    ///
    /// Open connections keep what they have. Session tickets survive, unless the client CA
    /// changed: a client that it no longer vouches for must not resume.
    ///
    /// # Errors
    /// When something cannot be used; then everything stays as it was. Blocks on files.
    pub fn reload(&self) -> Result<bool, CertError> {
        let mut served = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let mut contents = Contents::default();
        let (set, digest) = read_set(&self.config, &self.state, self.clock.now(), &self.provider)?;
        contents.certificates = digest;
        let authorities = read_authorities(&self.config, &mut contents.client_ca)?;
        if *served == contents {
            return Ok(false);
        }
        if served.client_ca != contents.client_ca {
            let server = tls::server_config(
                &self.config,
                &self.provider,
                self.resolver.clone(),
                authorities,
            )?;
            self.server.store(Arc::new(server));
        }
        self.resolver.set.store(Arc::new(set));
        *served = contents;
        self.warn_of_ends();
        Ok(true)
    }

    /// The name of the listener that serves these.
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// One entry for each certificate served, the default first.
    pub fn facts(&self) -> Vec<CertificateFacts> {
        self.resolver.set.load().facts.clone()
    }

    /// When each certificate ends, in the order of `facts`.
    pub fn not_after(&self) -> Vec<Timestamp> {
        self.resolver.set.load().facts.iter().map(|facts| facts.not_after).collect()
    }

    /// Which certificate serves which name.
    pub fn names(&self) -> Arc<CertificateNames> {
        self.resolver.set.load().names.clone()
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        self.server.load_full()
    }

    fn warn_of_ends(&self) {
        let now = self.clock.now();
        for facts in self.facts() {
            if facts.ends_within(NEAR_END, now) {
                tracing::warn!(
                    listener = self.listener,
                    chain = %facts.chain.display(),
                    not_after = %facts.not_after,
                    "a certificate has ended or ends soon"
                );
            }
        }
    }
}

/// Renewal is automatic nearly everywhere, a month or so ahead: at two weeks it has failed.
const NEAR_END: Duration = Duration::from_secs(14 * 24 * 3600);

fn read_set(
    config: &config::Tls,
    state: &Path,
    now: Timestamp,
    provider: &CryptoProvider,
) -> Result<(Set, Vec<u8>), CertError> {
    let mut files = config.certificates.clone();
    if !config.self_signed.is_empty() {
        files.push(self_signed::ensure(&state.join("tls"), &config.self_signed, now, provider)?);
    }
    if files.is_empty() {
        return Err(CertError::None);
    }
    let mut set = Set::default();
    let mut names = CertificateNames::default();
    let mut digest = digest::Context::new(&digest::SHA256);
    for (number, file) in files.iter().enumerate() {
        let pair = Pair::read(file, &mut digest)?;
        let facts = pair.facts()?;
        names.names.extend(facts.names.iter().map(|name| (name.clone(), number)));
        set.keys.push(Arc::new(pair.certified(provider)?));
        set.facts.push(facts);
    }
    set.names = Arc::new(names);
    Ok((set, digest.finish().as_ref().to_vec()))
}

/// The authorities that vouch for clients; none if clients show no certificate.
fn read_authorities(
    config: &config::Tls,
    digested: &mut Vec<u8>,
) -> Result<Vec<(PathBuf, CertificateDer<'static>)>, CertError> {
    if config.client_auth == config::ClientAuth::None {
        return Ok(Vec::new());
    }
    let path = config.client_ca.as_ref().ok_or(CertError::NoClientCa)?;
    let text = read(path)?;
    *digested = digest::digest(&digest::SHA256, &text).as_ref().to_vec();
    let authorities = chain_from(path, &text)?;
    Ok(authorities.into_iter().map(|authority| (path.clone(), authority)).collect())
}

/// A chain and its key as read from their files.
pub(super) struct Pair<'a> {
    file: &'a config::Certificate,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl<'a> Pair<'a> {
    pub(super) fn read(
        file: &'a config::Certificate,
        digest: &mut digest::Context,
    ) -> Result<Self, CertError> {
        let chain = read(&file.chain)?;
        let key = Zeroizing::new(read(&file.key)?);
        for content in [chain.as_slice(), key.as_slice()] {
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

    /// Parsed once to show that it parses and to learn what it says.
    fn leaf(&self) -> Result<X509Certificate<'_>, CertError> {
        let leaf = self
            .chain
            .first()
            .ok_or_else(|| CertError::NoCertificate { path: self.file.chain.clone() })?;
        let (_, leaf) = x509_parser::parse_x509_certificate(leaf)
            .map_err(|_| CertError::Malformed { path: self.file.chain.clone() })?;
        Ok(leaf)
    }

    pub(super) fn facts(&self) -> Result<CertificateFacts, CertError> {
        let leaf = self.leaf()?;
        let not_after = u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or(0);
        let names = alternative_names(&leaf).into_iter().filter_map(|name| match name {
            // A name with a NUL or a space in it is a trick, not a name.
            GeneralName::DNSName(name) => {
                let host = name.strip_prefix("*.").unwrap_or(name);
                DnsName::try_from(host).is_ok().then(|| name.to_ascii_lowercase())
            }
            _ => None,
        });
        Ok(CertificateFacts {
            chain: self.file.chain.clone(),
            names: names.collect(),
            not_after: Timestamp::from_secs(not_after),
        })
    }

    /// Every subject alternative name that is a DNS name or an address, as text.
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

fn read(path: &Path) -> Result<Vec<u8>, CertError> {
    std::fs::read(path).map_err(|source| CertError::Read { path: path.to_owned(), source })
}

fn chain_from(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|_| CertError::Malformed { path: path.to_owned() })?;
    if chain.is_empty() {
        return Err(CertError::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}
