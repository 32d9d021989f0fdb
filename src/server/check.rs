//! Finds the faults that a start would report, without starting: nothing is written, created or
//! bound, and no other machine is contacted.
//!
//! It reads everything that a start reads besides the configuration: users, keys, certificates, and
//! the places that a start writes to. Each fault is reported at the key that names the file or
//! folder, so that an editor can jump to it. `tollhouse check` is the caller.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::StartError;
use super::keys::check_keys;
use super::state_folder::check_group;
use crate::clock::{Clock, Timestamp};
use crate::config::{Issue, IssueSeverity, KeyPath, LoadedConfig, WarningName};
use crate::format::error_chain;
use crate::gateway::{self, BuildError};
use crate::listener::{self, CertError, TimeFault};
use crate::login::CodeMailer;
use crate::settings::{Config, ListenerTls, LogTarget, SourceKind, SourceSettings};
use crate::upstream::{PoolBuildError, UpstreamPool};
use crate::users::{self, FileError, SourceOpenError};

/// A fault or warning, at the key that it is about.
struct StartFinding {
    at: KeyPath,
    severity: IssueSeverity,
    text: String,
}

/// Checks everything that a start reads besides the configuration, and the places that it writes
/// to. An error among the results is one that a start would end with. Warnings that the operator
/// has accepted are left out.
pub fn check_start(loaded: &LoadedConfig, now: Timestamp) -> Vec<Issue> {
    let config = &loaded.config;
    let mut found = Vec::new();
    for (number, source) in config.users.iter().enumerate() {
        found.extend(refused_users(source, &element("users", number)));
    }
    let keys = check_keys(config, now).into_iter();
    found.extend(keys.map(|error| refused(key("token.keys"), error_chain(&error))));
    for (number, listener) in config.listeners.iter().enumerate() {
        if let Some(tls) = &listener.tls {
            found.extend(check_tls(tls, &element("listener", number).key("tls"), now));
        }
    }
    for (number, upstream) in config.upstreams.iter().enumerate() {
        // The pool is built and thrown away. Building reads its certificates and connects to
        // nothing.
        if let Err(error) = UpstreamPool::build(upstream, 1, &Clock::default()) {
            let at = element("upstream", number).below(refused_key(&error));
            found.push(refused(at, error_chain(&error)));
        }
    }
    let mail = config.mail.as_ref().and_then(|mail| CodeMailer::new(mail).err());
    found.extend(mail.map(|error| refused(key("mail"), error_chain(&error))));
    found.extend(check_places(config));
    let issues = found
        .into_iter()
        .map(|StartFinding { at, severity, text }| loaded.issue(at, severity, text));
    issues.filter(|issue| !loaded.accepts(issue)).collect()
}

/// The fault that a start would report for a source of users. The file is only read.
fn check_users(source: &SourceSettings) -> Result<(), BuildError> {
    users::check(source).map_err(|error| gateway::cannot_open(source, error))
}

fn key(path: &str) -> KeyPath {
    KeyPath::default().below(path)
}

fn element(section: &str, number: usize) -> KeyPath {
    key(section).index(number)
}

fn refused(at: KeyPath, text: String) -> StartFinding {
    StartFinding { at, severity: IssueSeverity::Error, text }
}

/// The faults that a start would report for a source of users. Each problem of a file of users is
/// reported by itself, so that one check shows them all.
fn refused_users(source: &SourceSettings, at: &KeyPath) -> Vec<StartFinding> {
    let Err(error) = check_users(source) else { return Vec::new() };
    let at = match &source.kind {
        SourceKind::File { .. } | SourceKind::Htpasswd(_) => at.key("path"),
        SourceKind::Sql(_) | SourceKind::Ldap(_) | SourceKind::Http(_) => at.key("url"),
    };
    match &error {
        BuildError::Users {
            source: SourceOpenError::File(FileError::Problems(problems)), ..
        } => {
            let texts = problems.list.iter().map(|problem| format!("{}, {problem}", problems.file));
            texts.map(|text| refused(at.clone(), text)).collect()
        }
        _ => vec![refused(at, error_chain(&error))],
    }
}

