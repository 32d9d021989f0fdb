//! Databases: real servers that all tests share, reached through a port that can be cut.

use std::sync::Arc;

use tollhouse::clock::Clock;
use tollhouse::passwords::{HashCounts, HashPool};
use tollhouse::users::{SourceContext, SqlSource, UserSource};

use super::{Account, Can, Kind};
use crate::users::sql::{Engine, OnMariaDb, OnPostgres, OnSqlite};

pub(super) type Postgres = Sql<OnPostgres>;
pub(super) type MariaDb = Sql<OnMariaDb>;
pub(super) type Sqlite = Sql<OnSqlite>;

pub(super) struct Sql<E> {
    engine: E,
    means: SourceContext,
    source: Arc<SqlSource>,
    _folder: tempfile::TempDir,
}

impl<E: Engine> Kind for Sql<E> {
    const CAN: Can = Can {
        email: true,
        roles: true,
        disable: true,
        fold: true,
        stop: true,
        doubt: true,
        hash: true,
    };

    async fn with(accounts: &[Account]) -> Self {
        let engine = E::with(accounts).await;
        let (folder, means) = means();
        let source = SqlSource::open("staff", &engine.settings(), &means).unwrap();
        Self { engine, means, source, _folder: folder }
    }

    fn source(&self) -> Arc<dyn UserSource> {
        self.source.clone()
    }

    async fn replace(&self, accounts: &[Account]) {
        self.engine.replace(accounts).await;
    }

    async fn stop(&mut self) {
        self.engine.stop().await;
    }

    async fn bring_back(&mut self) {
        self.engine.bring_back().await;
    }

    fn operations(&self) -> HashCounts {
        self.means.hashing.operations()
    }
}

/// What sources work with, on a store in a folder of its own.
pub(crate) fn means() -> (tempfile::TempDir, SourceContext) {
    let folder = tempfile::tempdir().unwrap();
    let store = crate::store::samples::open(folder.path());
    let hashing = HashPool::start(2, 64).unwrap();
    (folder, SourceContext { hashing, store, clock: Clock::system() })
}
