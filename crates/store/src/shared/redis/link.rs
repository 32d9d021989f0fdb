//! The connection to one server that all steps share, made anew when it is lost.
//!
//! A connection on which an answer did not come in time is given up: the server may be cut off by
//! something that drops packets, and the system would notice that after minutes only. Other steps
//! that wait on it keep it until they have ended.

use std::sync::Arc;

use parking_lot::Mutex;
use tollhouse_core::single_flight::SingleFlight;

use super::connection::Connection;
use super::fault::{Fault, FaultKind};
use super::step::{CommandBatch, Deadline};

/// Steps that wait for one connection at the same time.
const MOST_WAITING: usize = 16384;

/// A connection that many steps share.
#[derive(Debug)]
pub(super) struct Link {
    current: Mutex<Option<Arc<Connection>>>,
    dialing: SingleFlight<(), Result<Arc<Connection>, Fault>>,
}

impl Link {
    pub(super) fn new() -> Self {
        Self { current: Mutex::default(), dialing: SingleFlight::new(1, MOST_WAITING) }
    }

    /// The connection, made with `dial` if there is none. Of all steps that need one at the same
    /// time, one makes it.
    ///
    /// # Errors
    /// Those of `dial`.
    pub(super) async fn connection(
        &self,
        deadline: Deadline,
        dial: impl Future<Output = Result<Connection, Fault>>,
    ) -> Result<Arc<Connection>, Fault> {
        if let Some(connection) = self.open() {
            return Ok(connection);
        }
        let dialed = self.dialing.run((), async {
            // Another step may have made it between the look above and now.
            if let Some(connection) = self.open() {
                return Ok(connection);
            }
            let connection = Arc::new(dial.await?);
            *self.current.lock() = Some(connection.clone());
            Ok(connection)
        });
        // A step that came late waits for a connection that an earlier one makes, within its own
        // limit.
        match deadline.bound(dialed).await {
            Ok(Some(dialed)) => dialed,
            Ok(None) => Err(Fault::new("Redis", FaultKind::Unusable("too many steps are waiting"))),
            Err(limit) => Err(Fault::new("Redis", FaultKind::Slow(limit))),
        }
    }

    fn open(&self) -> Option<Arc<Connection>> {
        self.current.lock().clone().filter(|connection| connection.is_open())
    }

    /// Gives a connection up, unless that has been done already. The next step makes a new one.
    pub(super) fn discard(&self, connection: &Arc<Connection>) {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            *current = None;
        }
    }

    /// Gives the connection up, whichever it is.
    pub(super) fn close(&self) {
        *self.current.lock() = None;
    }

    /// Carries out a step on `connection`, and gives the connection up if it is of no more use.
    pub(super) async fn run_on(
        &self,
        connection: &Arc<Connection>,
        step: &CommandBatch<'_>,
        is_asking: bool,
        deadline: Deadline,
    ) -> Result<Vec<redis::Value>, Fault> {
        let outcome = if is_asking {
            connection.run_asking(step, deadline).await
        } else {
            connection.run(step, deadline).await
        };
        if let Err(fault) = &outcome
            && fault.ends_connection()
        {
            self.discard(connection);
        }
        outcome
    }
}
