//! Moves a store through a sealed file: `export_file` and `import_file`.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::join;
use serde_json::Value;

use super::{
    ExportFileError, ExportHeader, ExportKey, ExportReader, ExportRow, ExportWriter, RowCounts,
    RowPage, RowReceiver, TransferError, in_thread, row_channel,
};
use crate::shared::{Seal, SharedDatabase, SharedOptions, SharedStore};
use crate::{EmbeddedOptions, EmbeddedStore, OpenedStore};
use tokio::sync::mpsc;
use tollhouse_core::clock::Timestamp;

/// The empty store that an import goes into.
#[derive(Debug)]
pub enum ImportTarget {
    Embedded(EmbeddedOptions),
    Shared { database: Arc<dyn SharedDatabase>, options: Box<SharedOptions> },
}

/// An export file that was imported.
#[derive(Debug)]
pub struct ImportedFile {
    pub header: ExportHeader,
    pub counts: RowCounts,
    /// The signing keys of the file. A shared store has them now; an embedded store has no place for
    /// them.
    pub signing_keys: Option<Value>,
}

/// Writes the content of `store`, which is of the kind `source`, to the new file `to`, together with
/// its signing keys.
///
/// # Errors
/// When the store is unavailable, or the file exists or cannot be written. No file is left then.
pub async fn export_file(
    store: &OpenedStore,
    to: &Path,
    key: &ExportKey,
    source: &str,
    signing_keys: Option<Value>,
    now: Timestamp,
) -> Result<RowCounts, TransferError> {
    let writer = ExportWriter::create(to, key, source, now)?;
    let (sender, receiver) = row_channel();
    let writing = in_thread("export file", move || write_pages(writer, receiver, signing_keys));
    let sending = async {
        match store {
            OpenedStore::Embedded(store) => store.export(sender).await,
            OpenedStore::Shared(store) => store.export(sender).await,
        }
    };
    let (sent, written) = join(sending, writing).await;
    first_cause(written, sent)
}

/// Reads an export file into an empty store. The whole file is checked before anything is written.
/// An import that was cut off may be repeated with the same file.
///
/// # Errors
/// When the file is not what it was, or the store is not empty or unavailable.
pub async fn import_file(
    target: ImportTarget,
    from: &Path,
    seal: &Seal,
) -> Result<ImportedFile, TransferError> {
    let path = from.to_owned();
    let opening = seal.clone();
    let checking = in_thread("export file", move || Ok(check(&path, &opening)?));
    let (header, signing_keys) = checking.await?;
    let path = from.to_owned();
    let opening = seal.clone();
    let (sender, receiver) = mpsc::channel(1);
    let reading = in_thread("export file", move || read_pages(&path, &opening, &sender));
    let writing = async {
        match target {
            ImportTarget::Embedded(options) => EmbeddedStore::import(options, receiver).await,
            ImportTarget::Shared { database, options } => {
                SharedStore::import(database, *options, &header.id, receiver).await
            }
        }
    };
    let (read, written) = join(reading, writing).await;
    let counts = first_cause(written, read)?;
    Ok(ImportedFile { header, counts, signing_keys })
}

/// The counts of `one`. If one side was cut off by the failure of the other one, the other one's error
/// is the cause.
fn first_cause(
    one: Result<RowCounts, TransferError>,
    other: Result<RowCounts, TransferError>,
) -> Result<RowCounts, TransferError> {
    match (one, other) {
        (Err(TransferError::Stopped), Err(cause)) | (Err(cause), _) | (Ok(_), Err(cause)) => {
            Err(cause)
        }
        (Ok(counts), Ok(_)) => Ok(counts),
    }
}

fn write_pages(
    mut writer: ExportWriter,
    mut pages: RowReceiver,
    signing_keys: Option<Value>,
) -> Result<RowCounts, TransferError> {
    loop {
        match pages.blocking_recv() {
            Some(RowPage::Rows(rows)) => {
                for row in &rows {
                    writer.write(row)?;
                }
            }
            Some(RowPage::End(_)) => {
                if let Some(document) = signing_keys {
                    writer.write(&ExportRow::SigningKeys { document })?;
                }
                return Ok(writer.finish()?);
            }
            None => return Err(TransferError::Stopped),
        }
    }
}

/// Reads the whole file, and answers with its header and its signing keys.
fn check(path: &Path, seal: &Seal) -> Result<(ExportHeader, Option<Value>), ExportFileError> {
    let mut reader = ExportReader::open(path, seal)?;
    let mut signing_keys = None;
    while let Some(rows) = reader.next_rows()? {
        for row in rows {
            if let ExportRow::SigningKeys { document } = row {
                signing_keys = Some(document);
            }
        }
    }
    Ok((reader.header().clone(), signing_keys))
}

fn read_pages(
    path: &Path,
    seal: &Seal,
    pages: &mpsc::Sender<RowPage>,
) -> Result<RowCounts, TransferError> {
    let mut reader = ExportReader::open(path, seal)?;
    while let Some(rows) = reader.next_rows()? {
        pages.blocking_send(RowPage::Rows(rows)).map_err(|_| TransferError::Stopped)?;
    }
    let counts = reader.counts();
    pages.blocking_send(RowPage::End(counts)).map_err(|_| TransferError::Stopped)?;
    Ok(counts)
}
