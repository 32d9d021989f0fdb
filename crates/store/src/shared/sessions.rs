//! Sessions in the shared store: stored, found, refreshed. How they end is in `session_ends`.
//!
//! A session is one record, and its id is a member of the group of its user.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::SharedStore;
use super::database::RecordKind;
use super::records::{Change, bounded};
use super::session_record::{AT_ONCE, EndedSession, PAGE, SessionRecord, session_id, session_key};
use crate::rotation::{self, RotationStep};
use crate::{
    OpaqueToken, RefreshRotation, RotationOutcome, SealedCredential, Session, SessionPage,
    StoreError,
};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{SessionId, Subject};
use tollhouse_core::secret::Digest;

/// Additional time for which a revocation is kept after the session's tokens expired, for clocks
/// and caches of other servers.
pub(super) const REVOCATION_MARGIN: Duration = Duration::from_secs(300);

/// Number of dead members of a group that one login removes.
const MOST_FORGOTTEN: usize = 64;
/// Longer than a session is on its way from its group to its record.
const ON_ITS_WAY: Duration = Duration::from_secs(60);

impl SharedStore {
    /// Stores a new session and ends the subject's oldest sessions beyond `limit`.
    pub(super) async fn put_session(
        &self,
        mut session: Session,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        let id = session.id;
        if self.revocations.session_revoked(&id) {
            return Ok(Vec::new());
        }
        session.user_version = self
            .latest_version(&session.source, &session.user_id, session.user_version, now)
            .await?;
        // The groups come first: a session that no group has could not be ended by its user.
        self.join_groups(&session, now).await?;
        let stored = self.records.update(session_key(id), now, |current, at| match current {
            // A session that was ended before it is stored must not come back.
            Some(SessionRecord::Ended(_)) => (false, Change::Keep),
            Some(SessionRecord::Live(_)) | None => (true, self.live(session.clone(), at)),
        });
        if !stored.await? {
            return Ok(Vec::new());
        }
        self.end_oldest(&session, limit, now).await
    }

    /// Adds a session that is about to be stored to the groups by which it is found.
    pub(super) async fn join_groups(
        &self,
        session: &Session,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let keep = bounded(self.outlived_from(session.expires, session).since(now));
        let database = &self.records.database;
        let member = session.id.0.as_bytes().as_slice();
        self.records.step(database.join(self.user_group(&session.subject), member, keep)).await?;
        if let Some(token) = session.traded {
            self.records.step(database.join(self.token_group(token), member, keep)).await?;
        }
        for token in &session.tokens {
            self.join_token(session.id, token, now).await?;
        }
        Ok(())
    }

    async fn end_oldest(
        &self,
        newest: &Session,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        let members = self.members_of(&newest.subject).await?;
        if members.len() <= limit.get() {
            return Ok(Vec::new());
        }
        // Only now are the records read: sessions that have ended do not count.
        let mut live = self.find_all(members.clone(), now).await?;
        self.forget_members(&newest.subject, &members, &live).await;
        live.retain(|session| session.realm == newest.realm);
        let excess = live.len().saturating_sub(limit.get());
        let oldest = live.iter().map(|session| session.id).filter(|id| *id != newest.id);
        self.end_and_publish(oldest.take(excess).collect(), now).await
    }

    /// Takes members out of a user's group whose session is neither live nor just being stored, a
    /// bounded number at a time: the client waits.
    async fn forget_members(&self, subject: &Subject, members: &[SessionId], live: &[Session]) {
        let group = self.user_group(subject);
        let dead = members.iter().filter(|id| live.iter().all(|session| session.id != **id));
        let dead: Vec<SessionId> = dead.copied().take(MOST_FORGOTTEN).collect();
        let leaving = stream::iter(dead.into_iter().map(|id| async move {
            let record = self.records.read(session_key(id), Timestamp::default()).await;
            let is_over = match record {
                Ok((Some(SessionRecord::Ended(until)), _)) => {
                    self.note_end(id, until);
                    true
                }
                // A session joins its group before it is stored. One without a record may still be
                // on its way, but not for long; its id says when it began.
                Ok((None, _)) => {
                    let now = self.clock.now();
                    id.began().is_none_or(|began| began.plus(ON_ITS_WAY) < now)
                }
                _ => false,
            };
            if is_over {
                // A member that stays costs one read more later.
                let leaving = self.records.database.leave(group, id.0.as_bytes());
                let _ = self.records.slow_step(leaving).await;
            }
        }));
        leaving.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }

    /// The session, if it exists, has not ended and is not revoked.
    pub(super) async fn find_session(
        &self,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        let (record, at) = self.records.read(session_key(id), now).await?;
        Ok(self.if_live(id, record, at))
    }

