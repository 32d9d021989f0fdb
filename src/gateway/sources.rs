//! The user sources of a generation.
//!
//! A source whose configuration did not change is kept, with its connections and with everything
//! that it has read. The others are opened anew. A source that cannot be opened fails the start or
//! the reload.

use std::sync::Arc;

use super::{BuildError, Generation, SharedState};
use crate::config::{self, Config, SourceKind};
use crate::identity::IdRules;
use crate::users::{self, SourceContext, UserSource, UserSources};

/// Opens the sources of `config`, or takes them over from `last`.
pub(super) fn open_users(
    shared: &SharedState,
    config: &Config,
    last: Option<&Generation>,
) -> Result<UserSources, BuildError> {
    let means = SourceContext {
        hashing: shared.hashing.clone(),
        store: shared.store.clone(),
        clock: shared.clock.clone(),
    };
    let open = |source: &config::SourceSettings| match kept(source, last) {
        Some(kept) => Ok(kept.clone()),
        None => users::open(source, &means).map_err(|error| cannot_open(source, error)),
    };
    let sources = config.users.iter().map(open).collect::<Result<_, _>>()?;
    let optional = config.users.iter().filter(|source| source.passed_over);
    let optional = optional.map(|source| source.name.clone()).collect();
    // Ids are told apart by source, so every source must be in these rules, also those that are
    // passed over while they are unavailable.
    let ids = config.users.iter().map(|source| (source.name.clone(), source.id_rule()));
    Ok(UserSources::new(sources, optional, IdRules::new(ids)))
}

/// The source of the last generation with the same configuration.
fn kept<'l>(
    source: &config::SourceSettings,
    last: Option<&'l Generation>,
) -> Option<&'l Arc<dyn UserSource>> {
    let last = last.filter(|last| last.config.users.contains(source))?;
    last.services.users.named(&source.name)
}

/// The error for a source that could not be opened. A missing file of users has an error of its
/// own, with the command that creates it. `check` uses the same function, so both give the same
/// message.
pub(crate) fn cannot_open(
    source: &config::SourceSettings,
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
