//! Files and secrets that a configuration names.
//!
//! Every file is read while checking, so that a missing one is found before the first request,
//! and its permissions are looked at: what anybody may write is refused, a secret that others
//! may read is a warning (mounted secrets often cannot be narrower).

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{PemObject, SectionKind};

use super::item::Item;
use super::reader::SecretPlace;
use super::warnings::WarningName;
use crate::secret::{Secret, SecretString};

/// Larger than any key, certificate bundle or key set; keeps a path to a device from filling
/// memory.
const LARGEST_FILE: u64 = 4 << 20;

/// Whether others may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Privacy {
    Public,
    Secret,
}

impl Item<'_> {
    /// Reads the file that this value names.
    pub(super) fn read_file(&self, privacy: Privacy) -> Option<(PathBuf, Vec<u8>)> {
        let path = self.path()?;
        let bytes = self.read_path(&path, privacy)?;
        Some((path, bytes))
    }

    /// Reads a text file that this value names.
    pub(super) fn read_text(&self, privacy: Privacy) -> Option<(PathBuf, String)> {
        let (path, bytes) = self.read_file(privacy)?;
        let text = String::from_utf8(bytes);
        Some((path, text.map_err(|_| self.issue("names a file that is not UTF-8 text")).ok()?))
    }

    /// Reads a PEM file with at least one certificate.
    pub(super) fn read_certificates(&self) -> Option<(PathBuf, String)> {
        let (path, text) = self.read_text(Privacy::Public)?;
        if !has_section(&text, |kind| kind == SectionKind::Certificate) {
            self.issue("names a file without a certificate in PEM form");
            return None;
        }
        Some((path, text))
    }

    /// Reads a PEM file with a private key, and forgets it: what holds the key reads it again.
    pub(super) fn read_private_key(&self) -> Option<PathBuf> {
        let (path, bytes) = self.read_file(Privacy::Secret)?;
        let text = Secret::new(String::from_utf8(bytes).unwrap_or_default());
        let is_key = |kind| {
            use SectionKind::{EcPrivateKey, PrivateKey, RsaPrivateKey};
            matches!(kind, PrivateKey | RsaPrivateKey | EcPrivateKey)
        };
        if !has_section(text.expose(), is_key) {
            self.issue("names a file without a private key in PEM form");
            return None;
        }
        Some(path)
    }

    pub(super) fn read_path(&self, path: &Path, privacy: Privacy) -> Option<Vec<u8>> {
        match read_bounded(path) {
            Ok((metadata, bytes)) => self.check_permissions(&metadata, privacy).then_some(bytes),
            Err(error) => {
                self.issue(format!("cannot be read: {}", plain(&error)));
                None
            }
        }
    }

    /// Reports who else may write or read a file; false if it must not be used.
    pub(super) fn check_permissions(&self, metadata: &Metadata, privacy: Privacy) -> bool {
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o002 != 0 {
            self.issue(format!("can be written by anybody (mode {mode:03o}): chmod o-w"));
            return false;
        }
        if privacy == Privacy::Secret && mode & 0o066 != 0 {
            self.warn(
                WarningName::ReadableSecret,
                format!("can be read by others than its owner (mode {mode:03o}): chmod 600"),
            );
        }
        true
    }

    /// A secret: `{ env = "NAME" }` or `{ file = "path" }`.
    pub(super) fn secret(&self) -> Option<SecretString> {
        const FORMS: &str = "write { env = \"NAME\" } or { file = \"path\" }";
        if self.is_text() {
            self.hidden_issue(format!("a secret is never written in the file: {FORMS}"));
            return None;
        }
        if !self.is_table() {
            self.hidden_issue(format!("must be a secret: {FORMS}"));
            return None;
        }
        let mut table = self.table()?;
        let secret = match (table.get("env"), table.get("file")) {
            (Some(env), None) => {
                let secret = self.secret_of_variable(&env)?;
                let name = env.text().unwrap_or_default().to_owned();
                self.reading().note_secret(self.at(), SecretPlace::Env(name));
                secret
            }
            (None, Some(file)) => {
                let (_, text) = file.read_text(Privacy::Secret)?;
                let name = file.text().unwrap_or_default().to_owned();
                self.reading().note_secret(self.at(), SecretPlace::File(name));
                // An editor ends the last line; the secret does not mean it.
                let trimmed = text.strip_suffix('\n').unwrap_or(&text);
                let trimmed = trimmed.strip_suffix('\r').unwrap_or(trimmed);
                SecretString::from(trimmed)
            }
            _ => {
                table.issue("", format!("has to name one place: {FORMS}"));
                return None;
            }
        };
        if secret.expose().is_empty() {
            table.issue("", "is empty");
            return None;
        }
        Some(secret)
    }

    fn secret_of_variable(&self, env: &Item<'_>) -> Option<SecretString> {
        let name = env.text()?;
        let Some(value) = self.reading().variable(name) else {
            env.issue("no such environment variable is set");
            return None;
        };
        Some(SecretString::new(value))
    }
}

fn read_bounded(path: &Path) -> io::Result<(Metadata, Vec<u8>)> {
    use std::io::Read;
    let file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok((metadata, bytes))
}

/// The system's words without its number.
pub(super) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn has_section(text: &str, wanted: impl Fn(SectionKind) -> bool) -> bool {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
    sections.flatten().any(|(kind, der)| wanted(kind) && !der.is_empty())
}
