//! The user sources of a generation.
//!
//! A source whose configuration did not change is kept, with its connections and with everything
//! that it has read. The others are opened anew. A source that cannot be opened fails the start or
//! the reload.

use std::sync::Arc;

use super::{BuildError, SharedState};
use crate::format::error_chain;
use crate::identity::IdRules;
use crate::settings::{self, Config, SourceKind};
use crate::users::{
    self, LegacySessionParts, LegacySessions, SourceContext, UserSource, UserSources,
};

/// Opens the sources of `config`. `kept` returns the source of the last generation, if it has one
/// with the same configuration.
pub(super) fn open_users<'l>(
    shared: &SharedState,
    config: &Config,
    kept: impl Fn(&settings::SourceSettings) -> Option<&'l Arc<dyn UserSource>>,
) -> Result<UserSources, BuildError> {
    let means = SourceContext {
        hashing: shared.hashing.clone(),
        store: shared.store.clone(),
        clock: shared.clock.clone(),
    };
    let open = |source: &settings::SourceSettings| match kept(source) {
        Some(kept) => Ok(kept.clone()),
        None => users::open(source, &means).map_err(|error| cannot_open(source, error)),
    };
    let sources = config.users.iter().map(open).collect::<Result<_, _>>()?;
    Ok(together(config, sources))
}

/// The users' sessions at legacy systems. What is in memory is handed on by `last`. The key that
/// seals them is read or made only if any source keeps them.
pub(super) fn open_legacy_sessions(
    shared: &SharedState,
    config: &Config,
    last: Option<&LegacySessions>,
) -> Result<Option<Arc<LegacySessions>>, BuildError> {
    let keeps = |source: &&settings::SourceSettings| source.keeps_credentials();
    let Some(source) = config.users.iter().find(keeps) else { return Ok(None) };
    let seal = match last {
        Some(last) => last.seal().clone(),
        None => users::kept_seal(config)?,
    };
    let parts = LegacySessionParts {
        seal,
        store: shared.store.clone(),
        streams: shared.cancellations.streams.clone(),
        clock: shared.clock.clone(),
        background: shared.background.clone(),
    };
    LegacySessions::build(config, parts, last)
        .map_err(|error| cannot_open(source, users::SourceOpenError::from(error)))
}

fn together(config: &Config, sources: Vec<Arc<dyn UserSource>>) -> UserSources {
    let optional = config.users.iter().filter(|source| source.passed_over);
    let optional = optional.map(|source| source.name.clone()).collect();
    // Ids are told apart by source, so every source must be in these rules, also those that are
    // passed over while they are unavailable.
    let ids = config.users.iter().map(|source| (source.name.clone(), source.id_rule()));
    UserSources::new(sources, optional, IdRules::new(ids))
}

/// Opens the sources that can be opened, for a dry run; `notes` tells of the others.
pub(crate) fn readable_users(
    config: &Config,
    context: &SourceContext,
    notes: &mut Vec<String>,
) -> UserSources {
    let mut sources = Vec::new();
    for source in &config.users {
        match users::open(source, context).map_err(|error| cannot_open(source, error)) {
            Ok(opened) => sources.push(opened),
            Err(error) => notes.push(error_chain(&error)),
        }
    }
    together(config, sources)
}

/// The error for a source that could not be opened. A missing file of users has an error of its
/// own, with the command that creates it. `check` uses the same function, so both give the same
/// message.
pub(crate) fn cannot_open(
    source: &settings::SourceSettings,
    error: users::SourceOpenError,
) -> BuildError {
    let name = source.name.clone();
    match &source.kind {
        SourceKind::File { path, .. } if error.is_missing() => {
            BuildError::NoUsers { name, path: path.clone() }
        }
        _ => BuildError::Users { name, source: error },
    }
}
