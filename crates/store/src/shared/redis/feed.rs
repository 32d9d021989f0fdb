//! The feed of revocations: a stream of what was published lately, and all entries that a starting
//! node must know.
//!
//! Both are changed by one script. A node that starts remembers where the stream ends and then reads
//! the entries; whatever is published meanwhile comes after that end. A node that follows waits for
//! the stream on a connection of its own, because a read that waits holds up everything behind it
//! on the same connection.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Pipeline, Value};

use crate::shared::{DatabaseError, DatabaseResult, FeedEntry, Follower, News};

use super::connection::Connection;
use super::fault::Fault;
use super::step::{CommandBatch, Deadline, array, bytes, exactly, groups_of, integer, text};
use super::{Shared, keep_argument, millis};

/// How far back the stream goes. A node that was away for longer reads all entries again.
const STREAM_AGE: Duration = Duration::from_secs(3600);
/// Bound of the stream's length: some hundred megabytes.
const STREAM_LENGTH: usize = 1_000_000;
/// Entries that one script adds. While a script runs, the server does nothing else.
const PUBLISHED_AT_ONCE: usize = 200;
/// Entries that one look at the stream brings.
const NEWS_AT_ONCE: usize = 1000;
/// Entries of a piece when a node starts, about.
const PIECE: usize = 1000;
const EXPIRED_AT_ONCE: i64 = 500;
/// How long the server waits for news before it answers that there is none.
const WAIT: Duration = Duration::from_millis(250);

/// The id of an entry of a stream: milliseconds, and a number within the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct StreamId(u64, u64);

impl StreamId {
    /// Before all entries.
    const START: Self = Self(0, 0);

    fn parse(value: Value) -> Result<Self, Fault> {
        let unexpected = || Fault::unexpected("the feed", "an id");
        let id = text(value)?;
        let (millis, number) = id.split_once('-').ok_or_else(unexpected)?;
        let number_of = |text: &str| text.parse().map_err(|_| unexpected());
        Ok(Self(number_of(millis)?, number_of(number)?))
    }

    /// The value of the key with the last id, which is missing as long as nothing was published.
    fn parse_last(value: Value) -> Result<Self, Fault> {
        if value == Value::Nil { Ok(Self::START) } else { Self::parse(value) }
    }
}

/// An entry as it comes from the stream.
struct StreamEntry {
    id: StreamId,
    predecessor: StreamId,
    value: Vec<u8>,
}

impl StreamEntry {
    fn parse(value: Value) -> Result<Self, Fault> {
        let [id, fields] = exactly(array(value)?)?;
        let [_, value, _, predecessor] = exactly(array(fields)?)?;
        Ok(Self {
            id: StreamId::parse(id)?,
            predecessor: StreamId::parse(predecessor)?,
            value: bytes(value)?,
        })
    }
}

/// Adds entries to the feed.
pub(super) async fn publish(shared: &Shared, entries: &[FeedEntry]) -> Result<(), Fault> {
    let keys = shared.keys.feed();
    let script = &shared.scripts.publish;
    let deadline = shared.deadline();
    for entries in entries.chunks(PUBLISHED_AT_ONCE) {
        let mut call = script.call(&[&keys.stream, &keys.last, &keys.entries, &keys.ends]);
        call.arg(millis(STREAM_AGE)).arg(STREAM_LENGTH);
        for entry in entries {
            call.arg(&entry.id.0[..]).arg(&entry.value[..]);
            call.arg(keep_argument(entry.keep));
        }
        shared.server.run(&CommandBatch::call(keys.slot, script, call), deadline).await?;
    }
    Ok(())
}

/// Removes entries that nobody must know any more. True if there may be more.
pub(super) async fn expire(shared: &Shared) -> Result<bool, Fault> {
    let keys = shared.keys.feed();
    let script = &shared.scripts.expire_entries;
    let mut call = script.call(&[&keys.entries, &keys.ends]);
    call.arg(EXPIRED_AT_ONCE);
    let step = CommandBatch::call(keys.slot, script, call);
    let values = shared.server.run(&step, shared.deadline()).await?;
    let [removed] = exactly(values)?;
    Ok(integer(removed)? >= EXPIRED_AT_ONCE)
}

/// One node's place in the stream.
#[derive(Debug)]
pub(super) struct RedisFollower {
    shared: Arc<Shared>,
    /// The last entry that was seen; `None` before the first `load`.
    last: Option<StreamId>,
    /// Taken out while an answer is awaited: a call that is dropped takes the connection with it,
    /// so no late answer is left on it.
    connection: Option<Connection>,
}

