//! Sessions end when their users change.
//!
//! Looked at before the first connection is accepted, whenever a source says that its users may
//! have changed, and after a reload, which may not know their issuer any more. Each user is asked
//! about once, however many sessions they have, and as many at once as the source takes. A start
//! does not wait for ever: sessions that were not reached by then are refused (503) until they are.
//! A source that does not answer is not waited for once for every one of its users.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{StreamExt, iter};
use tokio::time::{Instant, timeout};

use super::Services;
use crate::clock::Timestamp;
use crate::identity::{SessionId, Subject, UserId};
use crate::secret::Digest;
use crate::session::{Revoke, Session, StoreError};
use crate::telemetry::audit::{Actor, AuditEvent};
use crate::users::{SourceError, User};

/// How long a review waits for a source that has no answers, all its users together: refusals of
/// some of them cost nothing, silence costs one time-out.
const PATIENCE: Duration = Duration::from_secs(1);

/// More than clocks may differ by.
const TOLERANCE: Duration = Duration::from_secs(300);

/// What came of a review.
#[derive(Debug, Default)]
pub(crate) struct Reviewed {
    pub(crate) ended: usize,
    /// Sessions whose source could not be asked; to be looked at again.
    pub(crate) left: HashSet<SessionId>,
    /// Sessions that there was no time for; refused until they have been looked at.
    pub(crate) late: HashSet<SessionId>,
}

/// Ends every session whose user is gone, disabled or not as they were at login: of all, or of
/// `only` those. Sessions whose source cannot be asked stay: their next refresh is answered 503.
/// Where there is a `budget`, what is not done by then is late.
///
/// # Errors
/// When the store could not be asked, or not write; what could be ended has been.
pub(crate) async fn review_sessions(
    services: &Services,
    only: Option<&HashSet<SessionId>>,
    budget: Option<Duration>,
    now: Timestamp,
) -> Result<Reviewed, StoreError> {
    let review = SessionReview { services, now, outcome: Mutex::default() };
    let people = people(services, only, now).await?;
    let sessions = people.values().flatten().flat_map(|person| &person.sessions);
    review.outcome().undone = sessions.map(|session| (session.id, session.access_until)).collect();
    let asking = join_all(people.into_iter().map(|(source, people)| review.ask(source, people)));
    match budget {
        Some(budget) => drop(timeout(budget, asking).await),
        None => drop(asking.await),
    }
    let mut outcome = std::mem::take(&mut *review.outcome());
    if let Some(error) = outcome.failed {
        return Err(error);
    }
    for (late, access_until) in outcome.undone {
        services.store.revocations().hold(late, access_until.plus(TOLERANCE));
        outcome.reviewed.late.insert(late);
    }
    Ok(outcome.reviewed)
}

/// A user of a source, and what a review needs to know of each of their sessions.
struct SourceUser {
    id: UserId,
    name: String,
    sessions: Vec<SessionBrief>,
}

/// What was so when a session began.
struct SessionBrief {
    id: SessionId,
    login: String,
    subject: Subject,
    version: Digest,
    access_until: Timestamp,
    /// Whether a session that began with a foreign token may go on; `None` where somebody has to
    /// be asked.
    still_trades: Option<bool>,
}

