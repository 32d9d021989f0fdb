//! The keys of an issuer that publishes them, fetched and cached in the background.
//!
//! The last good set is used until a newer one was fetched, at most for `max_stale`. It is fetched
//! again before its lifetime ends, and when a token names a key that the set does not have. All
//! requests that wait for a new key share one fetch. Invented key names cause at most one fetch in
//! 30 seconds. Keys that could not be fetched make the answer 503, never "invalid". `external_issuer`
//! calls `verify`, the background task of `gateway` calls `refresh`.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::discovery::{KeyProvider, ProviderError, ProviderOptions, PublishedKeys, SHOWN};
use super::jws::CompactJws;
use super::verified::TokenError;
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::secret::random;
use crate::settings::IssuerSettings;
use crate::tls_roots::TrustError;
use crate::token::KeySet;

/// Lifetime of a set if the provider states none, and the bounds of a stated one.
const LIFE: Duration = Duration::from_secs(600);
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Shortest time between two fetches that requests cause.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Delay after a first failure. It doubles with each further failure, up to the longest.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

const UNKNOWN: TokenError =
    TokenError { reason: Reason::Unavailable, cause: "the issuer's keys could not be fetched" };

/// The state of an issuer's keys.
#[derive(Debug)]
pub(super) struct JwksCache {
    name: Arc<str>,
    provider: KeyProvider,
    max_stale: Duration,
    /// Written only while a permit of `flight` is taken, so that no update is lost.
    known: ArcSwap<CachedKeys>,
    flight: Semaphore,
}

/// A snapshot of the state. Workers read it without a lock.
#[derive(Clone, Debug, Default)]
struct CachedKeys {
    /// The last good set, and the time at which it was fetched.
    keys: KeySet,
    fetched: Option<Timestamp>,
    /// The time of the next scheduled fetch.
    due: Timestamp,
    /// The time of the last fetch that a request caused.
    requested: Option<Timestamp>,
    succeeded: u64,
    failed: u64,
    /// Failures since the last success.
    failures: u32,
    problem: Option<Arc<str>>,
}

/// The state of a remote issuer, for operators.
#[derive(Clone, Debug)]
pub struct RemoteIssuer {
    pub name: Arc<str>,
    /// True if the issuer is asked about each token; false if only its keys are fetched.
    pub is_opaque: bool,
    /// Successful fetches of keys, or answered lookups.
    pub succeeded: u64,
    pub failed: u64,
    /// The time at which the keys in use were fetched, or of the last answered lookup.
    pub fetched: Option<Timestamp>,
    /// A sentence about a problem that needs attention, if there is one.
    pub problem: Option<String>,
}

/// The question whether the issuer has newer keys than those that a token was checked with.
#[derive(Clone, Debug)]
pub struct KeyRefresh {
    remote: Arc<JwksCache>,
    /// The number of fetches at the time of that check.
    seen: u64,
}

/// The reasons for which keys do not verify a token.
#[derive(Clone, Debug)]
pub(super) enum KeyError {
    Rejected(TokenError),
    /// The issuer may have newer keys, which must be fetched first.
    NeedsRefresh(KeyRefresh),
}

impl From<TokenError> for KeyError {
    fn from(refusal: TokenError) -> Self {
        Self::Rejected(refusal)
    }
}

impl KeyRefresh {
    pub(super) fn issuer(&self) -> &Arc<str> {
        &self.remote.name
    }

    pub(super) async fn run(self, now: Timestamp) {
        self.remote.refresh_since(self.seen, now).await;
    }
}

impl JwksCache {
    /// Creates the state for an issuer, without keys.
    pub(super) fn new(issuer: &IssuerSettings) -> Result<Self, TrustError> {
        Ok(Self {
            name: issuer.name.as_str().into(),
            provider: KeyProvider::new(ProviderOptions::from(issuer))?,
            max_stale: issuer.max_stale,
            known: ArcSwap::default(),
            flight: Semaphore::new(1),
        })
    }

    /// True if the state is still valid for `issuer`, so that a reload can keep it.
    pub(super) fn serves(&self, issuer: &IssuerSettings) -> bool {
        *self.name == *issuer.name
            && self.max_stale == issuer.max_stale
            && self.provider.options == ProviderOptions::from(issuer)
    }