/// The key of an upstream that prevents a pool from being built.
fn refused_key(error: &PoolBuildError) -> &'static str {
    match error {
        PoolBuildError::NoServer { .. } => "servers",
        PoolBuildError::ServerName { .. } => "tls.server_name",
        PoolBuildError::Trust { .. } => "tls.ca",
        PoolBuildError::Pem { .. } | PoolBuildError::Tls { .. } => "tls.certificate",
        PoolBuildError::Credential { .. } => "credential",
        PoolBuildError::Key { .. } => "credential.mint",
    }
}

/// The faults of the certificates of a listener, and warnings about their times.
fn check_tls(tls: &ListenerTls, at: &KeyPath, now: Timestamp) -> Vec<StartFinding> {
    let mut found = Vec::new();
    for (number, file) in tls.certificates.iter().enumerate() {
        let at = at.key("certificates").index(number);
        match listener::check_certificate(file) {
            Ok(facts) => {
                // A certificate that has expired is only a warning: a start accepts it as well, and
                // it may be renewed at any moment.
                let warning = facts.time_fault(now).map(warning_of).zip(facts.problem(now));
                found.extend(warning.map(|(name, text)| StartFinding {
                    at: at.key("chain"),
                    severity: IssueSeverity::Warning(name),
                    text,
                }));
            }
            Err(error) => {
                let key = if error.is_of_key(file) { "key" } else { "chain" };
                found.push(refused(at.key(key), error_chain(&error)));
            }
        }
    }
    let authorities: Result<(), CertError> = listener::check_client_ca(tls);
    found.extend(authorities.err().map(|error| refused(at.key("client_ca"), error_chain(&error))));
    found
}

fn warning_of(fault: TimeFault) -> WarningName {
    match fault {
        TimeFault::NotYetValid => WarningName::CertificateNotYetValid,
        TimeFault::Expired => WarningName::CertificateExpired,
        TimeFault::NearEnd => WarningName::CertificateNearEnd,
    }
}

/// The faults of the files and folders that a start writes to.
fn check_places(config: &Config) -> Vec<StartFinding> {
    let mut found = Vec::new();
    for (name, target) in [("access", &config.log.access), ("audit", &config.log.audit)] {
        let LogTarget::File(path) = target else { continue };
        if let Err(error) = check_file(path) {
            let text = format!("`{}` cannot be written: {error}", path.display());
            found.push(refused(key("log").key(name), text));
        }
    }
    let dir = &config.state.dir;
    if let Err(source) = check_folder(dir) {
        let error = StartError::State { path: dir.clone(), source };
        found.push(refused(key("state.dir"), error_chain(&error)));
    }
    let group = check_group(config).into_iter();
    found.extend(group.map(|error| refused(key("admin.socket.group"), error_chain(&error))));
    found
}

/// Checks that a file can be written, or created if it does not exist.
fn check_file(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if path.exists() {
        // The kernel is asked (`access(2)`), since permission bits alone do not tell: root, groups
        // and read-only file systems count too. The answer is about the user who runs the check,
        // which should be the gateway's.
        return Ok(access(path, Access::WRITE_OK)?);
    }
    let parent = parent(path);
    Ok(access(&parent, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Checks that a folder can be written to. If it does not exist, the next folder above that exists
/// must allow creating it.
fn check_folder(path: &Path) -> io::Result<()> {
    let mut at = path.to_owned();
    while !at.exists() {
        let above = parent(&at);
        // A working folder that was removed has no folder above it.
        if above == at {
            return Err(io::ErrorKind::NotFound.into());
        }
        at = above;
    }
    if !at.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(access(&at, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// The folder that contains a path. A bare name is in the working folder.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) => PathBuf::from("."),
        None => PathBuf::from("/"),
    }
}
