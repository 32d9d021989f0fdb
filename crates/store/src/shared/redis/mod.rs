//! A shared database in Redis or Valkey: a single server, one that Sentinels watch, or a Cluster.
//!
//! Each step is a script, or a few commands that can be repeated, for the keys of one slot. It ends
//! within its time limit, whatever becomes of the server: a lost connection is made anew, a master
//! that was replaced is left for the new one. Replicas are never read, because they may lag behind.
//!
//! A write that was answered is as durable as the settings of the server make it; `inspect` reports
//! how durable that is.

mod address;
mod cluster;
mod connection;
mod fault;
mod feed;
mod index;
mod inspect;
mod keys;
mod link;
mod scripts;
mod single;
mod step;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use redis::{Pipeline, Value};
use rustls::ClientConfig;
use tokio::runtime::Handle;
use tollhouse_core::clock::{Clock, Timestamp};
use tollhouse_core::secret::{Digest, SecretString};

use crate::shared::{
    DatabaseResult, FeedEntry, Finding, Follower, NewRecord, Reading, Record, RecordKey,
    RecordKind, RecordVersion, SharedDatabase, SharedOpenError, Swap,
};

use self::address::{Endpoint, RedisUrl, ServerAddress};
use self::cluster::ClusterServers;
use self::connection::{Connection, Dialer};
use self::fault::{Fault, FaultKind};
use self::feed::RedisFollower;
use self::keys::{KeyNames, slot};
use self::scripts::Scripts;
use self::single::SingleServer;
use self::step::{CommandBatch, Deadline, array, bytes, exactly, integer};

const SHORTEST_STEP_LIMIT: Duration = Duration::from_millis(10);
const LONGEST_STEP_LIMIT: Duration = Duration::from_secs(60);
/// The version of what is stored. A later one means that an earlier program must not touch it.
const FORMAT: i64 = 1;
/// A record that is to be kept for this time or longer gets no expiry and stays for good: servers
/// refuse times that are too far in the future.
const LONGEST_KEEP: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How a database in Redis is reached.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// The server, the Sentinels or some nodes of the Cluster, with the user and the password.
    pub url: SecretString,
    /// The authorities that are trusted where the URL asks for TLS.
    pub tls: Arc<ClientConfig>,
    /// Whether TLS is demanded of every server that is not on this machine. Without it, the network
    /// in between is trusted.
    pub demands_tls: bool,
    /// The beginning of all keys. Gateways that share a server and nothing else have different ones.
    pub key_prefix: String,
    /// The time limit of one step, from 10 ms to a minute. A page of a walk, a sweep, and loading
    /// the feed take several round trips, and each of those has this limit.
    pub step_limit: Duration,
}

/// A database in Redis. A clone is the same database.
#[derive(Clone, Debug)]
pub struct RedisDatabase {
    shared: Arc<Shared>,
}

/// The state that all clones of a `RedisDatabase` and its follower share.
struct Shared {
    server: Server,
    is_tls: bool,
    /// The user of the URL; the server has a default.
    user: Option<String>,
    keys: KeyNames,
    scripts: Scripts,
    step_limit: Duration,
    is_closed: AtomicBool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("server", &self.server)
            .field("prefix", &self.keys.prefix())
            .field("step_limit", &self.step_limit)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn deadline(&self) -> Deadline {
        Deadline::after(self.step_limit)
    }

    fn refuse_closed(&self) -> Result<(), Fault> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(Fault::new("Redis", FaultKind::Unusable("the store is closed")));
        }
        Ok(())
    }
}

/// The server or servers.
#[derive(Debug)]
enum Server {
    Single(SingleServer),
    Cluster(ClusterServers),
}

impl Server {
    async fn run(&self, step: &CommandBatch<'_>, deadline: Deadline) -> Result<Vec<Value>, Fault> {
        match self {
            Self::Single(server) => server.run(step, deadline).await,
            Self::Cluster(servers) => servers.run(step, deadline).await,
        }
    }

    /// A new connection to the server that has `slot`.
    async fn dial(&self, slot: u16, deadline: Deadline) -> Result<Connection, Fault> {
        match self {
            Self::Single(server) => server.dial(deadline).await,
            Self::Cluster(servers) => servers.dial(slot, deadline).await,
        }
    }

    /// A new connection to each server that takes writes.
    async fn dial_all(&self, deadline: Deadline) -> Result<Vec<Connection>, Fault> {
        match self {
            Self::Single(server) => Ok(vec![server.dial(deadline).await?]),
            Self::Cluster(servers) => servers.dial_all(deadline).await,
        }
    }

    fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Learns from a fault of a connection that `dial` has made.
    fn note(&self, endpoint: &Endpoint, slot: u16, fault: &Fault) {
        if let Self::Cluster(servers) = self {
            servers.note(endpoint, slot, fault);
        }
    }