    /// Verifies a token's signature with the known keys. Returns their epoch.
    ///
    /// # Errors
    /// A wrong signature is a refusal. If the keys are missing or too old, or could be newer at the
    /// issuer, the error is a request for newer keys.
    pub(super) fn verify(
        self: &Arc<Self>,
        token: &CompactJws<'_>,
        now: Timestamp,
    ) -> Result<u64, KeyError> {
        let known = self.known.load();
        if !known.holds(now, self.max_stale) {
            return Err(self.unknown(&known, now, UNKNOWN));
        }
        let cause = match token.verify(&known.keys) {
            Ok(()) => return Ok(known.keys.epoch()),
            Err(cause) => cause,
        };
        // A fetch is worth its cost only if a new key could verify the token. A token with an
        // algorithm that the issuer is not configured for would be refused with every key.
        let is_worth_asking = self.provider.options.algorithms.contains(&token.algorithm());
        if !is_worth_asking || !token.may_have_newer_key(&known.keys) {
            return Err(TokenError::invalid(cause).into());
        }
        // After a successful fetch just now, an unknown key is the token's fault. After a failed
        // fetch, the new key may exist, so the answer is 503.
        let refusal = if known.failures == 0 { TokenError::invalid(cause) } else { UNKNOWN };
        Err(self.unknown(&known, now, refusal))
    }

    /// A lookup of newer keys, or `refusal` if requests caused a fetch just now. Without the limit,
    /// invented key names would make the gateway flood the issuer.
    fn unknown(
        self: &Arc<Self>,
        known: &CachedKeys,
        now: Timestamp,
        refusal: TokenError,
    ) -> KeyError {
        if known.was_asked(now) {
            return refusal.into();
        }
        let seen = known.flights();
        KeyError::NeedsRefresh(KeyRefresh { remote: self.clone(), seen })
    }

    /// The epoch of the keys; `None` if they are too old to be used. With `None`, cached tokens of
    /// the issuer are not used either: a cached token must not outlive the keys that verified it.
    pub(super) fn epoch(&self, now: Timestamp) -> Option<u64> {
        let known = self.known.load();
        known.holds(now, self.max_stale).then(|| known.keys.epoch())
    }

    /// The time of the next scheduled fetch.
    pub(super) fn due(&self) -> Timestamp {
        self.known.load().due
    }

    /// Fetches the keys if a scheduled fetch is due. The time is checked after the permit was
    /// acquired: if a request fetched the keys meanwhile, then nothing is due.
    pub(super) async fn refresh(&self, now: Timestamp) {
        let Ok(_flight) = self.flight.acquire().await else { return };
        if self.due() <= now {
            let known = self.fetch(now).await;
            self.known.store(Arc::new(known));
        }
    }

    /// Waits for a fetch that ends after `seen` fetches were counted; does the fetch if nobody else
    /// did.
    async fn refresh_since(&self, seen: u64, now: Timestamp) {
        let Ok(_flight) = self.flight.acquire().await else { return };
        let mut known = (**self.known.load()).clone();
        // Several requests can wait for the permit. The first one fetches; the others find its
        // result here and return without a fetch of their own. Otherwise a burst of tokens with a
        // new key would cause a burst of fetches.
        if known.was_asked(now) {
            return;
        }
        // If the count has grown, then a scheduled fetch ended after the token was checked. Its
        // keys are as new as a fetch now would bring, so the fetch is skipped.
        if known.flights() == seen {
            known = self.fetch(now).await;
        }
        self.known.store(Arc::new(CachedKeys { requested: Some(now), ..known }));
    }

    /// Fetches the keys and returns the state after it.
    async fn fetch(&self, now: Timestamp) -> CachedKeys {
        let fetched = self.provider.fetch().await;
        let known = (**self.known.load()).clone();
        match fetched {
            Ok(published) => self.succeeded(known, published, now),
            Err(error) => self.failed(known, &error, now),
        }
    }

    /// The state after a successful fetch.
    fn succeeded(&self, last: CachedKeys, published: PublishedKeys, now: Timestamp) -> CachedKeys {
        let PublishedKeys { keys, remarks, life } = published;
        let keys = keys.after(&last.keys);
        if keys.epoch() != last.keys.epoch() {
            let issuer = &self.name;
            let count = keys.keys().len();
            tracing::info!(%issuer, count, "the issuer's keys are new");
            for remark in remarks {
                let key: String = remark.key.chars().take(SHOWN).collect();
                let remark = remark.remark;
                tracing::info!(%issuer, ?key, %remark, "a key of the issuer is not used");
            }
        } else if last.failures > 0 {
            tracing::info!(issuer = %self.name, "the issuer's keys can be fetched again");
        }
        CachedKeys {
            keys,
            fetched: Some(now),
            due: now.plus(jittered(good_for(life, self.max_stale))),
            succeeded: last.succeeded + 1,
            failures: 0,
            problem: None,
            ..last
        }
    }