impl RedisFollower {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, last: None, connection: None }
    }

    async fn connect(&mut self) -> Result<Connection, Fault> {
        if let Some(connection) = self.connection.take().filter(Connection::is_open) {
            return Ok(connection);
        }
        self.shared.server.dial(self.shared.keys.feed().slot, self.shared.deadline()).await
    }

    /// Carries out one step on the follower's own connection. After a fault, the connection must be
    /// dropped: the next one goes to the node that has the feed then.
    async fn ask(
        &self,
        connection: &Connection,
        commands: Pipeline,
        limit: Duration,
    ) -> Result<Vec<Value>, Fault> {
        let slot = self.shared.keys.feed().slot;
        let outcome =
            connection.run(&CommandBatch::commands(slot, commands), Deadline::after(limit)).await;
        if let Err(fault) = &outcome {
            self.shared.server.note(&connection.endpoint, slot, fault);
        }
        outcome
    }

    async fn load_pieces(
        &mut self,
        piece: &mut (dyn FnMut(Vec<Vec<u8>>) + Send),
    ) -> Result<(), Fault> {
        let keys = self.shared.keys.feed();
        let limit = self.shared.step_limit;
        self.shared.refuse_closed()?;
        self.last = None;
        // All pieces come over one connection: a cursor means nothing to another server.
        let connection = self.connect().await?;
        let mut commands = Pipeline::with_capacity(1);
        commands.cmd("GETEX").arg(&keys.last);
        let [last] = exactly(self.ask(&connection, commands, limit).await?)?;
        let last = StreamId::parse_last(last)?;
        let mut cursor = b"0".to_vec();
        loop {
            let mut commands = Pipeline::with_capacity(1);
            commands.cmd("HSCAN").arg(&keys.entries).arg(&cursor).arg("COUNT").arg(PIECE);
            let [scanned] = exactly(self.ask(&connection, commands, limit).await?)?;
            let [next, entries] = exactly(array(scanned)?)?;
            let entries = groups_of(array(entries)?)?.into_iter();
            let entries: Vec<Vec<u8>> =
                entries.map(|[_, value]| bytes(value)).collect::<Result<_, _>>()?;
            if !entries.is_empty() {
                piece(entries);
            }
            cursor = bytes(next)?;
            if cursor == b"0" {
                break;
            }
        }
        self.last = Some(last);
        self.connection = Some(connection);
        Ok(())
    }

    async fn look(&mut self) -> Result<News, Fault> {
        self.shared.refuse_closed()?;
        let Some(last) = self.last else { return Ok(News::Missed) };
        let keys = self.shared.keys.feed();
        let mut commands = Pipeline::with_capacity(2);
        commands.cmd("GETEX").arg(&keys.last);
        commands.cmd("XREAD").arg("COUNT").arg(NEWS_AT_ONCE);
        commands.arg("BLOCK").arg(millis(WAIT));
        commands.arg("STREAMS").arg(&keys.stream).arg(format!("{}-{}", last.0, last.1));
        let connection = self.connect().await?;
        let limit = self.shared.step_limit.saturating_add(WAIT);
        let values = self.ask(&connection, commands, limit).await?;
        self.connection = Some(connection);
        let [newest, streams] = exactly(values)?;
        let newest = StreamId::parse_last(newest)?;
        let mut entries = Vec::new();
        if let Some(stream) = array(streams)?.into_iter().next() {
            let [_, read] = exactly(array(stream)?)?;
            for entry in array(read)? {
                entries.push(StreamEntry::parse(entry)?);
            }
        }
        let is_chained = match entries.first() {
            Some(first) => first.predecessor == last,
            // The stream was lost if it ends earlier than it did, and so was a part of it if it
            // ends later and has no entry that is later.
            None => newest == last,
        };
        if !is_chained || newest < last {
            self.last = None;
            return Ok(News::Missed);
        }
        if let Some(entry) = entries.last() {
            self.last = Some(entry.id);
        }
        Ok(News::Entries(entries.into_iter().map(|entry| entry.value).collect()))
    }
}

#[async_trait]
impl Follower for RedisFollower {
    async fn load(&mut self, piece: &mut (dyn FnMut(Vec<Vec<u8>>) + Send)) -> DatabaseResult<()> {
        self.load_pieces(piece).await.map_err(DatabaseError::from)
    }

    async fn next(&mut self) -> DatabaseResult<News> {
        self.look().await.map_err(DatabaseError::from)
    }
}
