//! A step: some commands for keys of one slot, within a time limit.

use std::time::Duration;

use redis::{Cmd, Pipeline, ServerError, Value};
use tokio::time::Instant;

use super::fault::Fault;
use super::scripts::StoreScript;

/// The moment when a step must have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    limit: Duration,
    at: Instant,
}

impl Deadline {
    pub(super) fn after(limit: Duration) -> Self {
        Self { limit, at: Instant::now() + limit }
    }

    pub(super) fn is_over(self) -> bool {
        Instant::now() >= self.at
    }

    /// Waits for `work` until the deadline.
    ///
    /// # Errors
    /// The time limit, if it has passed.
    pub(super) async fn bound<T>(self, work: impl Future<Output = T>) -> Result<T, Duration> {
        tokio::time::timeout_at(self.at, work).await.map_err(|_| self.limit)
    }
}

/// Commands that are sent together, to the node that has `slot`. They may be sent twice: each of
/// them must be safe to repeat.
#[derive(Debug)]
pub(super) struct CommandBatch<'a> {
    pub(super) slot: u16,
    pub(super) commands: Pipeline,
    /// The script that the commands call.
    pub(super) script: Option<&'a StoreScript>,
}

impl<'a> CommandBatch<'a> {
    pub(super) fn call(slot: u16, script: &'a StoreScript, call: Cmd) -> Self {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(call);
        Self { slot, commands, script: Some(script) }
    }

    pub(super) fn commands(slot: u16, commands: Pipeline) -> Self {
        Self { slot, commands, script: None }
    }
}

/// The first error among the answers to some commands.
pub(super) fn first_error(values: &[Value]) -> Option<&ServerError> {
    values.iter().find_map(|value| match value {
        Value::ServerError(error) => Some(error),
        _ => None,
    })
}

/// Takes an answer apart. Each function fails for a value of another shape.
pub(super) fn bytes(value: Value) -> Result<Vec<u8>, Fault> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        Value::Okay => Ok(b"OK".to_vec()),
        Value::Int(number) => Ok(number.to_string().into_bytes()),
        _ => Err(unexpected("a string")),
    }
}

pub(super) fn text(value: Value) -> Result<String, Fault> {
    String::from_utf8(bytes(value)?).map_err(|_| unexpected("text"))
}

pub(super) fn integer(value: Value) -> Result<i64, Fault> {
    match value {
        Value::Int(number) => Ok(number),
        other => text(other)?.parse().map_err(|_| unexpected("a number")),
    }
}

pub(super) fn array(value: Value) -> Result<Vec<Value>, Fault> {
    match value {
        Value::Array(values) => Ok(values),
        // The answer of a blocking read when its time is up.
        Value::Nil => Ok(Vec::new()),
        _ => Err(unexpected("a list")),
    }
}

/// Exactly `N` values.
pub(super) fn exactly<const N: usize>(values: Vec<Value>) -> Result<[Value; N], Fault> {
    values.try_into().map_err(|_| unexpected("as many values as expected"))
}

/// The values, `N` at a time.
pub(super) fn groups_of<const N: usize>(values: Vec<Value>) -> Result<Vec<[Value; N]>, Fault> {
    let mut values = values.into_iter();
    let mut groups = Vec::with_capacity(values.len() / N.max(1));
    while values.len() > 0 {
        groups.push(exactly(values.by_ref().take(N).collect())?);
    }
    Ok(groups)
}

fn unexpected(what: &'static str) -> Fault {
    Fault::unexpected("Redis", what)
}
