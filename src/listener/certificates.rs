//! The certificates of one listener, and their renewal while it serves.
//!
//! `reload` reads every file again and compares contents instead of times, because a renewed
//! certificate may arrive through a symlink. A new set is used only as a whole: every chain can be
//! read, every key fits its certificate, and the client CA is usable. Otherwise the old set stays
//! in use. It is called when the listener is bound, and by a task on the background runtime.
//!
//! The certificate of an authority (`acme`) is a file like any other, which `acme` writes. Until it
//! exists, a self-signed one is served.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::ServerConfig;

use crate::acme::{self, Challenges};
use crate::client::CertificateNames;
use crate::clock::{Clock, Timestamp};
use crate::format::error_chain;
use crate::settings;

use super::certificate_file::{CertError, CertificateAndKey, CertificateFacts, chain_from, read};
use super::resolver::{CertificateResolver, CertificateSet};
use super::self_signed;
use super::tickets::TicketKeys;
use super::tls;

/// The certificates and the TLS settings of one listener.
#[derive(Debug)]
pub struct ListenerCertificates {
    listener: String,
    config: settings::ListenerTls,
    acme: Option<settings::AcmeSettings>,
    state: PathBuf,
    clock: Clock,
    challenges: Arc<Challenges>,
    tickets: TicketKeys,
    provider: Arc<CryptoProvider>,
    resolver: Arc<CertificateResolver>,
    server: ArcSwap<ServerConfig>,
    /// Digests of the files that are served. The lock also makes sure that only one reload runs at
    /// a time.
    contents: Mutex<FileDigests>,
    /// The reason why the files cannot be served, as long as that is so.
    failure: Mutex<Option<ReloadFailure>>,
}

/// The reason why the last reload changed nothing. It is kept between reloads, because only a
/// reason that lasts is reported.
#[derive(Debug)]
struct ReloadFailure {
    cause: String,
    /// True if the reload before had the same reason.
    is_lasting: bool,
}

/// Digests of the files that were read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct FileDigests {
    certificates: Vec<u8>,
    client_ca: Vec<u8>,
}

impl ListenerCertificates {
    /// Reads everything for the first time. A self-signed certificate is made if one is due. The
    /// error names the file at fault.
    pub(super) fn load(
        listener: &settings::ListenerSettings,
        config: &settings::ListenerTls,
        state: &Path,
        clock: Clock,
        challenges: Arc<Challenges>,
        tickets: TicketKeys,
    ) -> Result<Self, CertError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut contents = FileDigests::default();
        let files = files(config, listener.acme.as_ref(), state, clock.now(), &provider)?;
        let (set, digest) = read_set(&files, &provider)?;
        contents.certificates = digest;
        let authorities = read_authorities(config, &mut contents.client_ca)?;
        let resolver = Arc::new(CertificateResolver::new(set));
        let ticketer = tickets.ticketer(config.client_auth, &authorities, &clock);
        let ticketer = ticketer.map_err(CertError::Setup)?;
        let server =
            tls::server_config(config, &provider, resolver.clone(), authorities, ticketer)?;
        let certificates = Self {
            listener: listener.name.clone(),
            config: config.clone(),
            acme: listener.acme.clone(),
            state: state.to_owned(),
            clock,
            challenges,
            tickets,
            provider,
            resolver,
            server: ArcSwap::from_pointee(server),
            contents: Mutex::new(contents),
            failure: Mutex::default(),
        };
        certificates.warn_of_times();
        Ok(certificates)
    }

    /// Reads the files again. True if other certificates are served from now on.
    ///
    /// Open connections keep their certificates. Session tickets survive, unless the client CA has
    /// changed: a client that the new CA does not accept must not resume an old session. The end of
    /// such a client's open connection is left to `RunningListeners::renew`.
    ///
    /// # Errors
    /// If something cannot be used; then everything stays as it was. The call blocks on files.
    pub fn reload(&self) -> Result<bool, CertError> {
        let reloaded = self.read_again();
        let mut failure = self.failure.lock();
        *failure = reloaded.as_ref().err().map(|error| {
            let cause = error_chain(error);
            let is_lasting = failure.as_ref().is_some_and(|last| last.cause == cause);
            ReloadFailure { cause, is_lasting }
        });
        reloaded
    }

    /// The reason why the old certificates are still served although their files were changed or
    /// cannot be read any more; `None` once a reload has succeeded. A failure counts from the
    /// second reload on: chain and key are written one after the other, and between the two writes
    /// they do not match.
    pub fn failure(&self) -> Option<String> {
        let failure = self.failure.lock();
        failure.as_ref().filter(|failure| failure.is_lasting).map(|failure| failure.cause.clone())
    }

    /// Reads all files, and swaps in what has changed. Nothing is swapped before everything was
    /// read.
    fn read_again(&self) -> Result<bool, CertError> {
        let mut served = self.contents.lock();
        let mut contents = FileDigests::default();
        let acme = self.acme.as_ref();
        let now = self.clock.now();
        let files = files(&self.config, acme, &self.state, now, &self.provider)?;
        let (set, digest) = read_set(&files, &self.provider)?;
        contents.certificates = digest;
        let authorities = read_authorities(&self.config, &mut contents.client_ca)?;
        if *served == contents {
            return Ok(false);
        }
        // A new `ServerConfig` has new session tickets, which ends all resumption. It is therefore
        // made only if the client CA has changed.
        if served.client_ca != contents.client_ca {
            let ticketer =
                self.tickets.ticketer(self.config.client_auth, &authorities, &self.clock);
            let ticketer = ticketer.map_err(CertError::Setup)?;
            let server = tls::server_config(
                &self.config,
                &self.provider,
                self.resolver.clone(),
                authorities,
                ticketer,
            )?;
            self.server.store(Arc::new(server));
        }
        self.resolver.set.store(Arc::new(set));
        *served = contents;
        self.warn_of_times();
        Ok(true)
    }

    /// The name of the listener that serves these certificates.
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// The facts of each certificate that is served, the default certificate first.
    pub fn facts(&self) -> Vec<CertificateFacts> {
        self.resolver.set.load().facts.clone()
    }

    /// The end of each certificate, in the order of `facts`.
    pub fn not_after(&self) -> Vec<Timestamp> {
        self.resolver.set.load().facts.iter().map(|facts| facts.not_after).collect()
    }

    /// The names of the certificates, by which one is chosen.
    pub fn names(&self) -> Arc<CertificateNames> {
        self.resolver.set.load().names.clone()
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        self.server.load_full()
    }

    /// The TLS settings for an authority that verifies a name at this moment; `None` if none does,
    /// or if this listener's certificate is not one of an authority.
    pub(super) fn challenge(&self) -> Option<Arc<ServerConfig>> {
        self.acme.as_ref().and_then(|_| self.challenges.tls_config())
    }

    /// Problems with the times of certificates: not valid yet, expired, or near the end.
    pub fn problems(&self) -> Vec<String> {
        let now = self.clock.now();
        self.facts().iter().filter_map(|facts| facts.problem(now)).collect()
    }

    /// Logs the problems with times, if there are any.
    pub(super) fn warn_of_times(&self) {
        for problem in self.problems() {
            tracing::warn!(listener = self.listener, problem, "a certificate's time");
        }
    }
}

