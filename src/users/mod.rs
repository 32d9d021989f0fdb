//! Users and their passwords, wherever they are kept.
//!
//! `UserSource` is the seam; `FileSource` reads `users.toml`, which `edit` changes, and `htpasswd`.
//! `SqlSource` asks a database, `LdapSource` a directory, `HttpSource` a legacy system. `Users` asks
//! the sources of a login in order: the first that knows the name decides. `Imports` keeps stronger
//! hashes for sources that cannot. `PasswordPool` hashes in its own bounded threads; `password` says
//! what a stored hash is and costs, `rules` what a new password has to be.

mod bootstrap;
mod canonical;
pub mod edit;
mod file;
mod format;
mod htpasswd;
mod http;
mod import;
mod ldap;
mod live;
mod meter;
mod open;
pub mod password;
mod pool;
mod problem;
mod reader;
pub mod rules;
mod source;
mod splice;
mod sql;
mod table;
mod write;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

pub use self::bootstrap::{BootstrapError, FIRST_NAME, FirstUser, first_user, random_password};
pub use self::canonical::{canonical_account, canonical_name};
pub use self::file::{FileError, FileSource};
pub use self::http::HttpSource;
pub use self::import::Imports;
pub use self::ldap::LdapSource;
pub use self::meter::Operations;
pub use self::open::{Means, OpenError, check, open};
pub use self::pool::{PasswordPool, PoolError};
pub use self::problem::{Problem, Problems};
pub use self::source::{Checked, Name, NameLookup, SourceError, User, UserKey, UserSource};
pub use self::sql::SqlSource;
pub use self::table::Entry;
pub use self::write::AccessError;

use crate::admission::{Place, Places};
use crate::identity::{IdRules, Subject, UserId};
use crate::secret::SecretString;

/// For each question that a source is asked at once, so many may wait for their turn: in a second or
/// two it comes to them, or the source is not well.
const WAITING: usize = 4;
/// However little a source is asked at once, two people at one address may log in together.
const LEAST_PLACES: usize = 16;

/// All sources of the configuration; a login asks those that it names, in its order.
///
/// Each source has places of its own for those who guess at its passwords, and others for its users
/// who are logged in already: neither a source that is silent nor many guesses keep anybody else
/// waiting.
#[derive(Clone, Debug, Default)]
pub struct Users {
    sources: Vec<Arc<dyn UserSource>>,
    /// Of each source that asks somebody elsewhere.
    places: HashMap<String, SourcePlaces>,
    /// Names of those that are passed over while they are unavailable.
    optional: Vec<String>,
    ids: IdRules,
}

/// How many are asked about users of one source at once, or wait for their turn.
#[derive(Clone, Debug)]
struct SourcePlaces {
    guesses: Places,
    /// For users who are in already, whose sessions go on only if they still are who they were.
    finds: Places,
}

/// What was found of a name before its password is checked.
#[derive(Debug, Default)]
pub struct Lookup {
    /// The user whose name it is.
    pub key: Option<UserKey>,
    /// Whether somebody elsewhere was asked for it.
    pub asked_elsewhere: bool,
    /// What each source that was asked has found.
    found: Vec<(String, NameLookup)>,
}

impl Lookup {
    fn of(&self, source: &str) -> Option<&NameLookup> {
        self.found.iter().find(|(name, _)| name == source).map(|(_, found)| found)
    }
}

fn taken(source: &str, places: &Places, origin: Option<IpAddr>) -> Result<Place, SourceError> {
    places.take(origin).map_err(|none| SourceError::NoPlace { name: source.to_owned(), none })
}

impl Users {
    /// Puts sources together; their names differ. `optional` names those (`on_unavailable =
    /// "next"`) in whose stead the next is asked while they cannot answer; `ids` says what their
    /// ids are worth.
    pub fn new(sources: Vec<Arc<dyn UserSource>>, optional: Vec<String>, ids: IdRules) -> Self {
        let places = sources.iter().filter_map(|source| {
            let places = source.parallel()?.saturating_mul(1 + WAITING).max(LEAST_PLACES);
            let places = SourcePlaces { guesses: Places::new(places), finds: Places::new(places) };
            Some((source.name().to_owned(), places))
        });
        Self { places: places.collect(), sources, optional, ids }
    }

