//! Giving the file to another process, and taking it back.
//!
//! A gateway whose successor is about to start gives the file up while it can still go on itself: if
//! the successor fails, the file is opened again. Nothing is carried out in between, and revocations
//! that are requested meanwhile are owed.

use tokio::sync::oneshot;

use super::job::{WriterMessage, unavailable};
use super::{EmbeddedStore, tables};
use crate::StoreError;

impl EmbeddedStore {
    /// The newest schema of a store file that this program can open.
    pub const SCHEMA: u64 = tables::SCHEMA;

    /// Closes the file for another process, after everything that was accepted before. Operations
    /// fail from now on, and revocations hold on; `reclaim` undoes it.
    ///
    /// # Errors
    /// When the store is closed, or its queue is full.
    pub async fn release(&self) -> Result<(), StoreError> {
        let (sender, released) = oneshot::channel();
        self.send(WriterMessage::Release(sender))?;
        released.await.map_err(|_| unavailable("it is closed"))
    }

    /// Opens a released file again, as soon as the other process lets it go.
    ///
    /// # Errors
    /// When the store is closed, or its queue is full.
    pub fn reclaim(&self) -> Result<(), StoreError> {
        self.send(WriterMessage::Reclaim)
    }
}