    fn close(&self) {
        match self {
            Self::Single(server) => server.close(),
            Self::Cluster(servers) => servers.close(),
        }
    }
}

impl RedisDatabase {
    /// The database that the options describe. Nothing is connected yet. The tasks of connections
    /// run on `runtime`.
    ///
    /// # Errors
    /// `SharedOpenError::Setting`: a URL or a prefix that is not accepted, or a server elsewhere
    /// without TLS.
    pub fn new(options: &RedisOptions, runtime: Handle) -> Result<Self, SharedOpenError> {
        let url = RedisUrl::parse(&options.url)?;
        let keys = KeyNames::new(&options.key_prefix)?;
        if !url.is_tls && options.demands_tls {
            refuse_plain(&url.server)?;
        }
        let is_tls = url.is_tls;
        let user = url.user.clone();
        let dialer = Arc::new(Dialer {
            tls: url.is_tls.then(|| options.tls.clone()),
            may_be_plain: !options.demands_tls,
            user: url.user,
            password: url.password,
            db: url.db,
            runtime,
        });
        let server = match url.server {
            ServerAddress::Single(endpoint) => {
                Server::Single(SingleServer::fixed(endpoint, dialer))
            }
            ServerAddress::Sentinel { sentinels, name } => {
                Server::Single(SingleServer::watched(sentinels, name, dialer))
            }
            ServerAddress::Cluster { seeds } => Server::Cluster(ClusterServers::new(seeds, dialer)),
        };
        let step_limit = options.step_limit.clamp(SHORTEST_STEP_LIMIT, LONGEST_STEP_LIMIT);
        let scripts = Scripts::new();
        let is_closed = AtomicBool::new(false);
        let shared = Shared { server, is_tls, user, keys, scripts, step_limit, is_closed };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Connects, and notes the version of what is stored in a database that is new.
    ///
    /// # Errors
    /// If the server cannot be reached or used, or a later version of the program has written to
    /// it. `SharedOpenError::is_temporary` says whether trying again may help.
    pub async fn prepare(&self) -> Result<(), SharedOpenError> {
        let shared = &self.shared;
        shared.refuse_closed()?;
        let key = shared.keys.format();
        let mut commands = Pipeline::with_capacity(2);
        commands.cmd("SET").arg(&key).arg(FORMAT).arg("NX");
        commands.cmd("GETEX").arg(&key);
        let step = CommandBatch::commands(slot(&key), commands);
        let values = shared.server.run(&step, shared.deadline()).await?;
        let [_, found] = exactly(values)?;
        let found = integer(found)?;
        if found > FORMAT {
            let at = format!("Redis, key prefix `{}`", shared.keys.prefix());
            return Err(SharedOpenError::Newer { at, found, known: FORMAT });
        }
        Ok(())
    }
}

impl RedisDatabase {
    /// Looks at the servers for an operator: what they are, whether they will do, and what they may
    /// lose. A server that cannot be reached is a finding; `clock` is what the servers' clocks are
    /// compared with.
    pub async fn inspect(&self, clock: &Clock) -> Vec<Finding> {
        inspect::inspect(&self.shared, clock).await
    }
}

/// A URL without TLS is for servers on this machine.
fn refuse_plain(server: &ServerAddress) -> Result<(), SharedOpenError> {
    match server.endpoints().iter().find(|endpoint| !endpoint.is_local()) {
        None => Ok(()),
        Some(endpoint) => Err(SharedOpenError::Setting(format!(
            "the URL of Redis asks for no TLS, and {endpoint} is not on this machine: write \
             rediss:// for redis://, or set `tls` to \"none\" if the network in between is trusted"
        ))),
    }
}

/// Whole milliseconds, rounded up: what is kept must not end early.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The argument of a script for how long something is kept: in milliseconds, or empty for good.
fn keep_argument(keep: Option<Duration>) -> String {
    match keep {
        // A server refuses an end that is now.
        Some(keep) if keep < LONGEST_KEEP => millis(keep).max(1).to_string(),
        _ => String::new(),
    }
}

/// The server's time, as `TIME` answers it: seconds, and microseconds of the second.
fn parse_time(seconds: Value, micros: Value) -> Result<Timestamp, Fault> {
    let number =
        |value| u64::try_from(integer(value)?).map_err(|_| Fault::unexpected("Redis", "a time"));
    let micros = Duration::from_micros(number(micros)?);
    Ok(Timestamp::from_secs(number(seconds)?).plus(micros))
}

impl Shared {
    async fn read(&self, key: &RecordKey) -> Result<Reading, Fault> {
        let name = self.keys.record(key);
        let mut commands = Pipeline::with_capacity(2);
        commands.cmd("GETEX").arg(&name);
        commands.cmd("TIME");
        let step = CommandBatch::commands(slot(&name), commands);
        let [record, time] = exactly(self.server.run(&step, self.deadline()).await?)?;
        let [seconds, micros] = exactly(array(time)?)?;
        Ok(Reading { record: index::parse_record(record)?, now: parse_time(seconds, micros)? })
    }

