//! The files and secrets that a configuration names.
//!
//! Every file is read while the configuration is checked, so that a missing file is found before
//! the first request needs it. Permissions are checked as well: a file that anybody may write is
//! refused. A secret that others may read is only a warning, because mounted secrets often cannot
//! be narrower. No secret is accepted in the text of the configuration itself.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{PemObject, SectionKind};
use toml::Table;

use super::item::SpannedValue;
use super::schema::ValueSchema;
use super::warnings::WarningName;
use crate::secret::{Secret, SecretString};

/// Upper bound on the size of a file: larger than any key, certificate bundle or key set. It keeps
/// a path to a device such as `/dev/zero` from filling the memory. A file beyond it is reported
/// like one that cannot be read.
const LARGEST_FILE: u64 = 4 << 20;

/// Whether a file's contents are a secret, so that other users of the machine must not read it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FilePrivacy {
    Public,
    Secret,
}

impl SpannedValue<'_> {
    /// Reads the file that this value names, and returns its path and contents.
    pub(super) fn read_file(&self, privacy: FilePrivacy) -> Option<(PathBuf, Vec<u8>)> {
        let path = self.path()?;
        let bytes = self.read_path(&path, privacy)?;
        Some((path, bytes))
    }

    /// Reads a text file that this value names.
    pub(super) fn read_text(&self, privacy: FilePrivacy) -> Option<(PathBuf, String)> {
        let (path, bytes) = self.read_file(privacy)?;
        let text = String::from_utf8(bytes);
        Some((path, text.map_err(|_| self.issue("names a file that is not UTF-8 text")).ok()?))
    }

    /// Reads a PEM file that has at least one certificate.
    pub(super) fn read_certificates(&self) -> Option<(PathBuf, String)> {
        let (path, text) = self.read_text(FilePrivacy::Public)?;
        if !has_section(&text, |kind| kind == SectionKind::Certificate) {
            self.issue("names a file without a certificate in PEM form");
            return None;
        }
        Some((path, text))
    }

    /// Reads a PEM file that has a private key, checks that it has one, and discards the contents.
    /// The part that uses the key reads the file again: no copy of the key stays in the
    /// configuration.
    pub(super) fn read_private_key(&self) -> Option<PathBuf> {
        let (path, bytes) = self.read_file(FilePrivacy::Secret)?;
        // The text is kept as a `Secret`, so that it is erased from memory when it is dropped.
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

    /// Reads the file at `path` and checks its permissions. Problems are reported at this value.
    pub(super) fn read_path(&self, path: &Path, privacy: FilePrivacy) -> Option<Vec<u8>> {
        match read_bounded(path) {
            Ok((metadata, bytes)) => self.check_permissions(&metadata, privacy).then_some(bytes),
            Err(error) => {
                self.issue(format!("cannot be read: {}", plain(&error)));
                None
            }
        }
    }

    /// Checks who else may write or read a file, and reports it. False if the file must not be
    /// used. Only the permission bits of the file are looked at, not those of its folders. The
    /// caller reads the file all the same if only a warning was given.
    pub(super) fn check_permissions(&self, metadata: &Metadata, privacy: FilePrivacy) -> bool {
        let mode = metadata.permissions().mode() & 0o777;
        // Anybody who can write a certificate or a key file decides whom the gateway trusts.
        if mode & 0o002 != 0 {
            self.issue(format!("can be written by anybody (mode {mode:03o}): chmod o-w"));
            return false;
        }
        if privacy == FilePrivacy::Secret && mode & 0o066 != 0 {
            self.warn(
                WarningName::ReadableSecret,
                format!("can be read by others than its owner (mode {mode:03o}): chmod 600"),
            );
        }
        true
    }

    /// Reads a secret: `{ env = "NAME" }` or `{ file = "path" }`. A secret written directly is
    /// refused: configurations are copied, committed and printed. Its value is hidden in the
    /// message.
    pub(super) fn secret(&self) -> Option<SecretString> {
        const FORMS: &str = "write { env = \"NAME\" } or { file = \"path\" }";
        if self.is_probe() {
            self.record(ValueSchema::Secret);
            return None;
        }
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
                let name = env.string().unwrap_or_default();
                self.note_place("env", name);
                self.secret_of_variable(&env)?
            }
            (None, Some(file)) => {
                let (_, text) = file.read_text(FilePrivacy::Secret)?;
                let name = file.string().unwrap_or_default();
                self.note_place("file", name);
                // Editors end the last line with a line break, which is not part of the secret.
                // Only one is removed, so a secret may still end in one. A secret from a variable
                // is taken as it is, because no editor wrote it.
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

    /// Records where the secret is, for `check --print`.
    fn note_place(&self, key: &str, name: &str) {
        let place = Table::from_iter([(key.to_owned(), name.into())]);
        self.reading().note_written(self.at(), place);
    }

    fn secret_of_variable(&self, env: &SpannedValue<'_>) -> Option<SecretString> {
        let name = env.string()?;
        let Some(value) = self.reading().variable(name) else {
            env.issue("no such environment variable is set");
            return None;
        };
        Some(SecretString::new(value))
    }
}

/// Reads a file of at most `LARGEST_FILE` bytes. Metadata and contents come from the same open
/// file: if the path were opened twice, the file could be exchanged in between. Otherwise the
/// permissions of one file would be checked and another one read.
fn read_bounded(path: &Path) -> io::Result<(Metadata, Vec<u8>)> {
    use std::io::Read;
    let file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    let mut bytes = Vec::new();
    // One byte more than the limit is read, to tell a file of exactly the limit from a larger one.
    // The size in the metadata is of no use: a device or a pipe has none. Reading is bounded in
    // both cases.
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok((metadata, bytes))
}

/// The system's message without its error number.
pub(super) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// True if the PEM text has a section of a wanted kind that is not empty.
fn has_section(text: &str, wanted: impl Fn(SectionKind) -> bool) -> bool {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
    sections.flatten().any(|(kind, der)| wanted(kind) && !der.is_empty())
}
