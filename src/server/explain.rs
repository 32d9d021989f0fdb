//! Explains a request on a configuration alone, without a running gateway (`tollhouse explain`).
//!
//! Keys, revocations and users are read as far as they are there; nothing is written, no
//! address is bound, and no other machine is contacted. Whatever could not be read is in the notes
//! of the explanation. A running gateway is asked through its admin socket instead, which knows its
//! present state.

use std::sync::Arc;

use serde_json::Value;

use super::store::store_options;
use crate::authn::SeenSignatures;
use crate::clock::Clock;
use crate::format::error_chain;
use crate::gateway::{self, DryRunParts};
use crate::listener::imagined_client;
use crate::login::PasswordCache;
use crate::passwords::HashPool;
use crate::pipeline::{self, ExplainError, ExplainRequest};
use crate::runtime::GatewayThreads;
use crate::session::{EmbeddedStore, Store, StoreOpenError};
use crate::settings::Config;
use crate::token::{KeyPlace, KeyRing, KeyRingOptions};
use crate::users::{SourceContext, UserSources};

/// Explains what a gateway with this configuration would do with `request`. Blocks on the disk; if
/// the request is made for a user, the source of the user is asked.
///
/// # Errors
/// As `pipeline::explain`.
pub fn explain_offline(config: Config, request: &ExplainRequest) -> Result<Value, ExplainError> {
    request.check()?;
    let build = |error: &dyn std::error::Error| ExplainError::Build(error_chain(error));
    let threads = GatewayThreads::start(1, 1).map_err(|error| build(&error))?;
    let hashing = HashPool::start(1, 1).map_err(|error| build(&error))?;
    let clock = Clock::default();
    let mut notes = Vec::new();
    let store: Arc<dyn Store> = read_store(&config, &clock, &mut notes);
    // Only the token of an imagined session needs a key that signs.
    let needs_keys = request.as_user.is_some();
    let ring = read_keys(&config, &clock, needs_keys, &mut notes).map_err(|error| build(&error))?;
    let _runtime = threads.background().handle().enter();
    let users = match needs_keys {
        true => {
            let hashing = hashing.clone();
            let store = store.clone();
            let clock = clock.clone();
            let context = SourceContext { hashing, store, clock };
            gateway::readable_users(&config, &context, &mut notes)
        }
        false => UserSources::default(),
    };
    let parts = DryRunParts {
        clock,
        background: threads.background().clone(),
        store,
        ring,
        hashing,
        password_cache: Arc::new(PasswordCache::new()),
        attempts: Arc::default(),
        program_attempts: Arc::default(),
        seen_signatures: Arc::new(SeenSignatures::of(&config)),
        is_draining: false,
        users,
    };
    let view = gateway::dry_run_view(config, parts, None).map_err(|error| build(&error))?;
    let worker = threads.background().as_worker();
    let explaining = pipeline::explain(&view, &worker, request, imagined_client);
    let mut explained = threads.background().handle().block_on(explaining)?;
    if let Some(list) = explained.get_mut("notes").and_then(Value::as_array_mut) {
        list.extend(notes.into_iter().map(Value::from));
    }
    Ok(explained)
}

/// The store, of which only the revocations are read.
fn read_store(config: &Config, clock: &Clock, notes: &mut Vec<String>) -> Arc<EmbeddedStore> {
    let options = || store_options(config, clock);
    EmbeddedStore::open_to_read(options()).unwrap_or_else(|error| {
        notes.push(match &error {
            StoreOpenError::InUse { .. } => {
                "a running gateway has the store: sessions and revocations are not known here; \
                 --live asks it"
                    .to_owned()
            }
            error => format!("sessions and revocations are not known: {}", error_chain(error)),
        });
        EmbeddedStore::empty_to_read(options())
    })
}

/// The signing keys, as far as they can be read.
fn read_keys(
    config: &Config,
    clock: &Clock,
    needs_keys: bool,
    notes: &mut Vec<String>,
) -> Result<Arc<KeyRing>, crate::token::KeyError> {
    let options = gateway::key_options(config, clock.now());
    match &options.place {
        KeyPlace::ManagedFolder(dir) | KeyPlace::OperatorFolder(dir) if !dir.exists() => {
            notes.push(format!("there are no signing keys in {} yet", dir.display()));
        }
        KeyPlace::ManagedFolder(_) | KeyPlace::OperatorFolder(_) => {}
        KeyPlace::SharedDocument => notes.push(
            "the signing keys are in the shared store, which is not read: --live knows them"
                .to_owned(),
        ),
    }
    KeyRing::open_to_read(options.clone(), needs_keys).or_else(|error| {
        notes.push(format!("the signing keys are not known: {}", error_chain(&error)));
        KeyRing::open_to_read(
            KeyRingOptions { place: KeyPlace::SharedDocument, ..options },
            needs_keys,
        )
    })
}