/// Whose sessions there are, by source.
async fn people(
    services: &Services,
    only: Option<&HashSet<SessionId>>,
    now: Timestamp,
) -> Result<HashMap<String, Vec<SourceUser>>, StoreError> {
    let mut found: HashMap<(String, UserId, String), Vec<SessionBrief>> = HashMap::new();
    let mut after = None;
    loop {
        let page = services.store.page(after, now).await?;
        for session in page.sessions {
            if only.is_some_and(|only| !only.contains(&session.id)) {
                continue;
            }
            let still_trades = services.still_trades(&session, now);
            let key = (session.source, session.user_id, session.username);
            found.entry(key).or_default().push(SessionBrief {
                id: session.id,
                login: session.login,
                subject: session.subject,
                version: session.user_version,
                access_until: session.access_until,
                still_trades,
            });
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut people: HashMap<String, Vec<SourceUser>> = HashMap::new();
    for ((source, id, name), sessions) in found {
        people.entry(source).or_default().push(SourceUser { id, name, sessions });
    }
    Ok(people)
}

/// A review that goes on.
struct SessionReview<'a> {
    services: &'a Services,
    now: Timestamp,
    outcome: Mutex<ReviewOutcome>,
}

#[derive(Default)]
struct ReviewOutcome {
    reviewed: Reviewed,
    /// Sessions that nothing is known of yet, and when their last access tokens expire.
    undone: HashMap<SessionId, Timestamp>,
    failed: Option<StoreError>,
}

impl SessionReview<'_> {
    /// Asks a source about its users, as many at once as it takes.
    async fn ask(&self, source: String, people: Vec<SourceUser>) {
        let patience = Mutex::new(Patience::default());
        let (source, patience) = (source.as_str(), &patience);
        let looked = iter(people).map(|person| self.look_at(source, person, patience));
        let parallel = self.services.users.parallel(source);
        looked.buffer_unordered(parallel).for_each(|()| async {}).await;
    }

    async fn look_at(&self, source: &str, person: SourceUser, patience: &Mutex<Patience>) {
        let is_asked = person.sessions.iter().any(|session| session.still_trades.is_none());
        let user = if is_asked {
            if lock(patience).is_over(source) {
                return self.leave(&person);
            }
            let asked = Instant::now();
            match self.services.users.find(source, &person.id, &person.name).await {
                Ok(user) => user,
                Err(error) => {
                    lock(patience).waited(source, asked.elapsed(), &error);
                    return self.leave(&person);
                }
            }
        } else {
            None
        };
        for session in person.sessions {
            let same = user.as_ref().is_some_and(|user| {
                self.services.is_same(user, (&session.subject, session.version))
            });
            if session.still_trades.unwrap_or(same) {
                self.services.store.revocations().release(&session.id);
            } else {
                self.end(&session).await;
            }
            self.outcome().undone.remove(&session.id);
        }
    }

    /// In force at once, even where it could not be written: the others must not wait for it.
    async fn end(&self, session: &SessionBrief) {
        let Services { store, streams, audit, .. } = self.services;
        let actor = Actor { address: None, request_id: "-", login: &session.login };
        let event = AuditEvent::Revoked { session: session.id, cause: "the user changed" };
        audit.write(self.now, &actor, &event);
        let revoked = store.revoke(Revoke::Session(session.id), self.now).await;
        streams.end(session.id);
        let mut outcome = self.outcome();
        outcome.failed = revoked.err().or(outcome.failed.take());
        outcome.reviewed.ended += 1;
    }

    fn leave(&self, person: &SourceUser) {
        let mut outcome = self.outcome();
        for session in &person.sessions {
            outcome.undone.remove(&session.id);
            outcome.reviewed.left.insert(session.id);
        }
    }

    fn outcome(&self) -> MutexGuard<'_, ReviewOutcome> {
        lock(&self.outcome)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Services {
    /// Whether the user of `session` still is who they were when it began.
    pub(super) async fn still_is(
        &self,
        session: &Session,
        now: Timestamp,
    ) -> Result<bool, SourceError> {
        if let Some(still) = self.still_trades(session, now) {
            return Ok(still);
        }
        let user = self.users.find(&session.source, &session.user_id, &session.username).await?;
        let was = (&session.subject, session.user_version);
        Ok(user.is_some_and(|user| self.is_same(&user, was)))
    }

    /// Whether a user is as they were. What a source's ids are worth may be configured otherwise
    /// by now: then the user is somebody else to everybody but the source.
    fn is_same(&self, user: &User, (subject, version): (&Subject, Digest)) -> bool {
        user.version == version && self.subject(user) == *subject
    }
}

/// How long one review has waited in vain, for each source.
#[derive(Debug, Default)]
pub(super) struct Patience(HashMap<String, Duration>);

impl Patience {
    /// What `source` says; `None` where it cannot say, or has used up this review's patience.
    pub(super) async fn ask<T>(
        &mut self,
        source: &str,
        question: impl Future<Output = Result<T, SourceError>>,
    ) -> Option<T> {
        if self.is_over(source) {
            return None;
        }
        let asked = Instant::now();
        match question.await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.waited(source, asked.elapsed(), &error);
                None
            }
        }
    }

    fn is_over(&self, source: &str) -> bool {
        self.0.get(source).is_some_and(|waited| *waited >= PATIENCE)
    }

    fn waited(&mut self, source: &str, span: Duration, error: &SourceError) {
        if !self.0.contains_key(source) {
            tracing::warn!(%error, "users could not be compared with what they have open");
        }
        *self.0.entry(source.to_owned()).or_default() += span;
    }
}
