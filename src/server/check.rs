//! What a start would refuse, found out without starting: nothing is written, made or bound.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::keys::check_keys;
use super::start::{StartError, check_users};
use super::state_folder::check_group;
use crate::clock::Timestamp;
use crate::config::{Config, LogTarget};
use crate::listener::{BindError, check_certificates};

/// What a look at a start's files and folders has found.
#[derive(Debug, Default)]
pub struct StartFindings {
    /// A start would end with the first of these.
    pub refused: Vec<StartError>,
    /// A start would warn of these.
    pub warnings: Vec<String>,
}

/// Looks at everything that a start reads besides the configuration: users, keys, certificates, and
/// the places that it writes to.
pub fn check_start(config: &Config, now: Timestamp) -> StartFindings {
    let mut found = StartFindings {
        refused: check_users(config).into_iter().chain(check_keys(config, now)).collect(),
        warnings: Vec::new(),
    };
    for listener in &config.listeners {
        let Some(tls) = &listener.tls else { continue };
        match check_certificates(tls, now) {
            Ok(problems) => found.warnings.extend(problems),
            Err(source) => {
                let listener = listener.name.clone();
                found.refused.push(BindError::Certificates { listener, source }.into());
            }
        }
    }
    for (name, target) in [("access", &config.log.access), ("audit", &config.log.audit)] {
        let LogTarget::File(path) = target else { continue };
        if let Err(source) = check_file(path) {
            found.refused.push(StartError::Log { name, path: path.clone(), source });
        }
    }
    if let Err(source) = check_folder(&config.state.dir) {
        found.refused.push(StartError::State { path: config.state.dir.clone(), source });
    }
    found.refused.extend(check_group(config));
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
