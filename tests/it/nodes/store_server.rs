//! The store that the nodes share, in a real server that a test can end.

use crate::harness::{Postgres, Redis, postgres};

/// A server, and the database in it.
pub(super) enum StoreServer {
    Redis(Redis),
    Postgres { server: Postgres, database: String },
}

impl StoreServer {
    pub(super) fn redis() -> Self {
        Self::Redis(Redis::start())
    }

    pub(super) async fn postgres() -> Self {
        let server = Postgres::start().await;
        let database = server.database("select 1").await;
        let grant = format!("grant create on database {database} to gateway");
        server.execute("postgres", &grant).await;
        Self::Postgres { server, database }
    }

    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Redis(redis) => redis.port,
            Self::Postgres { server, .. } => server.port,
        }
    }

    /// `kind` in `[store]`.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
            Self::Postgres { .. } => "postgres",
        }
    }

    /// The URL of the database, by a port that leads to the server.
    pub(super) fn url(&self, port: u16) -> String {
        match self {
            Self::Redis(_) => format!("redis://127.0.0.1:{port}"),
            Self::Postgres { database, .. } => postgres::url(port, database),
        }
    }

    /// Ends the server at once. What it has answered is on its disk.
    pub(super) fn kill(&mut self) {
        match self {
            Self::Redis(redis) => redis.kill(),
            Self::Postgres { server, .. } => server.kill(),
        }
    }

    /// Starts the server again, with what is on its disk.
    pub(super) fn run(&mut self) {
        match self {
            Self::Redis(redis) => redis.run(),
            Self::Postgres { server, .. } => server.run(),
        }
    }

    /// Ends the server and starts it with an empty database.
    pub(super) async fn run_empty(&mut self) {
        self.kill();
        match self {
            Self::Redis(redis) => {
                redis.empty_disk();
                redis.run();
            }
            Self::Postgres { server, database } => {
                server.run();
                server.execute(database, "drop schema tollhouse cascade").await;
            }
        }
    }
}
