//! The keys of an issuer that has to be asked for them.
//!
//! The last good set is used until a newer one is had, at most `max_stale` long. It is fetched
//! anew before it is over, and once when a token names a key that is not in it: everybody who
//! waits for such a key waits for the same fetch, and made-up names cause one in 30 seconds at
//! the most. What could not be fetched is "not known" and never "wrong".

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::inquiry::{Inquiry, Unproved};
use super::jws::Compact;
use super::provider::{Provider, ProviderError, ProviderOptions, Published, SHOWN};
use super::verified::Refusal;
use crate::clock::Timestamp;
use crate::config::Issuer;
use crate::dialect::Reason;
use crate::secret::random;
use crate::token::KeySet;
use crate::trust::TrustError;

/// How long a set is good where its provider does not say, and whatever it says.
const LIFE: Duration = Duration::from_secs(600);
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Requests cause no more than one fetch in this time.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// After a first failure, doubled with each further one.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

const UNKNOWN: Refusal =
    Refusal { reason: Reason::Unavailable, cause: "the issuer's keys could not be fetched" };

/// An issuer's keys, as far as they are known.
#[derive(Debug)]
pub(super) struct Remote {
    name: Arc<str>,
    provider: Provider,
    max_stale: Duration,
    /// Written only by who holds `flight`.
    known: ArcSwap<Known>,
    flight: Semaphore,
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// The last good set, and when it was fetched.
    keys: KeySet,
    fetched: Option<Timestamp>,
    /// When it has to be fetched anew.
    due: Timestamp,
    /// When a request last had it fetched.
    asked: Option<Timestamp>,
    succeeded: u64,
    failed: u64,
    /// Failures since the last success.
    failures: u32,
    problem: Option<Arc<str>>,
}

/// An issuer that is asked, as operators see it.
#[derive(Clone, Debug)]
pub struct RemoteIssuer {
    pub name: Arc<str>,
    /// Whether it is asked about each of its tokens, and not for its keys.
    pub is_asked: bool,
    /// Fetches, or questions, so far.
    pub succeeded: u64,
    pub failed: u64,
    /// When the keys in use were fetched, or it last answered.
    pub fetched: Option<Timestamp>,
    /// What an operator should know of.
    pub problem: Option<String>,
}

/// Whether newer keys have come than a token was judged by.
#[derive(Clone, Debug)]
pub struct KeyInquiry {
    remote: Arc<Remote>,
    /// How many fetches there had been.
    seen: u64,
}

impl KeyInquiry {
    pub(super) async fn ask(self, now: Timestamp) {
        self.remote.ask(self.seen, now).await;
    }
}

impl Remote {
    /// Knows nothing yet.
    pub(super) fn new(issuer: &Issuer) -> Result<Self, TrustError> {
        Ok(Self {
            name: issuer.name.as_str().into(),
            provider: Provider::new(ProviderOptions::from(issuer))?,
            max_stale: issuer.max_stale,
            known: ArcSwap::default(),
            flight: Semaphore::new(1),
        })
    }

    /// Whether what is known here would be known of this issuer too.
    pub(super) fn serves(&self, issuer: &Issuer) -> bool {
        *self.name == *issuer.name
            && self.max_stale == issuer.max_stale
            && self.provider.options == ProviderOptions::from(issuer)
    }

    /// Proves a token's signature by the keys that are known; gives their epoch.
    pub(super) fn verify(
        self: &Arc<Self>,
        token: &Compact<'_>,
        now: Timestamp,
    ) -> Result<u64, Unproved> {
        let known = self.known.load();
        if !known.holds(now, self.max_stale) {
            return Err(self.unknown(&known, now, UNKNOWN));
        }
        let cause = match token.verify(&known.keys) {
            Ok(()) => return Ok(known.keys.epoch()),
            Err(cause) => cause,
        };
        let is_worth_asking = self.provider.options.algorithms.contains(&token.algorithm());
        if !is_worth_asking || !token.may_have_newer_key(&known.keys) {
            return Err(Refusal::invalid(cause).into());
        }
        // A provider that answered last has no such key, if it was asked for it just now.
        let refusal = if known.failures == 0 { Refusal::invalid(cause) } else { UNKNOWN };
        Err(self.unknown(&known, now, refusal))
    }

