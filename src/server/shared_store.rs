//! Opens the store that several gateways share, in PostgreSQL or Redis.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::{ServerOptions, StartError};
use crate::clock::Clock;
use crate::gateway;
use crate::session::shared::{
    Finding, Seal, SharedDatabase, SharedOpenError, SharedOptions, SharedStore, TimeSource,
};
use crate::settings::{Config, SharedStoreSettings, StoreSettings};

/// How many steps of one node the database carries out at the same time. More would only wait there.
#[cfg(feature = "postgres")]
const CONNECTIONS: u32 = 16;
/// The time limit of one step. An operation of a few steps must be answered within a second.
#[cfg(any(feature = "postgres", feature = "redis"))]
const STEP_LIMIT: Duration = Duration::from_millis(500);
/// How long a start waits for a database that cannot be reached. Databases and gateways are often
/// started together.
const START_WITHIN: Duration = Duration::from_secs(30);
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// Opens the shared store of the configuration, waiting for its database for a while.
///
/// # Errors
/// If the database cannot be used, or another key sealed the store.
pub(super) fn open_shared_store(
    config: &Config,
    settings: &SharedStoreSettings,
    options: &ServerOptions,
    runtime: &Handle,
) -> Result<Arc<SharedStore>, StartError> {
    let began = options.clock.monotonic();
    let shared = shared_options(config, settings, &options.clock);
    let mut is_told = false;
    runtime.block_on(async {
        let database = loop {
            let error = match open_database(&config.store, runtime).await {
                Ok(database) => break database,
                Err(error) => error,
            };
            let waited = options.clock.monotonic().saturating_sub(began);
            if !error.is_temporary() || waited >= START_WITHIN {
                return Err(error.into());
            }
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!(%error, "the shared store cannot be reached: trying again");
            }
            tokio::time::sleep(TRY_AGAIN).await;
        };
        SharedStore::open(database, shared, runtime).await.map_err(StartError::SharedStore)
    })
}

/// The options of a shared store that follow from the configuration.
pub(super) fn shared_options(
    config: &Config,
    settings: &SharedStoreSettings,
    clock: &Clock,
) -> SharedOptions {
    SharedOptions {
        clock: clock.clone(),
        leeway: config.token.leeway,
        longest_access: gateway::longest_access(config),
        seal: Seal::new(&settings.seal),
        stale_limit: settings.stale_limit,
        time: TimeSource::Database,
    }
}

/// Connects to the database of a shared store.
///
/// # Errors
/// If it cannot be used; each error says what to do.
#[cfg_attr(not(feature = "redis"), allow(unused_variables))]
pub(super) async fn open_database(
    store: &StoreSettings,
    runtime: &Handle,
) -> Result<Arc<dyn SharedDatabase>, SharedOpenError> {
    match store {
        StoreSettings::Embedded => {
            Err(SharedOpenError::Setting("[store] kind is \"embedded\"".to_owned()))
        }
        #[cfg(feature = "postgres")]
        StoreSettings::Postgres(settings) => postgres::open(settings).await,
        #[cfg(not(feature = "postgres"))]
        StoreSettings::Postgres(_) => Err(left_out("postgres")),
        #[cfg(feature = "redis")]
        StoreSettings::Redis(settings) => redis::open(settings, runtime).await,
        #[cfg(not(feature = "redis"))]
        StoreSettings::Redis(_) => Err(left_out("redis")),
    }
}

/// Looks at the database of a shared store, for `check --online`. Changes nothing there.
///
/// # Errors
/// If it cannot be reached.
#[cfg_attr(not(feature = "redis"), allow(unused_variables))]
pub(super) async fn inspect_database(
    store: &StoreSettings,
    runtime: &Handle,
) -> Result<Vec<Finding>, SharedOpenError> {
    match store {
        StoreSettings::Embedded => Ok(Vec::new()),
        #[cfg(feature = "postgres")]
        StoreSettings::Postgres(settings) => postgres::inspect(settings).await,
        #[cfg(not(feature = "postgres"))]
        StoreSettings::Postgres(_) => Err(left_out("postgres")),
        #[cfg(feature = "redis")]
        StoreSettings::Redis(settings) => redis::inspect(settings, runtime).await,
        #[cfg(not(feature = "redis"))]
        StoreSettings::Redis(_) => Err(left_out("redis")),
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    //! PostgreSQL as the database of the shared store.

    use std::sync::Arc;

    use super::{CONNECTIONS, STEP_LIMIT};
    use crate::session::shared::{
        Finding, PostgresDatabase, PostgresOptions, SharedDatabase, SharedOpenError, TlsPolicy,
    };
    use crate::settings::SharedStoreSettings;

    fn options(settings: &SharedStoreSettings) -> PostgresOptions {
        PostgresOptions {
            url: settings.url.clone(),
            ca: settings.ca.as_ref().map(|(_, pem)| pem.clone()),
            tls: if settings.allow_plain { TlsPolicy::None } else { TlsPolicy::Demanded },
            schema: settings.namespace.clone(),
            connections: CONNECTIONS,
            step_limit: STEP_LIMIT,
        }
    }

    pub(super) async fn open(
        settings: &SharedStoreSettings,
    ) -> Result<Arc<dyn SharedDatabase>, SharedOpenError> {
        Ok(PostgresDatabase::open(options(settings)).await?)
    }

    pub(super) async fn inspect(
        settings: &SharedStoreSettings,
    ) -> Result<Vec<Finding>, SharedOpenError> {
        Ok(PostgresDatabase::for_inspection(&options(settings))?.inspect().await)
    }
}

#[cfg(feature = "redis")]
mod redis {
    //! Redis or Valkey as the database of the shared store.

    use std::sync::Arc;

    use tokio::runtime::Handle;

    use super::STEP_LIMIT;
    use crate::clock::Clock;
    use crate::session::shared::{
        Finding, RedisDatabase, RedisOptions, SharedDatabase, SharedOpenError,
    };
    use crate::settings::SharedStoreSettings;
    use crate::tls_roots;

    fn database(
        settings: &SharedStoreSettings,
        runtime: &Handle,
    ) -> Result<RedisDatabase, SharedOpenError> {
        let ca = settings.ca.as_ref().map(|(_, pem)| pem.as_str());
        let tls = tls_roots::client_config(ca)
            .map_err(|error| SharedOpenError::Setting(format!("ca: {error}")))?;
        let options = RedisOptions {
            url: settings.url.clone(),
            tls: Arc::new(tls),
            demands_tls: !settings.allow_plain,
            key_prefix: settings.namespace.clone(),
            step_limit: STEP_LIMIT,
        };
        RedisDatabase::new(&options, runtime.clone())
    }

    pub(super) async fn open(
        settings: &SharedStoreSettings,
        runtime: &Handle,
    ) -> Result<Arc<dyn SharedDatabase>, SharedOpenError> {
        let database = database(settings, runtime)?;
        database.prepare().await?;
        Ok(Arc::new(database))
    }

    pub(super) async fn inspect(
        settings: &SharedStoreSettings,
        runtime: &Handle,
    ) -> Result<Vec<Finding>, SharedOpenError> {
        Ok(database(settings, runtime)?.inspect(&Clock::default()).await)
    }
}

/// The refusal of a build that does not have this kind of database. The configuration is refused
/// before it gets here.
#[cfg(not(all(feature = "postgres", feature = "redis")))]
fn left_out(name: &'static str) -> SharedOpenError {
    SharedOpenError::Setting(crate::features::LeftOut(name).to_string())
}
