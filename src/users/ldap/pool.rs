//! Pools of connections to a directory: bounded, reused, and replaced when they break.
//!
//! A directory has two pools, because it must always be certain as whom a connection is bound: one
//! pool searches as the gateway, the other only verifies passwords, where each bind replaces the
//! one before.
//!
//! A connection returns to its pool only after it has answered. If the caller gives up in between,
//! the connection is closed, so a late answer can never be taken for the answer to the next
//! question.

use std::sync::Arc;
use std::time::Duration;

use ldap3::LdapResult;
use parking_lot::Mutex;
use rustls::client::ClientConfig;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::connection::{
    DirectoryEntry, DirectoryError, LdapConnection, SearchQuery, SendablePassword,
};
use crate::secret::SecretString;
use crate::settings::{LdapServer, LdapUsers};

/// How long a connection may be unused, in seconds: shorter than the time after which firewalls and
/// directories drop connections silently.
const IDLE: Duration = Duration::from_secs(60);
/// How long a server that failed is tried only after all others.
const SHUNNED: Duration = Duration::from_secs(30);

/// The servers of a directory, and the settings for connecting to them.
#[derive(Debug)]
pub(super) struct DirectoryServers {
    list: Vec<DirectoryServer>,
    tls: Arc<ClientConfig>,
    /// Time for connecting to one server: a part of the whole time limit, so that time is left for
    /// the next server.
    patience: Duration,
}

#[derive(Debug)]
struct DirectoryServer {
    server: LdapServer,
    failed: Mutex<Option<ConnectFailure>>,
}

/// The last failed attempt to connect to a server.
#[derive(Clone, Debug)]
struct ConnectFailure {
    at: Instant,
    /// How long the failed attempt took. For the same time again nobody waits for this server.
    took: Duration,
    cause: String,
}

/// The connections of one purpose, searching or verifying.
#[derive(Debug)]
pub(super) struct LdapPool {
    servers: Arc<DirectoryServers>,
    /// The account that a new connection is bound as; `None` for connections that verify passwords.
    bind: Option<(String, SecretString)>,
    places: Semaphore,
    /// Unused connections; the one used last is at the end and is taken first.
    idle: Mutex<Vec<(LdapConnection, Instant)>>,
}

/// A connection in use, with its place in the pool.
struct LdapLease<'p> {
    connection: LdapConnection,
    /// True if the connection was unused before. The server may have closed it meanwhile.
    reused: bool,
    _place: SemaphorePermit<'p>,
}

impl DirectoryServers {
    pub(super) fn new(config: &LdapUsers, tls: ClientConfig) -> Self {
        let list: Vec<DirectoryServer> = config
            .servers
            .iter()
            .map(|server| DirectoryServer { server: server.clone(), failed: Mutex::new(None) })
            .collect();
        let shares = u32::try_from(list.len()).unwrap_or(u32::MAX).saturating_add(1);
        Self { patience: config.timeout / shares, tls: Arc::new(tls), list }
    }

    /// Connects to the first server that accepts, and binds as `bind`.
    async fn connect(
        &self,
        bind: Option<&(String, SecretString)>,
    ) -> Result<LdapConnection, DirectoryError> {
        // Servers that failed a short time ago are tried last, not never: if all have failed, one
        // of them may be back. The order of the configuration is kept within both groups.
        let (shunned, fresh): (Vec<&DirectoryServer>, Vec<&DirectoryServer>) =
            self.list.iter().partition(|server| server.failed_within(SHUNNED).is_some());
        let mut causes = Vec::new();
        for server in fresh.into_iter().chain(shunned) {
            match self.try_server(server, bind).await {
                Ok(connection) => return Ok(connection),
                Err(cause) => causes.push(format!("{}: {cause}", server.server.url)),
            }
        }
        Err(DirectoryError::Unreachable(causes.join("; ")))
    }

    async fn try_server(
        &self,
        server: &DirectoryServer,
        bind: Option<&(String, SecretString)>,
    ) -> Result<LdapConnection, String> {
        if let Some(failure) = server.failed_just_now() {
            return Err(failure.cause);
        }
        let started = Instant::now();
        let cause = match timeout(self.patience, self.connect_to(server, bind)).await {
            Ok(Ok(connection)) => {
                *server.failed.lock() = None;
                return Ok(connection);
            }
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => format!("no connection within {:?}", self.patience),
        };
        let failure =
            ConnectFailure { at: Instant::now(), took: started.elapsed(), cause: cause.clone() };
        *server.failed.lock() = Some(failure);
        Err(cause)
    }

