//! The position of a section, for messages about it that are written after it was read.

use super::document::Document;
use super::issues::{Issue, IssueSeverity};
use super::key_path::{FilePosition, KeyPath};
use super::reader::TableReader;
use super::warnings::WarningName;

/// The position of a section, kept for messages that are written after the section was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Location {
    pub(super) at: KeyPath,
    pub(super) position: Option<FilePosition>,
}

impl Location {
    pub(super) fn of(table: &TableReader<'_>) -> Self {
        Self { at: table.at().clone(), position: table.position() }
    }

    /// The place of a key below this one. If the key is not in the file, the table's position is
    /// used.
    pub(super) fn at(&self, key: &str) -> Self {
        Self { at: self.at.below(key), position: self.position }
    }

    /// ` (line 12)`, or nothing if the line is not known.
    pub(super) fn named(&self) -> String {
        self.position.map(|at| format!(" (line {})", at.line)).unwrap_or_default()
    }

    pub(super) fn issue(&self, reading: &Document<'_>, value: String, remedy: String) {
        self.add(reading, value, remedy, IssueSeverity::Error);
    }

    pub(super) fn warn(
        &self,
        reading: &Document<'_>,
        name: WarningName,
        value: String,
        remedy: String,
    ) {
        self.add(reading, value, remedy, IssueSeverity::Warning(name));
    }

    fn add(&self, reading: &Document<'_>, value: String, remedy: String, severity: IssueSeverity) {
        let path = self.at.clone();
        let position = reading.place(&self.at).or(self.position);
        reading.add(Issue { position, path, value, remedy, severity });
    }
}
