//! What travels to the writer: operations, and where their answers go.
//!
//! An operation is a function over the tables of one transaction. It may run more than once,
//! since a transaction is begun anew without an operation that failed, and is answered once.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use redb::ReadTransaction;
use tokio::sync::oneshot;

use super::tables::{Fault, Tables};
use crate::session::StoreError;

/// What the writer is asked for.
pub(super) enum Message {
    Job(Job),
    /// A view of the present state, for a backup.
    Snapshot(oneshot::Sender<Result<ReadTransaction, StoreError>>),
    /// Look at what else there is to do.
    Wake,
}

type Run = Box<dyn FnMut(&mut Tables<'_>) -> Result<(), Fault> + Send>;
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// One operation.
pub(super) struct Job {
    run: Run,
    answer: Answer,
}

impl Job {
    /// An operation, and where its answer arrives.
    pub(super) fn new<T: Send + 'static>(
        mut run: impl FnMut(&mut Tables<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (sender, receiver) = oneshot::channel();
        let result = Arc::new(Mutex::new(None));
        let slot = result.clone();
        let run = Box::new(move |t: &mut Tables<'_>| {
            swap(&slot, Some(run(t)?));
            Ok(())
        });
        let answer = Box::new(move |outcome: Result<(), StoreError>| {
            let value = swap(&result, None);
            let outcome = outcome.and_then(|()| value.ok_or_else(|| unavailable("it did not run")));
            // Whoever asked may have gone away.
            let _ = sender.send(outcome);
        });
        (Self { run, answer }, receiver)
    }

    pub(super) fn run(&mut self, t: &mut Tables<'_>) -> Result<(), Fault> {
        (self.run)(t)
    }

    /// Answers with what the last run gave, or with why it does not count.
    pub(super) fn answer(self, outcome: Result<(), StoreError>) {
        (self.answer)(outcome);
    }
}

fn swap<T>(slot: &Mutex<Option<T>>, value: Option<T>) -> Option<T> {
    mem::replace(&mut *slot.lock().unwrap_or_else(PoisonError::into_inner), value)
}

/// The error for whoever asked.
pub(super) fn unavailable(why: impl ToString) -> StoreError {
    StoreError::Unavailable(why.to_string().into())
}
