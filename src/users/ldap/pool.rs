//! Connections to a directory: bounded, used again, replaced when they break.
//!
//! There are two pools for a directory, because whom a connection is bound as must never be in
//! question: one searches as the gateway, the other only proves passwords, each bind undoing the
//! one before. A connection goes back only after it has answered; whoever goes away in the middle
//! closes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ldap3::LdapResult;
use rustls::client::ClientConfig;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::connection::{Connection, Entry, Fault, Provable, Query};
use crate::config::{Ldap, LdapServer};
use crate::secret::SecretString;

/// Shorter than firewalls and directories wait before they close in silence.
const IDLE: Duration = Duration::from_secs(60);
/// A server that failed is tried last for so long.
const SHUNNED: Duration = Duration::from_secs(30);

/// The servers of a directory, and how they are spoken to.
#[derive(Debug)]
pub(super) struct Servers {
    list: Vec<Server>,
    tls: Arc<ClientConfig>,
    /// For connecting to one of them, so that time is left for the next.
    patience: Duration,
}

#[derive(Debug)]
struct Server {
    server: LdapServer,
    failed: Mutex<Option<Failure>>,
}

/// The last try to connect.
#[derive(Clone, Debug)]
struct Failure {
    at: Instant,
    /// How long it took to find out: for as long again nobody waits for it.
    took: Duration,
    cause: String,
}

/// Connections of one purpose.
#[derive(Debug)]
pub(super) struct Pool {
    servers: Arc<Servers>,
    /// Whom a new connection is bound as.
    bind: Option<(String, SecretString)>,
    places: Semaphore,
    /// The one used last is at the end.
    idle: Mutex<Vec<(Connection, Instant)>>,
}

/// A connection in use.
struct Lease<'p> {
    connection: Connection,
    /// It was idle before, so it may be dead.
    reused: bool,
    _place: SemaphorePermit<'p>,
}

impl Servers {
    pub(super) fn new(config: &Ldap, tls: ClientConfig) -> Self {
        let list: Vec<Server> = config
            .servers
            .iter()
            .map(|server| Server { server: server.clone(), failed: Mutex::new(None) })
            .collect();
        let shares = u32::try_from(list.len()).unwrap_or(u32::MAX).saturating_add(1);
        Self { patience: config.timeout / shares, tls: Arc::new(tls), list }
    }

    /// A connection to the first server that takes one, bound as `bind`.
    async fn connect(&self, bind: Option<&(String, SecretString)>) -> Result<Connection, Fault> {
        let (shunned, fresh): (Vec<&Server>, Vec<&Server>) =
            self.list.iter().partition(|server| server.failed_within(SHUNNED).is_some());
        let mut causes = Vec::new();
        for server in fresh.into_iter().chain(shunned) {
            match self.try_server(server, bind).await {
                Ok(connection) => return Ok(connection),
                Err(cause) => causes.push(format!("{}: {cause}", server.server.url)),
            }
        }
        Err(Fault::Unreachable(causes.join("; ")))
    }

    async fn try_server(
        &self,
        server: &Server,
        bind: Option<&(String, SecretString)>,
    ) -> Result<Connection, String> {
        if let Some(failure) = server.failed_just_now() {
            return Err(failure.cause);
        }
        let started = Instant::now();
        let cause = match timeout(self.patience, self.connect_to(server, bind)).await {
            Ok(Ok(connection)) => {
                *lock(&server.failed) = None;
                return Ok(connection);
            }
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => format!("no connection within {:?}", self.patience),
        };
        let failure = Failure { at: Instant::now(), took: started.elapsed(), cause: cause.clone() };
        *lock(&server.failed) = Some(failure);
        Err(cause)
    }

    async fn connect_to(
        &self,
        server: &Server,
        bind: Option<&(String, SecretString)>,
    ) -> Result<Connection, Fault> {
        let mut connection = Connection::open(&server.server, &self.tls).await?;
        let Some((dn, password)) = bind else { return Ok(connection) };
        // Invariant: a configured secret is not empty.
        let password =
            Provable::new(password).ok_or(Fault::Entry("no usable bind_password".to_owned()))?;
        let result = connection.bind(dn, password).await?;
        if result.rc != 0 {
            return Err(Fault::Refused { what: "bind_dn", result: Box::new(result) });
        }
        Ok(connection)
    }
}

impl Server {
    fn failed_within(&self, limit: Duration) -> Option<Failure> {
        lock(&self.failed).clone().filter(|failure| failure.at.elapsed() < limit)
    }

    /// Spares a caller who asks for many users the wait for a silent server with each of them.
    fn failed_just_now(&self) -> Option<Failure> {
        self.failed_within(SHUNNED).filter(|failure| failure.at.elapsed() < failure.took)
    }
}

impl Pool {
    /// No connection is opened before it is needed.
    pub(super) fn new(
        servers: &Arc<Servers>,
        bind: Option<(String, SecretString)>,
        size: usize,
    ) -> Self {
        Self {
            servers: servers.clone(),
            bind,
            places: Semaphore::new(size),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Searches, on a second connection if the first turns out to have been closed.
    pub(super) async fn search(&self, query: &Query<'_>) -> Result<Vec<Entry>, Fault> {
        let mut lease = self.lease().await?;
        let mut found = lease.connection.search(query).await;
        if lease.reused && found.as_ref().is_err_and(Fault::is_broken) {
            lease.connection = self.servers.connect(self.bind.as_ref()).await?;
            found = lease.connection.search(query).await;
        }
        if !found.as_ref().is_err_and(Fault::spoils) {
            self.give_back(lease);
        }
        found
    }

    /// Binds, once: a server may count guesses.
    pub(super) async fn bind(&self, dn: &str, password: Provable<'_>) -> Result<LdapResult, Fault> {
        let mut lease = self.lease().await?;
        let result = lease.connection.bind(dn, password).await?;
        if matches!(result.rc, 0 | 49) {
            self.give_back(lease);
        }
        Ok(result)
    }

    /// Connects if nothing is connected, to see whether it works.
    pub(super) async fn probe(&self) -> Result<(), Fault> {
        let lease = self.lease().await?;
        self.give_back(lease);
        Ok(())
    }

    /// Closes connections that have not been used for a while.
    pub(super) fn sweep(&self) {
        lock(&self.idle).retain(|(_, since)| since.elapsed() < IDLE);
    }

    async fn lease(&self) -> Result<Lease<'_>, Fault> {
        let place = self.places.acquire().await;
        let place = place.map_err(|error| Fault::Unreachable(error.to_string()))?;
        // Taken in a statement of its own: the lock is not held while the connection is looked at.
        while let Some((mut connection, _)) = { lock(&self.idle).pop() } {
            if !connection.has_ended().await {
                return Ok(Lease { connection, reused: true, _place: place });
            }
        }
        let connection = self.servers.connect(self.bind.as_ref()).await?;
        Ok(Lease { connection, reused: false, _place: place })
    }

    fn give_back(&self, lease: Lease<'_>) {
        lock(&self.idle).push((lease.connection, Instant::now()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
