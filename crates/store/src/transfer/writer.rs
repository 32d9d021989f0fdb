//! Writes an export file.
//!
//! A file begins with two lines that anybody can read: what it is, and a JSON object with the
//! version of its form, its id, when it was begun, and the kind of store that it came from. Sealed
//! parts follow, each preceded by a byte that says whether it is the last one, and by its length in
//! four bytes. A part is a number of rows, each a line of JSON; the last part says how many rows
//! there are of each kind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::chunks::ChunkCipher;
use super::key::ExportKey;
use super::{ExportFileError, ExportRow, RowCounts};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::{Digest, random};

/// The first line of every export file.
pub(super) const MAGIC: &str = "tollhouse store export\n";
/// The version of the form of the file and of its rows.
pub(super) const FORMAT: u32 = 2;
/// A part is sealed once it has as many bytes.
const PART: usize = 64 << 10;
/// Bytes of the file buffered before they are written.
const BUFFER: usize = 1 << 20;
const OWNER_ONLY: u32 = 0o600;

/// The header of an export file, which is in clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportHeader {
    /// The version of the form of the file.
    pub format: u32,
    /// The id of this file, as hexadecimal digits. Two exports never have the same.
    pub id: String,
    /// When the export was begun. A store that goes on after it knows more than the file.
    pub created: Timestamp,
    /// The kind of store: `embedded`, `postgres` or `redis`.
    pub source: String,
    /// Tells whether a seal is the one of this file.
    pub(super) check: Digest,
}

/// An export file that is being written. It has its name only once it is complete; one that is
/// dropped before leaves nothing behind.
#[derive(Debug)]
pub struct ExportWriter {
    path: PathBuf,
    draft: PathBuf,
    file: BufWriter<File>,
    cipher: ChunkCipher,
    part: Vec<u8>,
    counts: RowCounts,
    is_finished: bool,
}

impl ExportWriter {
    /// Begins a file for the owner alone, which must not exist.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create(
        path: &Path,
        key: &ExportKey,
        source: &str,
        now: Timestamp,
    ) -> Result<Self, ExportFileError> {
        let failed = |source| ExportFileError::Write { path: path.to_owned(), source };
        refuse_existing(path)?;
        let header = ExportHeader {
            format: FORMAT,
            id: key.id.iter().map(|byte| format!("{byte:02x}")).collect(),
            created: now,
            source: source.to_owned(),
            check: Digest(key.check),
        };
        let line = serde_json::to_string(&header).map_err(|error| failed(error.into()))?;
        let head = format!("{MAGIC}{line}\n").into_bytes();
        let cipher = ChunkCipher::new(key, head.clone());
        let cipher = cipher.map_err(|_| failed(io::Error::other("it cannot be sealed")))?;
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}.new", Digest(random()).short()));
        let draft = PathBuf::from(draft);
        let options = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).clone();
        let file = options.open(&draft).map_err(failed)?;
        let mut writer = Self {
            path: path.to_owned(),
            draft,
            file: BufWriter::with_capacity(BUFFER, file),
            cipher,
            part: Vec::new(),
            counts: RowCounts::default(),
            is_finished: false,
        };
        writer.file.write_all(&head).map_err(failed)?;
        Ok(writer)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, row: &ExportRow) -> Result<(), ExportFileError> {
        self.counts.count(row);
        serde_json::to_writer(&mut self.part, row).map_err(|error| self.failed(error.into()))?;
        self.part.push(b'\n');
        if self.part.len() >= PART { self.write_part(false) } else { Ok(()) }
    }

    /// Completes the file, and gives it its name once it is on the disk.
    ///
    /// # Errors
    /// When the file cannot be written, or another one has got its name meanwhile.
    pub fn finish(mut self) -> Result<RowCounts, ExportFileError> {
        if !self.part.is_empty() {
            self.write_part(false)?;
        }
        self.part = serde_json::to_vec(&self.counts).map_err(|error| self.failed(error.into()))?;
        self.write_part(true)?;
        self.install().map_err(|source| self.failed(source))?;
        self.is_finished = true;
        Ok(self.counts)
    }

    fn write_part(&mut self, is_last: bool) -> Result<(), ExportFileError> {
        let part = std::mem::take(&mut self.part);
        let sealed = self.cipher.seal(part, is_last);
        let too_long = || io::Error::other("a row is too long");
        let sealed = sealed.map_err(|_| self.failed(too_long()))?;
        let length = u32::try_from(sealed.len()).map_err(|_| self.failed(too_long()))?;
        let frame = [&[u8::from(is_last)][..], &length.to_be_bytes(), &sealed];
        for bytes in frame {
            self.file.write_all(bytes).map_err(|source| self.failed(source))?;
        }
        Ok(())
    }

    fn install(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        if self.path.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(&self.draft, &self.path)?;
        // The new name is an entry of the folder: without a sync of the folder, a power failure
        // could lose it although the content is on the disk.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn failed(&self, source: io::Error) -> ExportFileError {
        ExportFileError::Write { path: self.path.clone(), source }
    }
}

impl Drop for ExportWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            // The draft is of no use to anybody, and what it says is sealed.
            let _ = fs::remove_file(&self.draft);
        }
    }
}

fn refuse_existing(path: &Path) -> Result<(), ExportFileError> {
    match path.try_exists() {
        Ok(true) => Err(ExportFileError::Exists { path: path.to_owned() }),
        Ok(false) => Ok(()),
        Err(source) => Err(ExportFileError::Write { path: path.to_owned(), source }),
    }
}
