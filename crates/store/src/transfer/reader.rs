//! Reads an export file. Its form is described in `writer`.
//!
//! A file is believed only as far as its seal goes: a part is opened before anything of it is read,
//! and the file is complete only if its last part is there and counts the rows that came.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::chunks::ChunkCipher;
use super::key::{ExportKey, ID_LEN};
use super::writer::{ExportHeader, FORMAT, MAGIC};
use super::{ExportFileError, ExportRow, RowCounts};
use crate::shared::Seal;
use tollhouse_core::secret::equal;

/// Bound on the second line of a file, in bytes.
const LONGEST_HEADER: u64 = 4096;
/// Bound on a part, in bytes. A single row is much shorter.
const LONGEST_PART: u32 = 64 << 20;

/// An export file that is being read.
pub struct ExportReader {
    path: PathBuf,
    file: BufReader<File>,
    header: ExportHeader,
    cipher: ChunkCipher,
    counts: RowCounts,
    is_complete: bool,
}

impl ExportReader {
    /// Opens a file that was written with this seal.
    ///
    /// # Errors
    /// When it cannot be read, is of another form, or was sealed with another key.
    pub fn open(path: &Path, seal: &Seal) -> Result<Self, ExportFileError> {
        let read = |source| ExportFileError::Read { path: path.to_owned(), source };
        let no_export = || ExportFileError::NoExport { path: path.to_owned() };
        let mut file = BufReader::new(File::open(path).map_err(read)?);
        let mut magic = vec![0; MAGIC.len()];
        file.read_exact(&mut magic).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => no_export(),
            _ => read(error),
        })?;
        if magic != MAGIC.as_bytes() {
            return Err(no_export());
        }
        let mut line = Vec::new();
        (&mut file).take(LONGEST_HEADER).read_until(b'\n', &mut line).map_err(read)?;
        if line.last() != Some(&b'\n') {
            return Err(ExportFileError::Cut { path: path.to_owned() });
        }
        let changed = || ExportFileError::Changed { path: path.to_owned(), number: 0 };
        let header: serde_json::Value = serde_json::from_slice(&line).map_err(|_| changed())?;
        // The version is read before the rest, which may have another form in a later version.
        let format = header.get("format").and_then(serde_json::Value::as_u64);
        let format = format.and_then(|format| u32::try_from(format).ok()).ok_or_else(changed)?;
        if format > FORMAT {
            return Err(ExportFileError::Newer {
                path: path.to_owned(),
                found: format,
                known: FORMAT,
            });
        }
        let header: ExportHeader = serde_json::from_value(header).map_err(|_| changed())?;
        let key = ExportKey::of(seal, id_of(&header.id).ok_or_else(changed)?);
        if !equal(&key.check, &header.check.0) {
            return Err(ExportFileError::OtherKey { path: path.to_owned() });
        }
        let cipher = ChunkCipher::new(&key, [&magic[..], &line].concat()).map_err(|_| changed())?;
        let counts = RowCounts::default();
        Ok(Self { path: path.to_owned(), file, header, cipher, counts, is_complete: false })
    }

    /// The header of the file, which is in clear.
    pub fn header(&self) -> &ExportHeader {
        &self.header
    }

    /// The rows of the next part; `None` after the last one.
    ///
    /// # Errors
    /// When the file was cut or changed, or cannot be read.
    pub fn next_rows(&mut self) -> Result<Option<Vec<ExportRow>>, ExportFileError> {
        if self.is_complete {
            return Ok(None);
        }
        let number = self.cipher.next_number();
        let path = self.path.clone();
        let changed = || ExportFileError::Changed { path: path.clone(), number };
        let mut frame = [0; 5];
        self.fill(&mut frame)?;
        let [flag, length @ ..] = frame;
        let length = u32::from_be_bytes(length);
        if flag > 1 || length > LONGEST_PART {
            return Err(changed());
        }
        let is_last = flag == 1;
        let mut part = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.fill(&mut part)?;
        let part = self.cipher.open(part, is_last).map_err(|_| changed())?;
        if is_last {
            let counts: RowCounts = serde_json::from_slice(&part).map_err(|_| changed())?;
            if counts != self.counts || !self.is_at_end()? {
                return Err(changed());
            }
            self.is_complete = true;
            return Ok(None);
        }
        let rows: Result<Vec<ExportRow>, _> =
            serde_json::Deserializer::from_slice(&part).into_iter().collect();
        let rows = rows.map_err(|_| changed())?;
        rows.iter().for_each(|row| self.counts.count(row));
        Ok(Some(rows))
    }

    /// Number of rows that were read so far.
    pub fn counts(&self) -> RowCounts {
        self.counts
    }

    fn is_at_end(&mut self) -> Result<bool, ExportFileError> {
        let rest = self.file.fill_buf().map(<[u8]>::is_empty);
        rest.map_err(|source| ExportFileError::Read { path: self.path.clone(), source })
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ExportFileError> {
        self.file.read_exact(bytes).map_err(|source: io::Error| match source.kind() {
            ErrorKind::UnexpectedEof => ExportFileError::Cut { path: self.path.clone() },
            _ => ExportFileError::Read { path: self.path.clone(), source },
        })
    }
}

fn id_of(hex: &str) -> Option<[u8; ID_LEN]> {
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect::<Option<Vec<u8>>>()?.try_into().ok()
}

impl std::fmt::Debug for ExportReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportReader").field("header", &self.header).finish_non_exhaustive()
    }
}