    /// Who the user `id` of `source` is to everybody but that source.
    pub fn subject(&self, source: &str, id: &UserId) -> Subject {
        self.ids.subject(source, id)
    }

    /// Within what that subject is one person: the source, or nothing where sources share users.
    pub fn realm<'a>(&self, source: &'a str) -> &'a str {
        self.ids.realm(source)
    }

    /// The sources, in the order of the configuration.
    pub fn sources(&self) -> &[Arc<dyn UserSource>] {
        &self.sources
    }

    /// The source of this name, if there is one.
    pub fn named(&self, name: &str) -> Option<&Arc<dyn UserSource>> {
        self.sources.iter().find(|source| source.name() == name)
    }

    /// Looks for a name before its password is checked: what attempts are counted by. The first of
    /// `sources` that knows it decides.
    ///
    /// # Errors
    /// When a source that had to be asked could not say, or has no place for `origin`.
    pub async fn look_for(
        &self,
        sources: &[String],
        name: &Name,
        origin: Option<IpAddr>,
    ) -> Result<Lookup, SourceError> {
        let mut lookup = Lookup::default();
        for source in sources {
            let source = self.source(source)?;
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

    /// Checks a password: the first of `sources` that knows the name decides. A wrong password
    /// costs as many hash operations as a name that none of them knows. `lookup` is what was found
    /// of the name a moment ago; the default where it was not looked for.
    ///
    /// # Errors
    /// When a source that had to be asked could not say; the next is then not asked, since it
    /// might know another user of that name, unless the operator said so. Also when it has no place
    /// for `origin`.
    pub async fn check(
        &self,
        sources: &[String],
        (name, lookup): (&Name, &Lookup),
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<Checked, SourceError> {
        let mut decided = None;
        for source in sources {
            let source = self.source(source)?;
            let place = self.place_to_guess(source.name(), origin);
            if decided.is_some() {
                // A full queue is not told here: the guess has been made and has to count.
                if place.is_ok() {
                    let _ = source.spend(name, password, origin).await;
                }
                continue;
            }
            let _place = place?;
            let checked = match lookup.of(source.name()) {
                Some(found) => source.check_found(found, name, password, origin).await,
                None => source.check(name, password, origin).await,
            };
            match checked {
                Ok(Checked::Unknown) => {}
                Ok(right @ Checked::Right { .. }) => return Ok(right),
                Ok(wrong @ Checked::Wrong { .. }) => decided = Some(wrong),
                Err(error) => self.pass_over(source.as_ref(), error)?,
            }
        }
        Ok(decided.unwrap_or(Checked::Unknown))
    }

    /// The user behind a name, from the first of `sources` that knows it; for operators, who need
    /// no place.
    ///
    /// # Errors
    /// When a source that had to be asked could not say.
    pub async fn resolve(
        &self,
        sources: &[String],
        name: &Name,
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

    /// The user `id` of `source`, called `name` at login, as he is now; `None` if he, or the
    /// source, is gone.
    ///
    /// # Errors
    /// When the source could not say.
    pub async fn find(
        &self,
        source: &str,
        id: &UserId,
        name: &str,
    ) -> Result<Option<User>, SourceError> {
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

    /// Whether nobody has to be asked about users of `source`. Nor of one that is not there.
    pub fn is_local(&self, source: &str) -> bool {
        self.sources
            .iter()
            .find(|known| known.name() == source)
            .is_none_or(|known| known.is_local())
    }

    /// How many users of `source` may be asked about at once.
    pub fn parallel(&self, source: &str) -> usize {
        let found = self.sources.iter().find(|known| known.name() == source);
        found.and_then(|source| source.parallel()).unwrap_or(1).max(1)
    }

    /// Returns when users of any source may have changed since the last call.
    pub async fn changed(&self) {
        let waits = self.sources.iter().map(|source| source.changed());
        let mut waits: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = waits.collect();
        poll_fn(|context| {
            let done = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
            if done { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// `None` where the source asks nobody elsewhere.
    fn place_to_guess(
        &self,
        source: &str,
        origin: Option<IpAddr>,
    ) -> Result<Option<Place>, SourceError> {
        let places = self.places.get(source);
        places.map(|places| taken(source, &places.guesses, origin)).transpose()
    }

    /// Lets the next source be asked, where the operator prefers that to an honest 503.
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
