//! The lock of small shared state: kept connections, queues and the addresses of a name.
//!
//! No such lock is kept over an `.await`. `idle_connections`, `connection_limit` and `resolve` are
//! the callers.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex. A lock that a panic poisoned is used on: no code here leaves the data half
/// changed. A poisoned lock would otherwise fail every later request to this server.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
