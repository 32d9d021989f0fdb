//! The shared database in PostgreSQL, beyond what every shared database does.

mod faults; // servers that stop, hang, wait, or come back
mod feed; // what commits late, and what goes back
mod open; // tables, rights, addresses, TLS
mod relay; // a connection that can be frozen
mod server; // PostgreSQL and PgBouncer
mod settings; // what may be set at the server, and what is said of it

pub(crate) use self::server::{PgBouncer, Postgres};

use std::sync::Arc;

use tollhouse_store::shared::{PostgresDatabase, PostgresOptions};

use crate::shared_database::TwoNodes;

/// Two nodes on a schema of their own.
pub(crate) async fn two_nodes() -> TwoNodes {
    nodes(Postgres::shared().await.options()).await
}

/// The same through a pooler that gives each transaction another server.
pub(crate) async fn two_nodes_by_pooler() -> TwoNodes {
    nodes(server::options(&PgBouncer::shared().await.url())).await
}

async fn nodes(options: PostgresOptions) -> TwoNodes {
    TwoNodes { first: open(options.clone()).await, second: open(options).await }
}

async fn open(options: PostgresOptions) -> Arc<PostgresDatabase> {
    PostgresDatabase::open(options).await.unwrap()
}
