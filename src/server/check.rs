//! What a start would refuse, found out without starting: nothing is written, made or bound.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::StartError;
use super::keys::check_keys;
use super::start::check_users;
use super::state_folder::check_group;
use crate::clock::{Clock, Timestamp};
use crate::config::{
    Config, Issue, KeyPath, Loaded, LogTarget, Severity, Tls, UserSource, UserSourceKind,
    WarningName,
};
use crate::gateway::BuildError;
use crate::listener::{self, CertError, TimeFault};
use crate::login::Mailer;
use crate::text::error_chain;
use crate::upstream::{Pool, PoolError};
use crate::users::{FileError, OpenError};

/// One thing that was found, at the key that names what it is about.
struct Finding {
    at: KeyPath,
    severity: Severity,
    text: String,
}

/// Looks at everything that a start reads besides the configuration: users, keys, certificates, and
/// the places that it writes to. Its errors are what a start would end with.
pub fn check_start(loaded: &Loaded, now: Timestamp) -> Vec<Issue> {
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
        if let Err(error) = Pool::build(upstream, 1, &Clock::default()) {
            let at = element("upstream", number).below(refused_key(&error));
            found.push(refused(at, error_chain(&error)));
        }
    }
    let mail = config.mail.as_ref().and_then(|mail| Mailer::new(mail).err());
    found.extend(mail.map(|error| refused(key("mail"), error_chain(&error))));
    found.extend(check_places(config));
    let issues =
        found.into_iter().map(|Finding { at, severity, text }| loaded.issue(at, severity, text));
    issues.filter(|issue| !config.accepts(issue)).collect()
}

fn key(path: &str) -> KeyPath {
    KeyPath::default().below(path)
}

fn element(section: &str, number: usize) -> KeyPath {
    key(section).index(number)
}

fn refused(at: KeyPath, text: String) -> Finding {
    Finding { at, severity: Severity::Error, text }
}

/// What a start would say of a source of users; each problem of a file by itself.
fn refused_users(source: &UserSource, at: &KeyPath) -> Vec<Finding> {
    let Err(error) = check_users(source) else { return Vec::new() };
    let at = match &source.kind {
        UserSourceKind::File { .. } | UserSourceKind::Htpasswd(_) => at.key("path"),
        UserSourceKind::Sql(_) | UserSourceKind::Ldap(_) | UserSourceKind::Http(_) => at.key("url"),
    };
    match &error {
        BuildError::Users { source: OpenError::File(FileError::Problems(problems)), .. } => {
            let told = problems.list.iter().map(|problem| format!("{}, {problem}", problems.file));
            told.map(|text| refused(at.clone(), text)).collect()
        }
        _ => vec![refused(at, error_chain(&error))],
    }
}

/// The key of an upstream that does not let a pool be built.
fn refused_key(error: &PoolError) -> &'static str {
    match error {
        PoolError::NoServer { .. } => "servers",
        PoolError::ServerName { .. } => "tls.server_name",
        PoolError::Trust { .. } => "tls.ca",
        PoolError::Pem { .. } | PoolError::Tls { .. } => "tls.certificate",
        PoolError::Credential { .. } => "credential",
    }
}

fn check_tls(tls: &Tls, at: &KeyPath, now: Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, file) in tls.certificates.iter().enumerate() {
        let at = at.key("certificates").index(number);
        match listener::check_certificate(file) {
            Ok(facts) => {
                let warning = facts.time_fault(now).map(warning_of).zip(facts.problem(now));
                found.extend(warning.map(|(name, text)| Finding {
                    at: at.key("chain"),
                    severity: Severity::Warning(name),
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

/// The places that a start writes to.
fn check_places(config: &Config) -> Vec<Finding> {
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

/// Whether a file can be written, or made where there is none.
fn check_file(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if path.exists() {
        return Ok(access(path, Access::WRITE_OK)?);
    }
    let parent = parent(path);
    Ok(access(&parent, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Whether a folder can be written to, or made, with those above it, where there is none.
fn check_folder(path: &Path) -> io::Result<()> {
    let mut at = path.to_owned();
    while !at.exists() {
        let above = parent(&at);
        // A working folder that was removed has nothing above it.
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

/// The folder that a path lies in; a bare name lies in the working folder.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) => PathBuf::from("."),
        None => PathBuf::from("/"),
    }
}
