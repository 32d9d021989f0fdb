//! Reviews: sessions end when their users change.
//!
//! A review runs before the first connection is accepted, whenever a source reports that its users
//! may have changed, and after a reload, which may have removed an issuer. Each user is looked up
//! once, however many sessions they have, with as many look-ups in parallel as the source allows.
//!
//! A start does not wait forever: sessions that were not reviewed in time are refused with 503
//! until they are. A source that does not answer is waited for once, not once for each of its
//! users.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{StreamExt, iter};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout};

use super::LoginServices;
use crate::clock::Timestamp;
use crate::identity::{SessionId, Subject, UserId};
use crate::secret::Digest;
use crate::session::{RevocationTarget, Session, StoreError};
use crate::telemetry::audit::{AuditActor, AuditEvent};
use crate::users::{SourceError, UserRecord};

/// How long a review waits for failed look-ups of one source, all of its users together. Quick
/// refusals hardly count; a source that is silent costs one time-out.
const PATIENCE: Duration = Duration::from_secs(1);

/// Longer than the clocks of two servers differ; a waiting session's mark lasts that much longer
/// than its last access token.
const TOLERANCE: Duration = Duration::from_secs(300);

/// The result of a review. Sessions that are in none of the two sets were compared with their
/// users.
#[derive(Debug, Default)]
pub(crate) struct RevalidationReport {
    pub(crate) ended: usize,
    /// Sessions whose source could not be asked. They stay valid, and the caller reviews them
    /// again.
    pub(crate) left: HashSet<SessionId>,
    /// Sessions that there was no time for. Their tokens are refused with 503 until they are
    /// reviewed.
    pub(crate) late: HashSet<SessionId>,
}

/// Ends every session whose user is missing, disabled or changed since login: of all sessions, or
/// only of those in `only`.
///
/// Sessions whose source cannot be asked stay; their next refresh is answered with 503. With a
/// `budget`, the review stops after that time, and the sessions it did not reach are `late`.
///
/// # Errors
///
/// If the store could not be read or written. Sessions that could be ended have been ended all the
/// same.
pub(crate) async fn review_sessions(
    services: &LoginServices,
    only: Option<&HashSet<SessionId>>,
    budget: Option<Duration>,
    now: Timestamp,
) -> Result<RevalidationReport, StoreError> {
    let review = SessionRevalidation { services, now, outcome: Mutex::default() };
    let people = people(services, only, now).await?;
    let sessions = people.values().flatten().flat_map(|person| &person.sessions);
    review.outcome().undone = sessions.map(|session| (session.id, session.access_until)).collect();
    let asking = join_all(
        people.into_iter().map(|(source, people)| review.revalidate_source(source, people)),
    );
    match budget {
        Some(budget) => drop(timeout(budget, asking).await),
        None => drop(asking.await),
    }
    let mut outcome = std::mem::take(&mut *review.outcome());
    if let Some(error) = outcome.failed {
        return Err(error);
    }
    // After a time-out the remaining sessions are neither accepted nor revoked: their users may
    // have been disabled while the gateway was down. The background review goes on with them and
    // releases those that may live.
    for (late, access_until) in outcome.undone {
        services.store.revocations().hold(late, access_until.plus(TOLERANCE));
        outcome.reviewed.late.insert(late);
    }
    Ok(outcome.reviewed)
}

/// A user of a source, with the sessions that depend on that user.
struct SourceUser {
    id: UserId,
    name: String,
    sessions: Vec<SessionBrief>,
}

/// The part of a session that a review compares, as it was when the session began.
struct SessionBrief {
    id: SessionId,
    login: String,
    subject: Subject,
    version: Digest,
    access_until: Timestamp,
    /// For a session that began with a foreign token, whether the configuration still accepts it;
    /// `None` if the user source must be asked.
    exchange_still_allowed: Option<bool>,
}

