//! `[reload]`: whether changed files are put into effect without a command.

use super::reader::TableReader;
use crate::settings::ReloadSettings;

impl ReloadSettings {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        // Off by default: with an editor that saves often, or a file that is written in steps, the
        // operator decides when a change is complete.
        Self { watch: table.bool_or("watch", false) }
    }
}
