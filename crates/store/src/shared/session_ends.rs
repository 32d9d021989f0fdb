//! How sessions end in the shared store, for every node.
//!
//! When a session ends, its record says so until the last access token of the session has expired,
//! and the feed tells every node. The order matters: first the record, which makes the end final
//! for refreshes; then the feed, which makes access tokens worthless; then the caller is answered.
//! An operation that is cut off between the two was not acknowledged, and its repetition finds the
//! ended record and publishes it.

use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::SharedStore;
use super::database::RecordKind;
use super::feed::Message;
use super::records::{Change, Found, OPERATION};
use super::session_record::{AT_ONCE, EndedSession, PAGE, SessionRecord, session_id, session_key};
use crate::{RevocationTarget, Session, StoreError};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{SessionId, Subject};

/// How long ending every session may take.
const ALL: Duration = Duration::from_secs(600);
/// How long ending the sessions of one user may take; the client waits for it.
const SOME: Duration = Duration::from_secs(5);

impl SharedStore {
    /// Ends sessions, or refuses one token, or sets cut-offs, in the database alone: what holds in
    /// memory while the database is away is decided by the caller.
    pub(super) async fn carry_out_revocation(
        &self,
        what: &RevocationTarget,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        match what {
            RevocationTarget::Session(id) => {
                let ending = self.end_named(*id, now);
                self.records.operation(OPERATION, ending).await
            }
            RevocationTarget::All => self.records.operation(ALL, self.end_every_session(now)).await,
            _ => self.records.operation(SOME, self.revoke_several(what, now)).await,
        }
    }

    async fn revoke_several(
        &self,
        what: &RevocationTarget,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        match what {
            RevocationTarget::Siblings(id) => {
                let (record, _) = self.records.read(session_key(*id), now).await?;
                // The user of a session that has ended is not known any more. The named session was
                // the last to be ended then, and may be the only one whose end was not published.
                let Some(SessionRecord::Live(session)) = record else {
                    return self.end_named(*id, now).await;
                };
                let realm = Some(session.realm.as_str());
                let mut ids = self.sessions_of(&session.subject, realm, now).await?;
                // The named session is last. If this is cut off, the session still says whose the
                // others are, and a repetition ends them.
                ids.retain(|sibling| sibling != id);
                let mut ended = self.end_and_publish(ids, now).await?;
                ended.extend(self.end_and_publish(vec![*id], now).await?);
                Ok(ended)
            }
            RevocationTarget::Subject { subject, realm } => {
                let ids = self.sessions_of(subject, realm.as_deref(), now).await?;
                self.end_and_publish(ids, now).await
            }
            RevocationTarget::Token { digest, until } => {
                self.publish(&[Message::Token(*digest, *until)], now).await?;
                let group = self.token_group(*digest);
                let members = self.records.step(self.records.database.members(group)).await?;
                let ids = members.iter().filter_map(|id| session_id(id)).collect();
                self.end_and_publish(ids, now).await
            }
            RevocationTarget::Tokens { of } => {
                let at = self.records.now(now).await?;
                let cutoffs: Vec<Message> =
                    of.iter().map(|owner| Message::cutoff(owner, at)).collect();
                self.publish(&cutoffs, now).await?;
                Ok(Vec::new())
            }
            RevocationTarget::Session(_) | RevocationTarget::All => Ok(Vec::new()),
        }
    }