    async fn connect_to(
        &self,
        server: &DirectoryServer,
        bind: Option<&(String, SecretString)>,
    ) -> Result<LdapConnection, DirectoryError> {
        let mut connection = LdapConnection::open(&server.server, &self.tls).await?;
        let Some((dn, password)) = bind else { return Ok(connection) };
        // Invariant: a configured secret is not empty, so this error cannot happen.
        let password = SendablePassword::new(password)
            .ok_or(DirectoryError::Entry("no usable bind_password".to_owned()))?;
        let result = connection.bind(dn, password).await?;
        if result.rc != 0 {
            return Err(DirectoryError::Refused { what: "bind_dn", result: Box::new(result) });
        }
        Ok(connection)
    }
}

impl DirectoryServer {
    fn failed_within(&self, limit: Duration) -> Option<ConnectFailure> {
        self.failed.lock().clone().filter(|failure| failure.at.elapsed() < limit)
    }

    /// The failure of this server, if it is so recent that trying again is not worth the wait. A
    /// review asks for many users in a row; without this, each of them would wait for a silent
    /// server.
    fn failed_just_now(&self) -> Option<ConnectFailure> {
        self.failed_within(SHUNNED).filter(|failure| failure.at.elapsed() < failure.took)
    }
}

impl LdapPool {
    /// Makes an empty pool for `size` connections. A connection is opened when it is needed.
    pub(super) fn new(
        servers: &Arc<DirectoryServers>,
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

    /// Searches. If a reused connection turns out to be closed, the search is repeated on a new
    /// one; a search changes nothing, so repeating it is safe.
    pub(super) async fn search(
        &self,
        query: &SearchQuery<'_>,
    ) -> Result<Vec<DirectoryEntry>, DirectoryError> {
        let mut lease = self.lease().await?;
        let mut found = lease.connection.search(query).await;
        if lease.reused && found.as_ref().is_err_and(DirectoryError::is_broken) {
            lease.connection = self.servers.connect(self.bind.as_ref()).await?;
            found = lease.connection.search(query).await;
        }
        if !found.as_ref().is_err_and(DirectoryError::spoils) {
            self.give_back(lease);
        }
        found
    }

    /// Binds once, without a second try: a server may count failed binds and lock the account.
    pub(super) async fn bind(
        &self,
        dn: &str,
        password: SendablePassword<'_>,
    ) -> Result<LdapResult, DirectoryError> {
        let mut lease = self.lease().await?;
        let result = lease.connection.bind(dn, password).await?;
        // After any other result it is not certain as whom the connection is bound or whether it
        // works, so it is dropped instead of returned.
        if matches!(result.rc, 0 | 49) {
            self.give_back(lease);
        }
        Ok(result)
    }

    /// Opens a connection if there is none, to see whether the directory works.
    pub(super) async fn probe(&self) -> Result<(), DirectoryError> {
        let lease = self.lease().await?;
        self.give_back(lease);
        Ok(())
    }

    /// Closes connections that have not been used for a while.
    pub(super) fn sweep(&self) {
        self.idle.lock().retain(|(_, since)| since.elapsed() < IDLE);
    }

    async fn lease(&self) -> Result<LdapLease<'_>, DirectoryError> {
        let place = self.places.acquire().await;
        let place = place.map_err(|error| DirectoryError::Unreachable(error.to_string()))?;
        // The lock is taken and released within this statement: it must not be held while the
        // connection is looked at.
        while let Some((mut connection, _)) = { self.idle.lock().pop() } {
            if !connection.has_ended().await {
                return Ok(LdapLease { connection, reused: true, _place: place });
            }
        }
        let connection = self.servers.connect(self.bind.as_ref()).await?;
        Ok(LdapLease { connection, reused: false, _place: place })
    }

    fn give_back(&self, lease: LdapLease<'_>) {
        self.idle.lock().push((lease.connection, Instant::now()));
    }
}