    async fn swap(
        &self,
        key: &RecordKey,
        expected: Option<RecordVersion>,
        new: NewRecord,
    ) -> Result<Swap, Fault> {
        let deadline = self.deadline();
        if expected.is_none() {
            index::add(self, key, new.keep, deadline).await?;
        }
        let name = self.keys.record(key);
        let script = &self.scripts.swap;
        let mut call = script.call(&[&name]);
        match expected {
            Some(expected) => call.arg(&expected.0.to_be_bytes()[..]),
            None => call.arg(""),
        };
        call.arg(&new.version.0.to_be_bytes()[..]).arg(&new.value[..]);
        call.arg(keep_argument(new.keep));
        let step = CommandBatch::call(slot(&name), script, call);
        let [answer] = exactly(self.server.run(&step, deadline).await?)?;
        if let Value::Int(_) = answer {
            return Ok(Swap::Written);
        }
        let [record, seconds, micros] = exactly(array(answer)?)?;
        let record = index::parse_record(record)?;
        Ok(Swap::Conflict(Reading { record, now: parse_time(seconds, micros)? }))
    }

    async fn join(
        &self,
        group: Digest,
        member: &[u8],
        keep: Option<Duration>,
    ) -> Result<(), Fault> {
        let name = self.keys.group(group);
        let script = &self.scripts.join;
        let mut call = script.call(&[&name]);
        call.arg(member).arg(keep_argument(keep));
        self.server.run(&CommandBatch::call(slot(&name), script, call), self.deadline()).await?;
        Ok(())
    }

    async fn leave(&self, group: Digest, member: &[u8]) -> Result<(), Fault> {
        let name = self.keys.group(group);
        let mut commands = Pipeline::with_capacity(1);
        commands.cmd("ZREM").arg(&name).arg(member);
        self.server.run(&CommandBatch::commands(slot(&name), commands), self.deadline()).await?;
        Ok(())
    }

    async fn members(&self, group: Digest) -> Result<Vec<Vec<u8>>, Fault> {
        let name = self.keys.group(group);
        let script = &self.scripts.members;
        let step = CommandBatch::call(slot(&name), script, script.call(&[&name]));
        let [members] = exactly(self.server.run(&step, self.deadline()).await?)?;
        let mut members: Vec<Vec<u8>> =
            array(members)?.into_iter().map(bytes).collect::<Result<_, _>>()?;
        members.sort_unstable();
        Ok(members)
    }
}

#[async_trait]
impl SharedDatabase for RedisDatabase {
    async fn prepare(&self) -> DatabaseResult<()> {
        Self::prepare(self).await.map_err(|error| crate::shared::DatabaseError(error.to_string()))
    }

    async fn read(&self, key: &RecordKey) -> DatabaseResult<Reading> {
        self.shared.refuse_closed()?;
        Ok(self.shared.read(key).await?)
    }

    async fn swap(
        &self,
        key: &RecordKey,
        expected: Option<RecordVersion>,
        new: NewRecord,
    ) -> DatabaseResult<Swap> {
        self.shared.refuse_closed()?;
        Ok(self.shared.swap(key, expected, new).await?)
    }

    async fn walk(
        &self,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> DatabaseResult<Vec<(Vec<u8>, Record)>> {
        self.shared.refuse_closed()?;
        Ok(index::walk(&self.shared, kind, after, limit).await?)
    }

    async fn join(
        &self,
        group: Digest,
        member: &[u8],
        keep: Option<Duration>,
    ) -> DatabaseResult<()> {
        self.shared.refuse_closed()?;
        Ok(self.shared.join(group, member, keep).await?)
    }

    async fn leave(&self, group: Digest, member: &[u8]) -> DatabaseResult<()> {
        self.shared.refuse_closed()?;
        Ok(self.shared.leave(group, member).await?)
    }

    async fn members(&self, group: Digest) -> DatabaseResult<Vec<Vec<u8>>> {
        self.shared.refuse_closed()?;
        Ok(self.shared.members(group).await?)
    }

    async fn publish(&self, entries: &[FeedEntry]) -> DatabaseResult<()> {
        self.shared.refuse_closed()?;
        Ok(feed::publish(&self.shared, entries).await?)
    }

    fn follow(&self) -> Box<dyn Follower> {
        Box::new(RedisFollower::new(self.shared.clone()))
    }

    async fn sweep(&self) -> DatabaseResult<bool> {
        self.shared.refuse_closed()?;
        let has_more_ids = index::sweep(&self.shared).await?;
        let has_more_entries = feed::expire(&self.shared).await?;
        Ok(has_more_ids || has_more_entries)
    }

    async fn close(&self) {
        self.shared.is_closed.store(true, Ordering::Release);
        self.shared.server.close();
    }
}
