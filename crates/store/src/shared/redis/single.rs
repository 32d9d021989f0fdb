//! A single server, or the master that the Sentinels name.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::select_ok;
use redis::{Pipeline, Value};

use super::address::Endpoint;
use super::connection::{Connection, Dialer, Greeting};
use super::fault::{Fault, FaultKind, Remedy};
use super::link::Link;
use super::step::{CommandBatch, Deadline, array, exactly, integer, text};

/// Where the server is.
#[derive(Debug)]
enum ServerLocation {
    Fixed(Endpoint),
    Watched { sentinels: Vec<Endpoint>, name: String },
}

/// One server that has all keys.
#[derive(Debug)]
pub(super) struct SingleServer {
    place: ServerLocation,
    dialer: Arc<Dialer>,
    link: Link,
}

impl SingleServer {
    pub(super) fn fixed(endpoint: Endpoint, dialer: Arc<Dialer>) -> Self {
        Self { place: ServerLocation::Fixed(endpoint), dialer, link: Link::new() }
    }

    pub(super) fn watched(sentinels: Vec<Endpoint>, name: String, dialer: Arc<Dialer>) -> Self {
        Self { place: ServerLocation::Watched { sentinels, name }, dialer, link: Link::new() }
    }

    pub(super) async fn run(
        &self,
        step: &CommandBatch<'_>,
        deadline: Deadline,
    ) -> Result<Vec<Value>, Fault> {
        let connection = self.link.connection(deadline, self.dial(deadline)).await?;
        let fault = match self.link.run_on(&connection, step, false, deadline).await {
            Ok(values) => return Ok(values),
            Err(fault) => fault,
        };
        // A server that was restarted, or an idle connection that something in between has closed,
        // is noticed by the step only. Each step can be repeated, so the caller need not see it.
        match fault.remedy(&connection.endpoint) {
            Remedy::Reconnect | Remedy::FindMaster if !deadline.is_over() => {
                let connection = self.link.connection(deadline, self.dial(deadline)).await?;
                self.link.run_on(&connection, step, false, deadline).await
            }
            _ => Err(fault),
        }
    }

    /// A new connection to the server.
    pub(super) async fn dial(&self, deadline: Deadline) -> Result<Connection, Fault> {
        match &self.place {
            ServerLocation::Fixed(endpoint) => {
                self.dialer.dial(endpoint, Greeting::Login, deadline).await
            }
            ServerLocation::Watched { sentinels, name } => {
                // All Sentinels are queried at the same time, and the first that leads to a master
                // wins: one that is down, or that missed the failover, delays no connection.
                let attempts = sentinels
                    .iter()
                    .map(|sentinel| self.dial_master(sentinel, name, deadline).boxed());
                select_ok(attempts).await.map(|(connection, _)| connection)
            }
        }
    }

    async fn dial_master(
        &self,
        sentinel: &Endpoint,
        name: &str,
        deadline: Deadline,
    ) -> Result<Connection, Fault> {
        let master = match self.ask(sentinel, Greeting::Anonymous, name, deadline).await {
            Err(fault) if fault.is_about_credentials() && self.dialer.password.is_some() => {
                self.ask(sentinel, Greeting::LoginOnly, name, deadline).await?
            }
            answer => answer?,
        };
        let connection = self.dialer.dial(&master, Greeting::Login, deadline).await?;
        let mut commands = Pipeline::with_capacity(1);
        commands.cmd("ROLE");
        match connection.run(&CommandBatch::commands(0, commands), deadline).await {
            Ok(values) => {
                let role = values.into_iter().next().unwrap_or_default();
                let role = text(array(role)?.into_iter().next().unwrap_or_default())?;
                if role != "master" {
                    let why = format!("{sentinel} names it as the master, and it is a {role}");
                    return Err(Fault::new(&master, FaultKind::Connect(why)));
                }
            }
            // Without this right the first write finds out.
            Err(fault) if fault.code() == Some("NOPERM") => {}
            Err(fault) => return Err(fault),
        }
        Ok(connection)
    }

    async fn ask(
        &self,
        sentinel: &Endpoint,
        greeting: Greeting,
        name: &str,
        deadline: Deadline,
    ) -> Result<Endpoint, Fault> {
        let connection = self.dialer.dial(sentinel, greeting, deadline).await?;
        let mut commands = Pipeline::with_capacity(1);
        commands.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let values = connection.run(&CommandBatch::commands(0, commands), deadline).await?;
        let address = array(values.into_iter().next().unwrap_or_default())?;
        if address.is_empty() {
            let why = format!("the Sentinel does not know a master `{name}`");
            return Err(Fault::new(sentinel, FaultKind::Connect(why)));
        }
        let [host, port] = exactly(address)?;
        u16::try_from(integer(port)?)
            .ok()
            .and_then(|port| Some((text(host).ok()?, port)))
            .and_then(|(host, port)| Endpoint::answered(&host, port, sentinel))
            .ok_or_else(|| Fault::unexpected(sentinel, "an address"))
    }

    pub(super) fn close(&self) {
        self.link.close();
    }
}