    /// The session if it is live. An end that this node does not know yet is noted: the node that
    /// wrote it may have been cut off before it notified the others.
    fn if_live(
        &self,
        id: SessionId,
        record: Option<SessionRecord>,
        at: Timestamp,
    ) -> Option<Session> {
        match record {
            Some(SessionRecord::Live(session))
                if session.ends() > at && !self.revocations.session_revoked(&session.id) =>
            {
                Some(*session)
            }
            Some(SessionRecord::Ended(until)) => {
                self.note_end(id, until);
                None
            }
            _ => None,
        }
    }

    /// Makes an end effective here, and has all nodes notified of it, unless it was known.
    pub(super) fn note_end(&self, id: SessionId, until: Timestamp) {
        if !self.revocations.session_revoked(&id) {
            self.revocations.revoke_session(id, until);
            self.look_again_at(id);
        }
    }

    async fn find_all(
        &self,
        ids: Vec<SessionId>,
        now: Timestamp,
    ) -> Result<Vec<Session>, StoreError> {
        let found = stream::iter(ids.into_iter().map(|id| self.find_session(id, now)));
        let found: Vec<Option<Session>> = found.buffered(AT_ONCE).try_collect().await?;
        let mut live: Vec<Session> = found.into_iter().flatten().collect();
        live.sort_by_key(|session| (session.created, session.id));
        Ok(live)
    }

