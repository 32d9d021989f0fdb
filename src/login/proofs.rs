//! Passwords that were found right a moment ago, so that a program which sends its password with
//! every request costs one hash a minute.
//!
//! A proof is kept under a keyed digest of everything that it depends on: the sources in their
//! order, the name, the password, where it came from. Each part is preceded by its length, so no
//! two askers share one by moving a letter from the name to the password. What is wrong is never
//! kept. When users change all is forgotten, and what was being found out meanwhile is not kept.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use tokio::sync::OnceCell;

use super::Refused;
use crate::authn::Verified;
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::secret::{self, Digest, SecretString};
use crate::users::User;

/// How long a password is not looked at again.
const LIFE: Duration = Duration::from_secs(60);
/// More are looked at each time: the threads that hash are bounded too.
const MOST: usize = 10_000;
/// More are refused: whom nobody remembers, no review of changed users could find.
const MOST_USERS: usize = 50_000;

/// A password and everything that its being right depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) sources: &'a [String],
    pub(crate) name: &'a str,
    pub(crate) password: &'a SecretString,
    /// Attempts are counted by address, so another address asks for itself.
    pub(crate) group: Option<IpAddr>,
}

/// What is known of passwords.
#[derive(Debug)]
pub(crate) struct Proofs {
    key: hmac::Key,
    known: RwLock<Known>,
    flights: Mutex<HashMap<Digest, Flight>>,
}

#[derive(Debug, Default)]
struct Known {
    /// How often all was forgotten.
    epoch: u64,
    held: HashMap<Digest, Held>,
    /// Whose passwords they were, by what names them in the streams.
    users: HashMap<Digest, (User, Timestamp)>,
}

#[derive(Debug)]
struct Held {
    verified: Arc<Verified>,
    since: Timestamp,
}

/// One password being looked at, however many requests have it.
type Flight = Arc<OnceCell<Result<Arc<Verified>, Refused>>>;

impl Proofs {
    pub(crate) fn new() -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret::random::<32>());
        Self { key, known: RwLock::default(), flights: Mutex::default() }
    }

    /// What a password is kept under.
    pub(crate) fn digest(&self, asked: &Asked<'_>) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        let mut part = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        part(&(asked.sources.len() as u64).to_be_bytes());
        asked.sources.iter().for_each(|source| part(source.as_bytes()));
        part(asked.name.as_bytes());
        part(asked.password.expose().as_bytes());
        part(asked.group.map(|group| group.to_string()).unwrap_or_default().as_bytes());
        Digest::of(context.sign().as_ref())
    }

    /// Who it was, if the password was found right within the last minute.
    pub(crate) fn find(&self, digest: &Digest, now: Timestamp) -> Option<Arc<Verified>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let held = known.held.get(digest)?;
        is_fresh(held.since, now).then(|| held.verified.clone())
    }

    /// Comes before a password is looked at; what is found out counts for this epoch only.
    pub(super) fn epoch(&self) -> u64 {
        self.known.read().unwrap_or_else(PoisonError::into_inner).epoch
    }

    /// Keeps what was found out since `epoch`; false where all was forgotten meanwhile.
    ///
    /// # Errors
    /// Where the user could not even be remembered.
    pub(super) fn keep(
        &self,
        digest: Digest,
        epoch: u64,
        (verified, user): (&Arc<Verified>, &User),
        now: Timestamp,
    ) -> Result<bool, Refused> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.epoch != epoch {
            return Ok(false);
        }
        if known.users.len() >= MOST_USERS && !known.users.contains_key(&verified.digest) {
            return Err(Refused::new(
                Reason::Unavailable,
                "too many users call by their passwords",
            ));
        }
        if known.held.len() < MOST {
            known.held.insert(digest, Held { verified: verified.clone(), since: now });
        }
        known.users.insert(verified.digest, (user.clone(), now));
        Ok(true)
    }

    /// Forgets every password, but not whose they were: they may have something open.
    pub(crate) fn forget(&self) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.epoch += 1;
        known.held.clear();
    }

    /// Who may have something open by his password, and what names him in the streams.
    pub(super) fn users(&self) -> Vec<(Digest, User)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.users.iter().map(|(digest, (user, _))| (*digest, user.clone())).collect()
    }

    /// Forgets what is too old, and users who have nothing open.
    pub(crate) fn sweep(&self, now: Timestamp, has_open: impl Fn(&Digest) -> bool) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.held.retain(|_, held| is_fresh(held.since, now));
        // A stream may open as long as the password is known.
        known.users.retain(|digest, (_, since)| is_fresh(*since, now) || has_open(digest));
    }

    /// Where those wait who have the same password in their hands.
    pub(super) fn board(&self, digest: Digest) -> Flight {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.entry(digest).or_default().clone()
    }

    /// The password has been looked at: who comes now asks anew.
    pub(super) fn land(&self, digest: Digest, flight: &Flight) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if flights.get(&digest).is_some_and(|held| Arc::ptr_eq(held, flight)) {
            flights.remove(&digest);
        }
    }
}

/// A clock that was set back makes nothing fresh again.
fn is_fresh(since: Timestamp, now: Timestamp) -> bool {
    since.minus(LIFE) <= now && now < since.plus(LIFE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_verdict_depends_on_is_in_its_key() {
        let proofs = Proofs::new();
        let of = |sources: &[&str], name: &str, password: &str, group: Option<&str>| {
            let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
            let (password, group) = (password.into(), group.map(|group| group.parse().unwrap()));
            proofs.digest(&Asked { sources: &sources, name, password: &password, group })
        };
        let one = of(&["a", "b"], "ann", "secret", None);

        assert_eq!(one, of(&["a", "b"], "ann", "secret", None));
        for (other, why) in [
            (of(&["b", "a"], "ann", "secret", None), "another order of sources"),
            (of(&["a"], "bann", "secret", None), "a source moved to the name"),
            (of(&["ab"], "ann", "secret", None), "two sources become one"),
            (of(&["a", "b"], "anns", "ecret", None), "a letter moved to the name"),
            (of(&["a", "b"], "ann", "secreT", None), "another password"),
            (of(&["a", "b"], "ann", "secret", Some("192.0.2.1")), "another address"),
        ] {
            assert_ne!(one, other, "{why}");
        }
        assert_ne!(
            one,
            Proofs::new().digest(&Asked {
                sources: &["a".into(), "b".into()],
                name: "ann",
                password: &"secret".into(),
                group: None,
            }),
            "another process has another key"
        );
    }
}