/// Checks a certificate and its key in the way of a start, without serving them.
///
/// # Errors
/// The same as at a start: a file that cannot be read, or a key that belongs to another
/// certificate.
pub fn check_certificate(file: &settings::CertificateFiles) -> Result<CertificateFacts, CertError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let pair = CertificateAndKey::read(file, &mut digest::Context::new(&digest::SHA256))?;
    let facts = pair.facts()?;
    pair.certified(&provider)?;
    Ok(facts)
}

/// Checks the authorities for client certificates in the way of a start.
///
/// # Errors
/// If they cannot be used.
pub fn check_client_ca(config: &settings::ListenerTls) -> Result<(), CertError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let authorities = read_authorities(config, &mut Vec::new())?;
    tls::client_verifier(config.client_auth, &provider, authorities).map(drop)
}

/// The files of a listener's certificates. The self-signed certificate, if there is one, comes after
/// those of the configuration. Its files are made here when they are missing.
fn files(
    config: &settings::ListenerTls,
    acme: Option<&settings::AcmeSettings>,
    state: &Path,
    now: Timestamp,
    provider: &CryptoProvider,
) -> Result<Vec<settings::CertificateFiles>, CertError> {
    let folder = state.join("tls");
    let mut files = config.certificates.clone();
    if let Some(acme) = acme {
        let path = acme::certificate_path(state, acme);
        let file = settings::CertificateFiles { chain: path.clone(), key: path };
        // A file that cannot be used is replaced by `acme`, which reports it. Until then clients get
        // the certificate that they would get without the file.
        files.push(match is_usable(&file, provider)? {
            true => file,
            false => self_signed::ensure(&folder, &acme.domains, now, provider)?,
        });
    }
    if !config.self_signed.is_empty() {
        files.push(self_signed::ensure(&folder, &config.self_signed, now, provider)?);
    }
    if files.is_empty() { Err(CertError::None) } else { Ok(files) }
}

/// True if a chain and its key can be served. The error is about files that exist and may not be
/// read.
fn is_usable(
    file: &settings::CertificateFiles,
    provider: &CryptoProvider,
) -> Result<bool, CertError> {
    match CertificateAndKey::read(file, &mut digest::Context::new(&digest::SHA256)) {
        Ok(pair) => Ok(pair.facts().is_ok() && pair.certified(provider).is_ok()),
        Err(CertError::Read { source, path }) if source.kind() != io::ErrorKind::NotFound => {
            Err(CertError::Read { path, source })
        }
        Err(_) => Ok(false),
    }
}

/// Reads every certificate of a listener. Returns the set, and the digest of everything that was
/// read.
fn read_set(
    files: &[settings::CertificateFiles],
    provider: &CryptoProvider,
) -> Result<(CertificateSet, Vec<u8>), CertError> {
    let mut set = CertificateSet::default();
    let mut names = CertificateNames::default();
    let mut digest = digest::Context::new(&digest::SHA256);
    for (number, file) in files.iter().enumerate() {
        let pair = CertificateAndKey::read(file, &mut digest)?;
        let facts = pair.facts()?;
        // A name that several certificates have belongs to the first of them. The numbers are
        // positions in `keys`.
        names.names.extend(facts.names.iter().map(|name| (name.clone(), number)));
        set.keys.push(Arc::new(pair.certified(provider)?));
        set.facts.push(facts);
    }
    set.names = Arc::new(names);
    Ok((set, digest.finish().as_ref().to_vec()))
}

/// The authorities that client certificates are verified against; none if clients present no
/// certificate. The digest of the file is added, so that a change of the CA is noticed.
fn read_authorities(
    config: &settings::ListenerTls,
    digested: &mut Vec<u8>,
) -> Result<Vec<(PathBuf, CertificateDer<'static>)>, CertError> {
    if config.client_auth == settings::ClientAuth::None {
        return Ok(Vec::new());
    }
    let path = config.client_ca.as_ref().ok_or(CertError::NoClientCa)?;
    let text = read(path)?;
    *digested = digest::digest(&digest::SHA256, &text).as_ref().to_vec();
    let authorities = chain_from(path, &text)?;
    Ok(authorities.into_iter().map(|authority| (path.clone(), authority)).collect())
}
