//! A cache of passwords that were verified within the last minute. Programs that send their
//! password with every request then cost one slow hash a minute.
//!
//! The key is a keyed digest of everything that the result depends on: the generation, the sources
//! in their order, the name, the password, and the address group. Each part is preceded by its
//! length, so that two different requests can never have the same digest input.
//!
//! Wrong passwords are never cached. When users change, all entries are dropped, and a result that
//! was computed meanwhile is not stored (see `epoch`). The same file has the single flight for
//! passwords and the list of users that a review must look at.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use parking_lot::RwLock;

use super::LoginError;
use crate::authn::VerifiedCredential;
use crate::bounded_cache::BoundedCache;
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::secret::{self, Digest, SecretString};
use crate::single_flight::SingleFlight;
use crate::users::UserRecord;

/// How long a verified password is accepted without being verified again.
const LIFE: Duration = Duration::from_secs(60);
/// Bound on the cached passwords. Beyond it the oldest one is verified again next time; the threads
/// that hash are bounded as well.
const MOST: usize = 10_000;
/// Bound on the users that are tracked. Beyond it requests fail with 503: a user who is not tracked
/// could keep a stream open after the account was disabled, because no review would find that user.
const MOST_USERS: usize = 50_000;

/// A name and a password with everything that the result of verifying them depends on. Whatever is
/// missing here would let one request use the result of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PasswordCacheKey<'a> {
    /// The generation whose sources verified the password: sources of the same names may be others
    /// after a reload.
    pub(crate) generation: u64,
    pub(crate) sources: &'a [String],
    pub(crate) name: &'a str,
    pub(crate) password: &'a SecretString,
    /// The address group is part of the key: attempts are counted by address, so another address
    /// must verify the password itself.
    pub(crate) group: Option<IpAddr>,
}

/// The cache, the tracked users, and the passwords being verified now.
#[derive(Debug)]
pub(crate) struct PasswordCache {
    key: hmac::Key,
    /// The verified identities, until the password must be verified again.
    passwords: BoundedCache<Digest, Arc<VerifiedCredential>>,
    known: RwLock<TrackedUsers>,
    /// The passwords being verified now. All requests with the same digest wait for one result.
    pub(super) flights: SingleFlight<Digest, Result<Arc<VerifiedCredential>, LoginError>>,
}

#[derive(Debug, Default)]
struct TrackedUsers {
    /// Number of times that the cache was emptied; a result that began under an earlier number is
    /// not stored.
    epoch: u64,
    /// The users whose passwords were accepted, by the digest that names them in streams and
    /// revocations, and when that was last.
    users: HashMap<Digest, (UserRecord, Timestamp)>,
}

impl PasswordCache {
    /// The key is random and lives in memory only: a copy of the digests is useless for guessing
    /// passwords elsewhere.
    pub(crate) fn new() -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret::random::<32>());
        let passwords = BoundedCache::new(MOST, 2 * LIFE);
        Self { key, passwords, known: RwLock::default(), flights: SingleFlight::new(MOST, MOST) }
    }

    /// The key of a password in the cache. HMAC-SHA-256 is fast; the digest is never stored outside
    /// this process.
    pub(crate) fn digest(&self, key: &PasswordCacheKey<'_>) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        let mut part = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        part(&key.generation.to_be_bytes());
        part(&(key.sources.len() as u64).to_be_bytes());
        key.sources.iter().for_each(|source| part(source.as_bytes()));
        part(key.name.as_bytes());
        part(key.password.expose().as_bytes());
        part(key.group.map(|group| group.to_string()).unwrap_or_default().as_bytes());
        Digest::of(context.sign().as_ref())
    }

    /// The verified identity, if the password was accepted within the last minute.
    pub(crate) fn find(&self, digest: &Digest, now: Timestamp) -> Option<Arc<VerifiedCredential>> {
        self.passwords.get(digest, now)
    }

    /// The present epoch. It must be read before the user is looked up; the result is stored only
    /// if the epoch is still the same.
    pub(super) fn epoch(&self) -> u64 {
        self.known.read().epoch
    }

    /// Stores a verified password, and tracks its user. False if the cache was emptied since
    /// `epoch` was read: then users may have changed, and the caller must look the user up again.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the user cannot be tracked, because there are too many. Such a user must
    /// not be let in.
    pub(super) fn keep(
        &self,
        digest: Digest,
        epoch: u64,
        verified: &Arc<VerifiedCredential>,
        user: &UserRecord,
        now: Timestamp,
    ) -> Result<bool, LoginError> {
        let mut known = self.known.write();
        if known.epoch != epoch {
            return Ok(false);
        }
        if known.users.len() >= MOST_USERS && !known.users.contains_key(&verified.digest) {
            return Err(LoginError::new(
                Reason::Unavailable,
                "too many users with Basic authentication",
            ));
        }
        // The lock is held until here, so that `forget` cannot come between the comparison of the
        // epochs and this line.
        self.passwords.insert(digest, verified.clone(), now.plus(LIFE));
        known.users.insert(verified.digest, (user.clone(), now));
        Ok(true)
    }

    /// Empties the cache. The users stay tracked, because they may have streams open that the
    /// coming review must end.
    pub(crate) fn forget(&self) {
        let mut known = self.known.write();
        known.epoch += 1;
        self.passwords.clear();
    }

    /// The tracked users, each with the digest that names them in the streams.
    pub(super) fn users(&self) -> Vec<(Digest, UserRecord)> {
        let known = self.known.read();
        known.users.iter().map(|(digest, (user, _))| (*digest, user.clone())).collect()
    }

    /// Drops expired passwords, and users whose password has expired and who have no stream open.
    pub(crate) fn sweep(&self, now: Timestamp, has_open: impl Fn(&Digest) -> bool) {
        self.passwords.sweep(now);
        let mut known = self.known.write();
        // As long as the password is cached, a new request could still open a stream for the user.
        known.users.retain(|digest, (_, since)| is_fresh(*since, now) || has_open(digest));
    }
}

/// True within `LIFE` of `since`, in both directions. A clock that was set back must not make an
/// old proof fresh again for long.
fn is_fresh(since: Timestamp, now: Timestamp) -> bool {
    since.minus(LIFE) <= now && now < since.plus(LIFE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_verdict_depends_on_is_in_its_key() {
        let proofs = PasswordCache::new();
        let under =
            |generation, sources: &[&str], name: &str, password: &str, group: Option<&str>| {
                let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
                let password = password.into();
                let group = group.map(|group| group.parse().unwrap());
                let password = &password;
                let sources = &sources;
                proofs.digest(&PasswordCacheKey { generation, sources, name, password, group })
            };
        let of = |sources: &[&str], name: &str, password: &str, group: Option<&str>| {
            under(7, sources, name, password, group)
        };
        let one = of(&["a", "b"], "ann", "secret", None);

        assert_eq!(one, of(&["a", "b"], "ann", "secret", None));
        for (other, why) in [
            (under(8, &["a", "b"], "ann", "secret", None), "other sources of the same names"),
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
            PasswordCache::new().digest(&PasswordCacheKey {
                generation: 7,
                sources: &["a".into(), "b".into()],
                name: "ann",
                password: &"secret".into(),
                group: None,
            }),
            "another process has another key"
        );
    }
}