    /// Live sessions, oldest first, at most `limit`.
    pub(super) async fn list_sessions(
        &self,
        subject: Option<&Subject>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Session>, StoreError> {
        if let Some(subject) = subject {
            let mut live = self.find_all(self.members_of(subject).await?, now).await?;
            live.truncate(limit);
            return Ok(live);
        }
        let mut live = Vec::new();
        let mut after = None;
        while live.len() < limit {
            let page = self.page_of_sessions(after, now).await?;
            live.extend(page.sessions);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        live.truncate(limit);
        Ok(live)
    }

    /// The live sessions among the next `PAGE` records after `after`.
    pub(super) async fn page_of_sessions(
        &self,
        after: Option<SessionId>,
        now: Timestamp,
    ) -> Result<SessionPage, StoreError> {
        let after = after.map(|id| *id.0.as_bytes());
        let after = after.as_ref().map(<[u8; 16]>::as_slice);
        let walk = self.records.database.walk(RecordKind::Session, after, PAGE);
        let rows = self.records.slow_step(walk).await?;
        let is_last = rows.len() < PAGE;
        let next = rows.last().and_then(|(id, _)| session_id(id)).filter(|_| !is_last);
        let at = self.records.now(now).await?;
        let mut sessions = Vec::new();
        let mut unreadable: usize = 0;
        for (bytes, record) in rows {
            let Some(id) = session_id(&bytes) else { continue };
            // One record that cannot be read must not hide all others from a review.
            match self.records.open(&session_key(id), &record) {
                Ok(record) => sessions.extend(self.if_live(id, record, at)),
                Err(_) => unreadable = unreadable.saturating_add(1),
            }
        }
        if unreadable > 0 {
            tracing::warn!(sessions = unreadable, "sessions in the shared store cannot be read");
        }
        Ok(SessionPage { sessions, next })
    }

    /// Rotates the session's refresh token, or says why it is not rotated.
    pub(super) async fn rotate_session(
        &self,
        id: SessionId,
        rotation: &RefreshRotation,
        now: Timestamp,
    ) -> Result<RotationOutcome, StoreError> {
        if let Some(issued) = &rotation.issued {
            self.join_token(id, issued, now).await?;
        }
        let rotated = self.records.update(session_key(id), now, |record, at| {
            let Some(session) = self.if_live(id, record, at) else {
                return (RotationOutcome::Gone, Change::Keep);
            };
            self.decide_rotation(session, rotation, at)
        });
        let outcome = rotated.await?;
        if let RotationOutcome::Reuse(session) = &outcome {
            let until = self.revoked_until(session);
            self.publish_ends(vec![EndedSession::new(session, until)], now).await?;
        }
        Ok(outcome)
    }

    fn decide_rotation(
        &self,
        mut session: Session,
        rotation: &RefreshRotation,
        at: Timestamp,
    ) -> (RotationOutcome, Change<SessionRecord>) {
        let Some(generation) = session.refresh.clone() else {
            return (RotationOutcome::Unknown, Change::Keep);
        };
        let step = rotation::next_step(&generation, rotation, at);
        let is_longer = rotation.access_until > session.access_until;
        let is_changed = is_longer || rotation.issued.is_some();
        match step {
            RotationStep::Rotate => {
                session.refresh = Some(rotation::successor(&generation, rotation, at));
                session.last_used = session.last_used.max(at);
                note_access(&mut session, rotation.access_until, rotation.issued);
                let change = self.live(session.clone(), at);
                (RotationOutcome::Rotated(Box::new(session)), change)
            }
            // A repeated refresh does not count as use. Else a client with a stolen, retired token
            // could keep an idle session alive.
            RotationStep::Grace => {
                session.refresh = Some(rotation::repeated(&generation, at));
                note_access(&mut session, rotation.access_until, rotation.issued);
                let change = self.live(session.clone(), at);
                (RotationOutcome::Grace(Box::new(session)), change)
            }
            RotationStep::Fresh => {
                note_access(&mut session, rotation.access_until, rotation.issued);
                let change = if is_changed { self.live(session.clone(), at) } else { Change::Keep };
                (RotationOutcome::Fresh(Box::new(session)), change)
            }
            RotationStep::Reuse => {
                let change = self.ended(&session, at);
                (RotationOutcome::Reuse(Box::new(session)), change)
            }
            RotationStep::Unnamed | RotationStep::Unknown => {
                (RotationOutcome::Unknown, Change::Keep)
            }
        }
    }

    /// Records a refresh without rotation.
    pub(super) async fn renew_session(
        &self,
        id: SessionId,
        presented: Option<Digest>,
        access_until: Timestamp,
        issued: Option<OpaqueToken>,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        if let Some(issued) = &issued {
            self.join_token(id, issued, now).await?;
        }
        let renewed = self.records.update(session_key(id), now, |record, at| {
            let Some(mut session) = self.if_live(id, record, at) else {
                return (None, Change::Keep);
            };
            let working = session.refresh.as_ref().map(|generation| generation.current);
            if presented.is_some() && presented != working {
                return (None, Change::Keep);
            }
            session.last_used = session.last_used.max(at);
            note_access(&mut session, access_until, issued);
            let change = self.live(session.clone(), at);
            (Some(session), change)
        });
        renewed.await
    }

    /// Replaces the credential that is kept with a live session.
    pub(super) async fn keep_session_credential(
        &self,
        id: SessionId,
        credential: SealedCredential,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let kept = self.records.update(session_key(id), now, |record, at| {
            let Some(mut session) = self.if_live(id, record, at) else {
                return (false, Change::Keep);
            };
            session.kept = Some(credential.clone());
            (true, self.live(session, at))
        });
        kept.await
    }

    pub(super) async fn move_session_token(
        &self,
        id: SessionId,
        token: Digest,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        let moved = self.records.update(session_key(id), now, |record, at| {
            let Some(mut session) = self.if_live(id, record, at) else {
                return (None, Change::Keep);
            };
            if !session.move_token(&token, until, at) {
                return (None, Change::Keep);
            }
            let access_until = until.min(session.expires);
            note_access(&mut session, access_until, None);
            let change = self.live(session.clone(), at);
            (Some(session), change)
        });
        moved.await
    }

    pub(super) async fn members_of(&self, subject: &Subject) -> Result<Vec<SessionId>, StoreError> {
        let group = self.user_group(subject);
        let members = self.records.step(self.records.database.members(group)).await?;
        Ok(members.iter().filter_map(|id| session_id(id)).collect())
    }

    pub(super) fn user_group(&self, subject: &Subject) -> Digest {
        self.records.seal.name(&[b"sessions of", subject.as_str().as_bytes()])
    }

    pub(super) fn token_group(&self, token: Digest) -> Digest {
        self.records.seal.name(&[b"sessions for", &token.0])
    }

    /// The change that stores a live session.
    pub(super) fn live(&self, session: Session, at: Timestamp) -> Change<SessionRecord> {
        let keep = self.outlived_from(session.ends(), &session).since(at);
        Change::Write(SessionRecord::Live(Box::new(session)), Some(keep))
    }

    /// The change that makes the end of a session final.
    pub(super) fn ended(&self, session: &Session, at: Timestamp) -> Change<SessionRecord> {
        let until = self.revoked_until(session);
        // Refresh tokens may live longer than the record, but a session without one is gone, too.
        Change::Write(SessionRecord::Ended(until), Some(until.since(at)))
    }

    /// Until when a revocation of this session must be kept: as long as one of its access tokens
    /// could be accepted.
    pub(super) fn revoked_until(&self, session: &Session) -> Timestamp {
        session.access_until.plus(self.leeway()).plus(REVOCATION_MARGIN)
    }

    /// Until when a session that is not known here must be refused, so that no access token of it
    /// is accepted.
    pub(super) fn revoked_until_at_most(&self, now: Timestamp) -> Timestamp {
        now.plus(self.longest_access()).plus(self.leeway()).plus(REVOCATION_MARGIN)
    }

    /// From when on the record is of no use. It is kept beyond the session's end while an access
    /// token of the session may still have to be revoked.
    fn outlived_from(&self, end: Timestamp, session: &Session) -> Timestamp {
        end.max(session.access_until).plus(self.leeway()).plus(REVOCATION_MARGIN)
    }
}

/// Notes that an access token valid until `until` is issued, and which one, where it is opaque.
fn note_access(session: &mut Session, until: Timestamp, issued: Option<OpaqueToken>) {
    session.access_until = session.access_until.max(until);
    if let Some(issued) = issued {
        session.add_token(issued);
    }
}