/// All live sessions, grouped by source and user. Reads the store page by page, so that a large
/// store does not block other operations.
async fn people(
    services: &LoginServices,
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
            let exchange_still_allowed = services.exchange_still_allowed(&session, now);
            let key = (session.source, session.user_id, session.username);
            found.entry(key).or_default().push(SessionBrief {
                id: session.id,
                login: session.login,
                subject: session.subject,
                version: session.user_version,
                access_until: session.access_until,
                exchange_still_allowed,
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

/// A review in progress. Its outcome is shared by the look-ups that run in parallel.
struct SessionRevalidation<'a> {
    services: &'a LoginServices,
    now: Timestamp,
    outcome: Mutex<RevalidationOutcome>,
}

#[derive(Default)]
struct RevalidationOutcome {
    reviewed: RevalidationReport,
    /// Sessions that have not been reviewed yet, and when their last access token expires.
    undone: HashMap<SessionId, Timestamp>,
    failed: Option<StoreError>,
}

impl SessionRevalidation<'_> {
    /// Reviews the users of one source, with as many look-ups in parallel as the source allows.
    async fn revalidate_source(&self, source: String, people: Vec<SourceUser>) {
        let patience = Mutex::new(SourceBackoff::default());
        let source = source.as_str();
        let patience = &patience;
        let looked = iter(people).map(|person| self.revalidate(source, person, patience));
        let parallel = self.services.users.parallel(source);
        looked.buffer_unordered(parallel).for_each(|()| async {}).await;
    }

    async fn revalidate(&self, source: &str, person: SourceUser, patience: &Mutex<SourceBackoff>) {
        let is_asked =
            person.sessions.iter().any(|session| session.exchange_still_allowed.is_none());
        let user = if is_asked {
            if patience.lock().is_used_up(source) {
                return self.leave(&person);
            }
            let started = Instant::now();
            match self.services.users.find(source, &person.id, &person.name).await {
                Ok(user) => user,
                Err(error) => {
                    patience.lock().waited(source, started.elapsed(), &error);
                    return self.leave(&person);
                }
            }
        } else {
            None
        };
        // The sessions of a user may differ: some began before the user changed, some after, and
        // some with a foreign token. Each session is therefore compared by itself.
        for session in person.sessions {
            let same = user
                .as_ref()
                .is_some_and(|user| self.services.is_same(user, &session.subject, session.version));
            if session.exchange_still_allowed.unwrap_or(same) {
                self.services.store.revocations().release(&session.id);
            } else {
                self.end(&session).await;
            }
            self.outcome().undone.remove(&session.id);
        }
    }

    /// Ends a session. The revocation is in force in memory at once, even if it could not be
    /// written. The error is kept for the end of the review: one failed write must not keep the
    /// other sessions from being reviewed.
    async fn end(&self, session: &SessionBrief) {
        let LoginServices { store, streams, audit, .. } = self.services;
        let login = session.login.as_str();
        let actor = AuditActor { address: None, request_id: "-", login, operator: None };
        let event = AuditEvent::Revoked { session: session.id, cause: "the user changed" };
        audit.write(self.now, &actor, &event);
        let revoked = store.revoke(RevocationTarget::Session(session.id), self.now).await;
        streams.end(session.id);
        let mut outcome = self.outcome();
        outcome.failed = revoked.err().or(outcome.failed.take());
        outcome.reviewed.ended += 1;
    }

    /// The sessions of a user that could not be looked up are left for a later review. They are no
    /// longer `undone`, so they are not delayed: an outage of a source must not lock everybody
    /// out.
    fn leave(&self, person: &SourceUser) {
        let mut outcome = self.outcome();
        for session in &person.sessions {
            outcome.undone.remove(&session.id);
            outcome.reviewed.left.insert(session.id);
        }
    }

    fn outcome(&self) -> MutexGuard<'_, RevalidationOutcome> {
        self.outcome.lock()
    }
}

impl LoginServices {
    /// True if the user of `session` is the same as when the session began. Asks the source under
    /// the configuration in effect, which may be a later one than that of the caller.
    pub(super) async fn is_still_valid(
        &self,
        session: &Session,
        now: Timestamp,
    ) -> Result<bool, SourceError> {
        let in_effect = self.in_effect.get();
        in_effect.as_deref().unwrap_or(self).is_valid_here(session, now).await
    }

    async fn is_valid_here(&self, session: &Session, now: Timestamp) -> Result<bool, SourceError> {
        if let Some(still) = self.exchange_still_allowed(session, now) {
            return Ok(still);
        }
        let user = self.users.find(&session.source, &session.user_id, &session.username).await?;
        let was = session.user_version;
        Ok(user.is_some_and(|user| self.is_same(&user, &session.subject, was)))
    }

    /// True if the user has the same version and the same subject. The configuration may now say
    /// that the source's ids mean somebody else; then the subject differs, and the session must
    /// end.
    pub(super) fn is_same(&self, user: &UserRecord, subject: &Subject, version: Digest) -> bool {
        user.version == version && self.subject(user) == *subject
    }
}

/// The time that one review has waited for failed look-ups, by source. It bounds how long a silent
/// source can delay a review.
#[derive(Debug, Default)]
pub(super) struct SourceBackoff(HashMap<String, Duration>);

impl SourceBackoff {
    /// The answer of `source`; `None` if it failed, or if this review has waited long enough for
    /// it.
    pub(super) async fn run<T>(
        &mut self,
        source: &str,
        question: impl Future<Output = Result<T, SourceError>>,
    ) -> Option<T> {
        if self.is_used_up(source) {
            return None;
        }
        let started = Instant::now();
        match question.await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.waited(source, started.elapsed(), &error);
                None
            }
        }
    }

    fn is_used_up(&self, source: &str) -> bool {
        self.0.get(source).is_some_and(|waited| *waited >= PATIENCE)
    }

    fn waited(&mut self, source: &str, span: Duration, error: &SourceError) {
        // One warning for each source and review, not one for each user.
        if !self.0.contains_key(source) {
            tracing::warn!(%error, "users could not be compared with what they have open");
        }
        *self.0.entry(source.to_owned()).or_default() += span;
    }
}
