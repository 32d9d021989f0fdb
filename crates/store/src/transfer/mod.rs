//! Moving a store: its content as rows that every kind of store can write and read.
//!
//! An export sends rows through a bounded channel, and an import takes them from one, so that a
//! store of any size moves in little memory. `file` puts a sealed file between the two. Each kind of
//! store has an `export` and an `import` of its own.
//!
//! The rows are all that must survive a move: sessions with their refresh tokens, revocations,
//! remembered users and second steps, the secret of the store, and the signing keys, without which
//! no token would be accepted. An embedded store has no signing keys, so `export_file` is given them,
//! and `import_file` returns them.
//!
//! Three things are left out, which cost little and would be stale after the move: counts of failed
//! attempts, one-time codes that wait for their guess, and user versions that were re-hashed within the
//! last day, which serve only logins that are under way.

mod chunks;
mod error;
mod file;
mod key;
mod reader;
mod row;
mod writer;

use tokio::sync::{mpsc, oneshot};

pub use self::error::{ExportFileError, TransferError};
pub use self::file::{ImportTarget, ImportedFile, export_file, import_file};
pub use self::key::ExportKey;
pub use self::reader::ExportReader;
pub use self::row::{ExportRow, RowCounts};
pub use self::writer::{ExportHeader, ExportWriter};

/// Number of rows that go through the channel at once.
pub(crate) const ROWS_AT_ONCE: usize = 256;
/// Number of such pages that wait in the channel.
const PAGES: usize = 4;

/// A piece of an export on its way.
#[derive(Debug)]
pub enum RowPage {
    Rows(Vec<ExportRow>),
    /// All rows were sent. An export that ends without this page is incomplete, and whatever was
    /// made of its rows must not be used.
    End(RowCounts),
}

/// The end of the channel that an import reads from.
pub type RowReceiver = mpsc::Receiver<RowPage>;

/// The end of the channel that an export writes to. Rows are collected into pages.
#[derive(Debug)]
pub struct RowSender {
    pages: mpsc::Sender<RowPage>,
    page: Vec<ExportRow>,
    counts: RowCounts,
}

/// A bounded channel for the rows of one export.
pub fn row_channel() -> (RowSender, RowReceiver) {
    let (pages, receiver) = mpsc::channel(PAGES);
    (RowSender { pages, page: Vec::new(), counts: RowCounts::default() }, receiver)
}

impl RowSender {
    /// Sends a row; waits while the receiver is busy.
    ///
    /// # Errors
    /// When nobody receives any more.
    pub async fn send(&mut self, row: ExportRow) -> Result<(), TransferError> {
        match self.add(row) {
            Some(page) => self.pages.send(page).await.map_err(|_| TransferError::Stopped),
            None => Ok(()),
        }
    }

    /// As `send`, for a thread that may block.
    ///
    /// # Errors
    /// As `send`.
    pub fn send_blocking(&mut self, row: ExportRow) -> Result<(), TransferError> {
        match self.add(row) {
            Some(page) => self.pages.blocking_send(page).map_err(|_| TransferError::Stopped),
            None => Ok(()),
        }
    }

    /// Says that all rows were sent, and how many there were.
    ///
    /// # Errors
    /// As `send`.
    pub async fn end(mut self) -> Result<RowCounts, TransferError> {
        for page in self.last_pages() {
            self.pages.send(page).await.map_err(|_| TransferError::Stopped)?;
        }
        Ok(self.counts)
    }

    /// As `end`, for a thread that may block.
    ///
    /// # Errors
    /// As `send`.
    pub fn end_blocking(mut self) -> Result<RowCounts, TransferError> {
        for page in self.last_pages() {
            self.pages.blocking_send(page).map_err(|_| TransferError::Stopped)?;
        }
        Ok(self.counts)
    }

    fn add(&mut self, row: ExportRow) -> Option<RowPage> {
        self.counts.count(&row);
        self.page.push(row);
        let is_full = self.page.len() >= ROWS_AT_ONCE;
        is_full.then(|| RowPage::Rows(std::mem::take(&mut self.page)))
    }

    fn last_pages(&mut self) -> [RowPage; 2] {
        [RowPage::Rows(std::mem::take(&mut self.page)), RowPage::End(self.counts)]
    }
}

/// Runs `work`, which may block, in a thread of its own.
pub(crate) async fn in_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    let (sender, answer) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || sender.send(work()))
        .map_err(TransferError::Thread)?;
    // A thread that panicked drops the sender.
    answer.await.unwrap_or(Err(TransferError::Stopped))
}