    /// The state after a failed fetch. The last good set stays in use. The next attempt comes
    /// sooner than after a success, with growing delays, and `max_stale` keeps running.
    fn failed(&self, last: CachedKeys, error: &ProviderError, now: Timestamp) -> CachedKeys {
        let problem = error.to_string();
        tracing::warn!(issuer = %self.name, problem, "the issuer's keys could not be fetched");
        CachedKeys {
            due: now.plus(jittered(retry(last.failures))),
            failed: last.failed + 1,
            failures: last.failures.saturating_add(1),
            problem: Some(problem.into()),
            ..last
        }
    }

    /// The state of the issuer for operators.
    pub(super) fn status(&self, now: Timestamp) -> RemoteIssuer {
        let known = self.known.load();
        let in_use = known.holds(now, self.max_stale);
        let problem = match (&known.problem, known.fetched) {
            (None, Some(_)) if in_use => None,
            (problem, fetched) => {
                let since = match fetched {
                    Some(at) if in_use => format!("its keys are those of {at}"),
                    Some(at) => format!("its keys of {at} are too old to be used"),
                    None => "its keys were never fetched".to_owned(),
                };
                let why = problem.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
                Some(format!("issuer `{}`: {since}{why}", self.name))
            }
        };
        RemoteIssuer {
            name: self.name.clone(),
            is_opaque: false,
            succeeded: known.succeeded,
            failed: known.failed,
            fetched: known.fetched,
            problem,
        }
    }
}

impl CachedKeys {
    /// True if there is a set that may still be used.
    fn holds(&self, now: Timestamp, max_stale: Duration) -> bool {
        self.fetched.is_some_and(|at| now.since(at) <= max_stale)
    }

    /// True if a request caused a fetch within `ASK_AGAIN`. The difference of times is taken in
    /// both directions: a clock that was set back must not block fetches until it catches up.
    fn was_asked(&self, now: Timestamp) -> bool {
        self.requested
            .is_some_and(|requested| now.since(requested).max(requested.since(now)) < ASK_AGAIN)
    }

    /// The number of fetches so far, failed ones included.
    fn flights(&self) -> u64 {
        self.succeeded + self.failed
    }
}

/// How long a set is used before it is fetched again. The issuer's value is clamped: a very short
/// one must not cause constant fetching, a very long one must not keep withdrawn keys.
fn good_for(life: Option<Duration>, max_stale: Duration) -> Duration {
    let life = life.unwrap_or(LIFE).clamp(SHORTEST_LIFE, LONGEST_LIFE);
    // Half of `max_stale` leaves time for repeated attempts before the set becomes too old.
    life.min(max_stale / 2)
}

/// The delay before the next attempt, after `failures` failures in a row.
fn retry(failures: u32) -> Duration {
    RETRY.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_RETRY)
}

/// The delay less a random part of up to a quarter, so that many gateways do not fetch at the same
/// moment.
fn jittered(wait: Duration) -> Duration {
    let [part] = random::<1>();
    wait - wait / 4 * u32::from(part) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_good_for_as_long_as_its_provider_says_within_bounds() {
        let secs = Duration::from_secs;
        let day = secs(86_400);
        for (life, max_stale, expected, why) in [
            (None, day, secs(600), "nothing is said"),
            (Some(secs(300)), day, secs(300), "said"),
            (Some(secs(0)), day, secs(60), "not often"),
            (Some(day * 30), day * 30, day, "not seldom"),
            (Some(day), day, day / 2, "before it is too old to be used"),
            (Some(Duration::MAX), day * 30, day, "for ever"),
        ] {
            assert_eq!(good_for(life, max_stale), expected, "{why}");
        }
    }

    #[test]
    fn retries_become_rarer_up_to_a_bound() {
        let waits: Vec<u64> = (0..8).map(|failures| retry(failures).as_secs()).collect();

        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(retry(u32::MAX), LONGEST_RETRY);
    }

    #[test]
    fn jitter_takes_a_quarter_at_most() {
        for _ in 0..1000 {
            let wait = jittered(LIFE);
            assert!((LIFE * 3 / 4..=LIFE).contains(&wait), "{wait:?}");
        }
    }
}
