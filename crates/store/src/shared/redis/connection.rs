//! One connection to one server: making it, and sending commands over it.
//!
//! The redis library speaks the protocol over a stream that this module opens. Its own TLS is not
//! used: it would make settings for the whole process, and read the system's authorities anew for
//! each connection.
//!
//! Many steps share a connection. The library matches answers to commands by their order, also for
//! commands that nobody waits for any more, so a step that was given up cannot get another step's
//! answer, or leave its own to another.

use std::fmt;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, Value};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tollhouse_core::secret::SecretString;

use super::address::Endpoint;
use super::fault::{Fault, FaultKind};
use super::step::{CommandBatch, Deadline, first_error};

/// An open connection. The socket is closed when the last user of the connection has dropped it.
pub(super) struct Connection {
    pub(super) endpoint: Endpoint,
    sender: MultiplexedConnection,
    /// The task that reads and writes. It ends by itself when the server closes the connection.
    driver: AbortHandle,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub(super) fn is_open(&self) -> bool {
        !self.driver.is_finished()
    }

    /// Carries out a step, and returns one value for each of its commands. A script that the server
    /// does not have is loaded.
    ///
    /// # Errors
    /// If the answer did not come in time, or one of the answers is an error. The whole step may
    /// have been carried out all the same, or a part of it.
    pub(super) async fn run(
        &self,
        step: &CommandBatch<'_>,
        deadline: Deadline,
    ) -> Result<Vec<Value>, Fault> {
        let values = self.send(&step.commands, deadline).await?;
        let Some(error) = first_error(&values) else { return Ok(values) };
        let (Some("NOSCRIPT"), Some(script)) = (Some(error.code()), step.script) else {
            return Err(Fault::refused(&self.endpoint, error));
        };
        let mut commands = Pipeline::with_capacity(step.commands.len().saturating_add(1));
        commands.add_command(script.load());
        for command in step.commands.cmd_iter() {
            commands.add_command(command.clone());
        }
        let mut values = self.checked(&commands, deadline).await?;
        if !values.is_empty() {
            values.remove(0);
        }
        Ok(values)
    }

    /// As `run`, after a node has sent the step here with `ASK`. It applies to one command at a
    /// time.
    pub(super) async fn run_asking(
        &self,
        step: &CommandBatch<'_>,
        deadline: Deadline,
    ) -> Result<Vec<Value>, Fault> {
        let mut commands = Pipeline::new();
        if let Some(script) = step.script {
            commands.add_command(script.load());
        }
        for command in step.commands.cmd_iter() {
            commands.cmd("ASKING");
            commands.add_command(command.clone());
        }
        let values = self.checked(&commands, deadline).await?;
        let loaded = usize::from(step.script.is_some());
        Ok(values.into_iter().skip(loaded.saturating_add(1)).step_by(2).collect())
    }

    async fn checked(&self, commands: &Pipeline, deadline: Deadline) -> Result<Vec<Value>, Fault> {
        let values = self.send(commands, deadline).await?;
        match first_error(&values) {
            Some(error) => Err(Fault::refused(&self.endpoint, error)),
            None => Ok(values),
        }
    }

    /// Sends commands, and returns one value for each of them; errors of the server are values.
    pub(super) async fn send(
        &self,
        commands: &Pipeline,
        deadline: Deadline,
    ) -> Result<Vec<Value>, Fault> {
        let mut sender = self.sender.clone();
        let answer = sender.send_packed_commands(commands, 0, commands.len());
        let values = deadline
            .bound(answer)
            .await
            .map_err(|limit| Fault::new(&self.endpoint, FaultKind::Slow(limit)))?
            .map_err(|error| Fault::broken(&self.endpoint, &error))?;
        if values.len() == commands.len() {
            Ok(values)
        } else {
            Err(Fault::unexpected(&self.endpoint, "one value for each command"))
        }
    }
}

/// The credentials that a new connection presents to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// The user of the URL; the connection then selects the database of the URL.
    Login,
    /// The user of the URL. Sentinels have no databases.
    LoginOnly,
    /// No credentials.
    Anonymous,
}

/// Makes connections.
pub(super) struct Dialer {
    /// TLS is spoken with every server.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Connections without TLS may leave this machine.
    pub(super) may_be_plain: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) db: u32,
    /// Where the tasks of the connections run.
    pub(super) runtime: Handle,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("is_tls", &self.tls.is_some())
            .field("user", &self.user)
            .field("db", &self.db)
            .finish_non_exhaustive()
    }
}

impl Dialer {
    /// Connects to a server, and logs in.
    ///
    /// # Errors
    /// If there is no connection in time, or the server does not accept the user; if the connection
    /// would leave this machine without TLS.
    pub(super) async fn dial(
        &self,
        endpoint: &Endpoint,
        greeting: Greeting,
        deadline: Deadline,
    ) -> Result<Connection, Fault> {
        if self.tls.is_none() && !self.may_be_plain && !endpoint.is_local() {
            let why = "it is not on this machine, and TLS is demanded".to_owned();
            return Err(Fault::new(endpoint, FaultKind::Tls(why)));
        }
        // The future of a TLS handshake is large.
        deadline
            .bound(Box::pin(self.dial_within(endpoint, greeting, deadline)))
            .await
            .map_err(|limit| Fault::new(endpoint, FaultKind::Slow(limit)))?
    }

    async fn dial_within(
        &self,
        endpoint: &Endpoint,
        greeting: Greeting,
        deadline: Deadline,
    ) -> Result<Connection, Fault> {
        let failed =
            |error: std::io::Error| Fault::new(endpoint, FaultKind::Connect(error.to_string()));
        match endpoint {
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                self.greet(endpoint, greeting, stream).await
            }
            Endpoint::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
                // Steps are small, and each of them waits for its answer.
                stream.set_nodelay(true).map_err(failed)?;
                let Some(tls) = &self.tls else {
                    return self.greet(endpoint, greeting, stream).await;
                };
                let failed = |error: String| Fault::new(endpoint, FaultKind::Tls(error));
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| failed("its name is not one of a certificate".to_owned()))?;
                let stream = deadline
                    .bound(TlsConnector::from(tls.clone()).connect(name, stream))
                    .await
                    .map_err(|limit| Fault::new(endpoint, FaultKind::SilentHandshake(limit)))?
                    .map_err(|error| failed(error.to_string()))?;
                self.greet(endpoint, greeting, stream).await
            }
        }
    }

    async fn greet(
        &self,
        endpoint: &Endpoint,
        greeting: Greeting,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Connection, Fault> {
        // The library would announce its name with a command that a user of few rights may not
        // have.
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if greeting == Greeting::Login {
            login = login.set_db(i64::from(self.db));
        }
        if greeting != Greeting::Anonymous {
            if let Some(user) = &self.user {
                login = login.set_username(user);
            }
            if let Some(password) = &self.password {
                login = login.set_password(password.expose());
            }
        }
        // Time limits are those of the steps.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let (sender, driver) = MultiplexedConnection::new_with_config(&login, stream, config)
            .await
            .map_err(|error| Fault::broken(endpoint, &error))?;
        let driver = self.runtime.spawn(driver).abort_handle();
        Ok(Connection { endpoint: endpoint.clone(), sender, driver })
    }
}
