//! Users and their passwords, wherever they are kept.
//!
//! `UserSource` is the trait that hides the kind of source. `FileSource` reads `users.toml`, which
//! `edit` changes, and `htpasswd`; `SqlSource` asks a database, `LdapSource` a directory, and
//! `HttpSource` a legacy system. `UserSources` asks the sources of a login in order; the first
//! source that knows the name decides.
//!
//! `ImportedHashes` keeps stronger hashes for sources that cannot store them. Hashes themselves are
//! the work of `crate::passwords`. This module does not count attempts and knows no sessions:
//! `login` does that.

mod atomic_write;
mod bootstrap;
mod canonical;
mod context;
mod document;
pub mod edit;
mod error;
mod file;
mod format;
mod htpasswd;
mod http;
mod import;
#[cfg(feature = "ldap")]
mod ldap;
mod new_user;
mod open;
mod password_verifier;
mod problem;
mod reach;
mod reader;
mod source;
mod sql;
mod user_table;
mod watched_file;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

pub use self::atomic_write::AccessError;
pub use self::bootstrap::{BootstrapError, FIRST_NAME, FirstUser, first_user, random_password};
pub use self::canonical::{canonical_account, canonical_name};
pub use self::context::SourceContext;
pub use self::error::FileError;
pub use self::file::FileSource;
pub use self::http::{
    HttpSource, KeptSession, LeavingSession, LegacySessionError, LegacySessionParts,
    LegacySessions, SealKeyError, kept_seal,
};
pub use self::import::ImportedHashes;
#[cfg(feature = "ldap")]
pub use self::ldap::LdapSource;
pub use self::open::{SourceOpenError, check, open};
pub use self::problem::{FileProblem, FileProblems};
pub use self::reach::reach;
pub use self::source::{
    LoginName, NameLookup, PasswordCheck, SourceError, UserKey, UserRecord, UserSource,
};
pub use self::sql::SqlSource;
pub use self::user_table::UserEntry;

use crate::admission::{WorkLimit, WorkPermit};
use crate::identity::{IdRules, Subject, UserId};
use crate::secret::SecretString;

/// How many questions may wait for each question that a source is asked at the same time. A waiting
/// question gets its turn within a second or two; if more wait than this, the source is probably in
/// trouble.
const WAITING: usize = 4;
/// Lower limit for the places of a source. Even if a source is asked one question at a time, two
/// people behind one address must be able to log in together.
const LEAST_PLACES: usize = 16;

/// All sources of the configuration. A login asks the sources that it names, in its order.
///
/// Each source has places for clients that try passwords, and separate places for users who are
/// logged in already. Therefore neither a silent source nor many guesses keep other sources, or
/// users with a session, waiting.
#[derive(Clone, Debug, Default)]
pub struct UserSources {
    sources: Vec<Arc<dyn UserSource>>,
    /// The places of each source that asks a remote system.
    places: HashMap<String, SourcePlaces>,
    /// Names of the sources that are skipped while they are unavailable.
    optional: Vec<String>,
    ids: IdRules,
}

/// Bounds on the questions to one source: those that are being asked and those that wait.
#[derive(Clone, Debug)]
struct SourcePlaces {
    guesses: WorkLimit,
    /// Places for users with a session. Their sessions go on only after the source has confirmed
    /// that the user has not changed.
    finds: WorkLimit,
}

/// The result of looking a name up, before its password is verified.
#[derive(Debug, Default)]
pub struct UserLookup {
    /// The user that the name belongs to; `None` if no source knows it.
    pub key: Option<UserKey>,
    /// True if a remote system was asked for the name.
    pub asked_elsewhere: bool,
    /// The result of each source that was asked, to be given back to it with the password.
    found: Vec<(String, NameLookup)>,
}

impl UserLookup {
    fn of(&self, source: &str) -> Option<&NameLookup> {
        self.found.iter().find(|(name, _)| name == source).map(|(_, found)| found)
    }
}

