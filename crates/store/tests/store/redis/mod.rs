//! Redis as a shared database: real servers that are stopped, killed, emptied and failed over.

mod cluster; // steps that are sent elsewhere, and nodes that are lost
mod feed; // the stream: what is missed is noticed
mod inspection; // what an operator is told
mod outages; // servers that are down, cut off, or come back
mod records; // what is left on the server
mod sentinel; // a failover
mod server;
mod tls; // certificates and passwords

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollhouse_core::secret::Digest;
use tollhouse_store::shared::{DatabaseResult, RedisDatabase, SharedDatabase};

use crate::shared_database::TwoNodes;

pub(crate) use self::server::{RedisCluster, RedisServer};

/// Two nodes of one server.
pub(crate) fn two_nodes(server: &RedisServer) -> TwoNodes {
    two_nodes_by(&server.url(), "tollhouse")
}

/// Two nodes of a server that other cases use too.
pub(crate) fn two_nodes_apart(server: &RedisServer, case: &str) -> TwoNodes {
    two_nodes_by(&server.url(), &Digest::of(case.as_bytes()).hex())
}

/// Two nodes of a Cluster that other cases use too.
pub(crate) fn two_nodes_of(cluster: &RedisCluster, case: &str) -> TwoNodes {
    two_nodes_by(&cluster.url(), &Digest::of(case.as_bytes()).hex())
}

fn two_nodes_by(url: &str, prefix: &str) -> TwoNodes {
    let mut options = server::options(url);
    options.key_prefix = prefix.to_owned();
    // These cases are about results, also on a machine that does much else.
    options.step_limit = server::PATIENCE;
    let database = || {
        let runtime = tokio::runtime::Handle::current();
        Arc::new(RedisDatabase::new(&options, runtime).unwrap())
    };
    TwoNodes { first: database(), second: database() }
}

/// Repeats a step until it succeeds, and asserts that no failure takes long.
pub(crate) async fn until_it_works<T>(mut step: impl AsyncFnMut() -> DatabaseResult<T>) -> T {
    let since = Instant::now();
    loop {
        let began = Instant::now();
        match step().await {
            Ok(done) => return done,
            Err(error) => {
                assert!(began.elapsed() < server::SOON, "{error}: {:?}", began.elapsed());
                assert!(since.elapsed() < server::PATIENCE, "{error}");
                // A server that is not there refuses at once.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// A database without its type, for the helpers of the contract.
pub(crate) fn dynamic(database: &RedisDatabase) -> &dyn SharedDatabase {
    database
}
