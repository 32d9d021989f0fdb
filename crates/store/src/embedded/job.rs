//! Messages to the writer thread: operations, and the way back for their answers.
//!
//! An operation is a function over the tables of one transaction. It may run several times, because
//! a transaction is repeated without an operation that failed; therefore it must not have effects
//! outside the tables. It is answered once, after the commit. `EmbeddedStore` makes the messages,
//! `StoreWriter` carries them out.

use std::sync::Arc;

use parking_lot::Mutex;
use redb::ReadTransaction;
use tokio::sync::oneshot;

use super::tables::{StoreFault, Tables};
use crate::StoreError;

/// A message to the writer.
pub(super) enum WriterMessage {
    Job(WriteJob),
    /// Asks for a read view of the present state, for a backup.
    Snapshot(oneshot::Sender<Result<ReadTransaction, StoreError>>),
    /// Closes the file for another process, and answers when it is closed.
    Release(oneshot::Sender<()>),
    /// Opens the file again that was released.
    Reclaim,
    /// Wakes the writer, so that it looks whether it should close.
    Wake,
}

type JobRun = Box<dyn FnMut(&mut Tables<'_>) -> Result<(), StoreFault> + Send>;
type JobAnswer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// One operation and the way back for its answer.
pub(super) struct WriteJob {
    run: JobRun,
    answer: JobAnswer,
}

impl WriteJob {
    /// Makes an operation; the receiver gets its answer.
    pub(super) fn new<T: Send + 'static>(
        mut run: impl FnMut(&mut Tables<'_>) -> Result<T, StoreFault> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (sender, receiver) = oneshot::channel();
        // The result of the latest run waits here. It is sent only after the commit: if the commit
        // fails, the client must not learn of a session that does not exist. A repeated run simply
        // replaces the result of the run before.
        let result = Arc::new(Mutex::new(None));
        let slot = result.clone();
        let run = Box::new(move |tables: &mut Tables<'_>| {
            *slot.lock() = Some(run(tables)?);
            Ok(())
        });
        let answer = Box::new(move |outcome: Result<(), StoreError>| {
            let value = result.lock().take();
            let outcome = outcome.and_then(|()| value.ok_or_else(|| unavailable("it did not run")));
            // The caller may have given up waiting, for example because its client went away.
            let _ = sender.send(outcome);
        });
        (Self { run, answer }, receiver)
    }

    pub(super) fn run(&mut self, tables: &mut Tables<'_>) -> Result<(), StoreFault> {
        (self.run)(tables)
    }

    /// Answers with the result of the last run, or with the reason why that result does not count.
    pub(super) fn answer(self, outcome: Result<(), StoreError>) {
        (self.answer)(outcome);
    }
}

/// The error for the caller of an operation.
pub(super) fn unavailable(why: impl ToString) -> StoreError {
    StoreError::Unavailable(why.to_string().into())
}