fn taken(
    source: &str,
    places: &WorkLimit,
    origin: Option<IpAddr>,
) -> Result<WorkPermit, SourceError> {
    places.take(origin).map_err(|none| SourceError::NoPlace { name: source.to_owned(), none })
}

impl UserSources {
    /// Puts the sources together. Their names must be unique. `optional` names the sources with
    /// `on_unavailable = "next"`: while one of them cannot answer, the next source is asked. `ids`
    /// decides which subject an id of a source stands for.
    pub fn new(sources: Vec<Arc<dyn UserSource>>, optional: Vec<String>, ids: IdRules) -> Self {
        let places = sources.iter().filter_map(|source| {
            let places = source.parallel()?.saturating_mul(1 + WAITING).max(LEAST_PLACES);
            let places =
                SourcePlaces { guesses: WorkLimit::new(places), finds: WorkLimit::new(places) };
            Some((source.name().to_owned(), places))
        });
        Self { places: places.collect(), sources, optional, ids }
    }

    /// The subject of the user `id` of `source`: the id under which everything outside the source
    /// knows the user.
    pub fn subject(&self, source: &str, id: &UserId) -> Subject {
        self.ids.subject(source, id)
    }

    /// The scope in which the subject is one person: the name of the source, or empty where sources
    /// share their users.
    pub fn realm<'a>(&self, source: &'a str) -> &'a str {
        self.ids.realm(source)
    }

    /// All sources, in the order of the configuration.
    pub fn sources(&self) -> &[Arc<dyn UserSource>] {
        &self.sources
    }

    /// The source with this name, if there is one.
    pub fn named(&self, name: &str) -> Option<&Arc<dyn UserSource>> {
        self.sources.iter().find(|source| source.name() == name)
    }

    /// Looks a name up before its password is verified, to learn by which account attempts are
    /// counted. The first of `sources` that knows the name decides.
    ///
    /// # Errors
    ///
    /// If a source that had to be asked could not answer, or has no free place for `origin`.
    pub async fn look_for(
        &self,
        sources: &[String],
        name: &LoginName,
        origin: Option<IpAddr>,
    ) -> Result<UserLookup, SourceError> {
        let mut lookup = UserLookup::default();
        for source in sources {
            let source = self.source(source)?;
            // The place is kept until this source has answered, and given back before the next
            // source is asked: a slow source must not keep places of another one. Places bound the
            // questions, not the logins.
            let _place = self.place_to_guess(source.name(), origin)?;
            lookup.asked_elsewhere |= !source.is_local();
            match source.look_for(name).await {
                Ok(found) => {
                    let id = found.id.clone();
                    lookup.found.push((source.name().to_owned(), found));
                    if let Some(id) = id {
                        lookup.key = Some(UserKey { source: source.name().to_owned(), id });
                        break;
                    }
                }
                Err(error) => self.pass_over(source.as_ref(), error)?,
            }
        }
        Ok(lookup)
    }

    /// Verifies a password. The first of `sources` that knows the name decides.
    ///
    /// Invariant: a wrong password costs as many hash operations as a name that no source knows;
    /// otherwise the time of the answer would tell which names exist. `lookup` is the result of
    /// `look_for` for this name, or the default if the name was not looked up.
    ///
    /// # Errors
    ///
    /// If a source that had to be asked could not answer. The next source is not asked then,
    /// because it may know another user of that name, unless the operator has allowed it
    /// (`optional`). Also if the source has no free place for `origin`.
    pub async fn check(
        &self,
        sources: &[String],
        name: &LoginName,
        lookup: &UserLookup,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError> {
        let mut decided = None;
        for source in sources {
            let source = self.source(source)?;
            let place = self.place_to_guess(source.name(), origin);
            // A source before this one has refused the password. This source spends the same work
            // as for an unknown name, so that the total time does not tell which source knows the
            // name. Without a free place the work is left out rather than waited for.
            if decided.is_some() {
                // An error here is ignored: the password has been judged, and the attempt must
                // count.
                if place.is_ok() {
                    let _ = source.burn_equal_time(name, password, origin).await;
                }
                continue;
            }
            let _place = place?;
            let checked = match lookup.of(source.name()) {
                Some(found) => source.check_found(found, name, password, origin).await,
                None => source.check(name, password, origin).await,
            };
            match checked {
                Ok(PasswordCheck::UnknownUser) => {}
                Ok(right @ PasswordCheck::Correct { .. }) => return Ok(right),
                Ok(wrong @ PasswordCheck::Wrong { .. }) => decided = Some(wrong),
                Err(error) => self.pass_over(source.as_ref(), error)?,
            }
        }
        // A wrong password at one source is the result, even if the later sources do not know the
        // name. `UnknownUser` means that no source which answered knows it; a source that was
        // skipped may.
        Ok(decided.unwrap_or(PasswordCheck::UnknownUser))
    }

    /// The user that a name belongs to, from the first of `sources` that knows it. It is for
    /// operators and takes no place.
    ///
    /// # Errors
    ///
    /// If a source that had to be asked could not answer.
    pub async fn resolve(
        &self,
        sources: &[String],
        name: &LoginName,
    ) -> Result<Option<UserKey>, SourceError> {
        for source in sources {
            let source = self.source(source)?;
            match source.resolve(name).await {
                Ok(Some(id)) => return Ok(Some(UserKey { source: source.name().to_owned(), id })),
                Ok(None) => {}
                Err(error) => self.pass_over(source.as_ref(), error)?,
            }
        }
        Ok(None)
    }

    /// The present state of the user `id` of `source`, who was called `name` at login. `None` if
    /// the user is removed or disabled, or if the source is no longer configured.
    ///
    /// # Errors
    ///
    /// If the source could not answer. The caller must not treat that as a missing user.
    pub async fn find(
        &self,
        source: &str,
        id: &UserId,
        name: &str,
    ) -> Result<Option<UserRecord>, SourceError> {
        match self.sources.iter().find(|known| known.name() == source) {
            Some(known) => {
                let _place = match self.places.get(source) {
                    Some(places) => Some(taken(source, &places.finds, None)?),
                    None => None,
                };
                known.find(id, name).await
            }
            None => Ok(None),
        }
    }

    /// True if no remote system is asked about users of `source`; also true for a source that is
    /// not configured.
    pub fn is_local(&self, source: &str) -> bool {
        self.sources
            .iter()
            .find(|known| known.name() == source)
            .is_none_or(|known| known.is_local())
    }

    /// How many users of `source` may be looked up at the same time; at least one.
    pub fn parallel(&self, source: &str) -> usize {
        let found = self.sources.iter().find(|known| known.name() == source);
        found.and_then(|source| source.parallel()).unwrap_or(1).max(1)
    }

    /// Resolves when users of any source may have changed since the last call.
    pub async fn changed(&self) {
        let waits = self.sources.iter().map(|source| source.changed());
        let mut waits: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = waits.collect();
        poll_fn(|context| {
            let done = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
            if done { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Takes a place for a client that tries a password; `None` if the source asks no remote
    /// system.
    fn place_to_guess(
        &self,
        source: &str,
        origin: Option<IpAddr>,
    ) -> Result<Option<WorkPermit>, SourceError> {
        let places = self.places.get(source);
        places.map(|places| taken(source, &places.guesses, origin)).transpose()
    }

    /// Decides whether the next source may be asked after this error. Only sources for which the
    /// operator prefers that to an answer of 503 are skipped, and only if they are unavailable.
    fn pass_over(&self, source: &dyn UserSource, error: SourceError) -> Result<(), SourceError> {
        let unavailable = matches!(error, SourceError::Unavailable { .. });
        if unavailable && self.optional.iter().any(|name| name == source.name()) {
            tracing::warn!(%error, "the next source is asked in its stead");
            return Ok(());
        }
        Err(error)
    }

    fn source(&self, name: &str) -> Result<&Arc<dyn UserSource>, SourceError> {
        self.named(name).ok_or_else(|| SourceError::Unavailable {
            name: name.to_owned(),
            cause: "there is no source of that name".to_owned(),
        })
    }
}