    /// A question, or `refusal` where it was asked just now.
    fn unknown(self: &Arc<Self>, known: &Known, now: Timestamp, refusal: Refusal) -> Unproved {
        if known.was_asked(now) {
            return refusal.into();
        }
        let seen = known.flights();
        Unproved::Ask(Inquiry::Keys(KeyInquiry { remote: self.clone(), seen }))
    }

    /// The epoch of the keys, `None` where they are not to be used any more.
    pub(super) fn epoch(&self, now: Timestamp) -> Option<u64> {
        let known = self.known.load();
        known.holds(now, self.max_stale).then(|| known.keys.epoch())
    }

    /// When the keys have to be fetched.
    pub(super) fn due(&self) -> Timestamp {
        self.known.load().due
    }

    /// Fetches the keys if it is time.
    pub(super) async fn refresh(&self, now: Timestamp) {
        let Ok(_flight) = self.flight.acquire().await else { return };
        if self.due() <= now {
            let known = self.fetch(now).await;
            self.known.store(Arc::new(known));
        }
    }

    /// Waits until a fetch has ended that had not when `seen` was counted.
    async fn ask(&self, seen: u64, now: Timestamp) {
        let Ok(_flight) = self.flight.acquire().await else { return };
        let mut known = (**self.known.load()).clone();
        // Who waited has the answer to another's question.
        if known.was_asked(now) {
            return;
        }
        if known.flights() == seen {
            known = self.fetch(now).await;
        }
        self.known.store(Arc::new(Known { asked: Some(now), ..known }));
    }

    /// What is known after a fetch.
    async fn fetch(&self, now: Timestamp) -> Known {
        let fetched = self.provider.fetch().await;
        let known = (**self.known.load()).clone();
        match fetched {
            Ok(published) => self.succeeded(known, published, now),
            Err(error) => self.failed(known, &error, now),
        }
    }

    fn succeeded(&self, last: Known, published: Published, now: Timestamp) -> Known {
        let Published { keys, remarks, life } = published;
        let keys = keys.after(&last.keys);
        if keys.epoch() != last.keys.epoch() {
            let (issuer, count) = (&self.name, keys.keys().len());
            tracing::info!(%issuer, count, "the issuer's keys are new");
            for remark in remarks {
                let key: String = remark.key.chars().take(SHOWN).collect();
                let remark = remark.remark;
                tracing::info!(%issuer, ?key, %remark, "a key of the issuer is not used");
            }
        } else if last.failures > 0 {
            tracing::info!(issuer = %self.name, "the issuer's keys can be fetched again");
        }
        Known {
            keys,
            fetched: Some(now),
            due: now.plus(jittered(good_for(life, self.max_stale))),
            succeeded: last.succeeded + 1,
            failures: 0,
            problem: None,
            ..last
        }
    }

    fn failed(&self, last: Known, error: &ProviderError, now: Timestamp) -> Known {
        let problem = error.to_string();
        tracing::warn!(issuer = %self.name, problem, "the issuer's keys could not be fetched");
        Known {
            due: now.plus(jittered(retry(last.failures))),
            failed: last.failed + 1,
            failures: last.failures.saturating_add(1),
            problem: Some(problem.into()),
            ..last
        }
    }

    /// What operators want to know.
    pub(super) fn told(&self, now: Timestamp) -> RemoteIssuer {
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
            is_asked: false,
            succeeded: known.succeeded,
            failed: known.failed,
            fetched: known.fetched,
            problem,
        }
    }
}

impl Known {
    /// Whether there is a set that may still be used.
    fn holds(&self, now: Timestamp, max_stale: Duration) -> bool {
        self.fetched.is_some_and(|at| now.since(at) <= max_stale)
    }

    /// Whether a request had the keys fetched just now. A clock that was set back is no reason
    /// to wait for it.
    fn was_asked(&self, now: Timestamp) -> bool {
        self.asked.is_some_and(|asked| now.since(asked).max(asked.since(now)) < ASK_AGAIN)
    }

    fn flights(&self) -> u64 {
        self.succeeded + self.failed
    }
}

/// How long a set is not fetched anew, by what its provider says.
fn good_for(life: Option<Duration>, max_stale: Duration) -> Duration {
    let life = life.unwrap_or(LIFE).clamp(SHORTEST_LIFE, LONGEST_LIFE);
    // Well before it is too old to be used.
    life.min(max_stale / 2)
}

/// How long is waited after so many failures in a row.
fn retry(failures: u32) -> Duration {
    RETRY.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_RETRY)
}

/// Up to a quarter less, so that many gateways do not ask at once.
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