    async fn end_every_session(&self, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        let mut all = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let walk = self.records.database.walk(RecordKind::Session, after.as_deref(), PAGE);
            let rows = self.records.slow_step(walk).await?;
            let ids = rows.iter().filter_map(|(id, _)| session_id(id)).collect();
            all.extend(self.end_and_publish(ids, now).await?);
            after = match rows.last() {
                Some((id, _)) if rows.len() == PAGE => Some(id.clone()),
                _ => return Ok(all),
            };
        }
    }

    /// Ends a session that was named by its id. If the database has lost it alone, its tokens must
    /// be refused all the same: verifying them does not need the record.
    async fn end_named(&self, id: SessionId, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        let ended = self.end_session(id, true, now).await?;
        self.publish_ends(ended.into_iter().collect(), now).await
    }

    /// Ends these sessions in the database and notifies every node. Returns the sessions that were
    /// live. If one session cannot be ended, the others are ended and published all the same.
    pub(super) async fn end_and_publish(
        &self,
        ids: Vec<SessionId>,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        let ending = stream::iter(ids.into_iter().map(|id| self.end_session(id, false, now)));
        let results: Vec<Result<Option<EndedSession>, StoreError>> =
            ending.buffered(AT_ONCE).collect().await;
        let mut ended = Vec::new();
        let mut failure = None;
        for result in results {
            match result {
                Ok(one) => ended.extend(one),
                Err(error) => failure = Some(error),
            }
        }
        let ended = self.publish_ends(ended, now).await?;
        failure.map_or(Ok(ended), Err)
    }

    async fn end_session(
        &self,
        id: SessionId,
        is_named: bool,
        now: Timestamp,
    ) -> Result<Option<EndedSession>, StoreError> {
        self.records
            .update_found(session_key(id), now, |found, at| match found {
                Found::Value(SessionRecord::Live(session)) => {
                    let until = self.revoked_until(&session);
                    let change = self.ended(&session, at);
                    (Some(EndedSession { id, until, session: Some(session) }), change)
                }
                Found::Value(SessionRecord::Ended(until)) => {
                    (Some(EndedSession { id, until, session: None }), Change::Keep)
                }
                Found::Nothing if !is_named => (None, Change::Keep),
                Found::Nothing | Found::Unreadable(_) => {
                    let until = self.revoked_until_at_most(at);
                    let ended = EndedSession { id, until, session: None };
                    let keep = Some(until.since(at));
                    (Some(ended), Change::Write(SessionRecord::Ended(until), keep))
                }
            })
            .await
    }

    /// Tells every node, this one first, and takes the sessions out of their groups.
    pub(super) async fn publish_ends(
        &self,
        ended: Vec<EndedSession>,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        for it in &ended {
            self.revocations.revoke_session(it.id, it.until);
        }
        let messages: Vec<Message> =
            ended.iter().map(|ended| Message::Session(ended.id, ended.until)).collect();
        if let Err(error) = self.publish(&messages, now).await {
            for one in &ended {
                self.look_again_at(one.id);
            }
            return Err(error);
        }
        let live = ended.into_iter().filter_map(|ended| ended.session);
        let leaving = stream::iter(live.map(|session| self.leave_groups(session)));
        Ok(leaving.buffered(AT_ONCE).collect().await)
    }

    async fn leave_groups(&self, session: Box<Session>) -> SessionId {
        let member = session.id.0.as_bytes().as_slice();
        let database = &self.records.database;
        // A member that stays costs one read more later, and goes by itself in the end.
        let leaving = database.leave(self.user_group(&session.subject), member);
        let _ = self.records.slow_step(leaving).await;
        if let Some(token) = session.traded {
            let _ = self.records.slow_step(database.leave(self.token_group(token), member)).await;
        }
        session.id
    }

    async fn sessions_of(
        &self,
        subject: &Subject,
        realm: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        let ids = self.members_of(subject).await?;
        let Some(realm) = realm else { return Ok(ids) };
        let records = stream::iter(ids.into_iter().map(|id| async move {
            let (record, _) = self.records.read(session_key(id), now).await?;
            Ok(match record {
                Some(SessionRecord::Live(session)) if session.realm == realm => Some(id),
                // One that has ended may still have to be published.
                Some(SessionRecord::Ended(_)) => Some(id),
                _ => None,
            })
        }));
        let ids: Vec<Option<SessionId>> = records.buffered(AT_ONCE).try_collect().await?;
        Ok(ids.into_iter().flatten().collect())
    }
}
