//! Refreshing a session: a refresh token, or an access token that is about to expire, for a new
//! access token.
//!
//! Each refresh reads the user again: a user who was disabled, removed or changed loses the
//! session. Rotation of refresh tokens (RFC 9700, section 4.14.2) is an atomic step of the store;
//! the successor's `jti` is derived, not random, so that a repeated request gets the same
//! successor.

use super::issue::{NewOpaque, NewRefresh};
use super::{Login, LoginError, LoginRequest, LoginResponse};
use crate::authn::TokenCredential;
use crate::dialect::{Endpoint, Reason};
use crate::identity::SessionId;
use crate::secret::{Digest, SecretString};
use crate::session::{RefreshRotation, RevocationTarget, RotationOutcome, Session};
use crate::telemetry::audit::AuditEvent;
use crate::telemetry::metrics::RefreshResult;
use crate::token;

impl Login {
    /// Exchanges a refresh token for a new access token and, where the dialect rotates, a new
    /// refresh token. Counts the result and writes it to the audit log.
    pub(super) async fn refresh(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        presented: &SecretString,
    ) -> Result<LoginResponse, LoginError> {
        let refreshed = self.try_refresh(endpoint, call, presented).await;
        match &refreshed {
            Ok(done) => {
                self.count_refresh(RefreshResult::Succeeded);
                if let Some(session) = done.session {
                    self.audit(call, AuditEvent::Refreshed { session });
                }
            }
            Err(refused) if refused.reason == Reason::Unavailable => {
                self.count_refresh(RefreshResult::Unavailable);
            }
            Err(_) => self.count_refresh(RefreshResult::Refused),
        }
        refreshed
    }

    async fn try_refresh(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        presented: &SecretString,
    ) -> Result<LoginResponse, LoginError> {
        let facts =
            self.verifier.verify_refresh(presented.expose(), &self.config.name, call.now)?;
        if facts.program.is_some() && facts.program != call.program {
            return Err(LoginError::new(Reason::TokenInvalid, "a token of another program"));
        }
        self.demand_csrf(endpoint, call, facts.session)?;
        let session = self.live_session(facts.session, call).await?;
        if !endpoint.rotates {
            let digest = Digest::of(facts.jti.as_bytes());
            return self.renew_session(endpoint, call, &session, Some(digest)).await;
        }
        // The successor is derived from the presented token and the store's secret. If the client
        // lost the answer and repeats the request within the grace period, it gets the same
        // successor, without the token being stored anywhere.
        let successor = token::successor_jti(&self.services.store.secret(), &facts.jti);
        let used = Session { last_used: call.now, ..session };
        let opaque = self.new_opaque(used.expires, call.now);
        let rotation = RefreshRotation {
            presented: Digest::of(facts.jti.as_bytes()),
            generation: facts.generation,
            successor: Digest::of(successor.as_bytes()),
            expires: used.ends().whole_secs(),
            access_until: self.access_end(used.expires, call.now),
            issued: opaque.as_ref().map(|opaque| opaque.record),
            grace: self.config.refresh_grace,
        };
        let rotated = self.services.store.rotate(used.id, rotation, call.now).await?;
        // A token that is only a moment old stays the working token, so the answer contains the
        // same `jti` again.
        let next = if matches!(rotated, RotationOutcome::Fresh(_)) { facts.jti } else { successor };
        let session = self.rotated_session(call, rotated)?;
        let expires = session.refresh.as_ref().map_or(session.expires, |refresh| refresh.expires);
        let refresh = NewRefresh { id: next, expires, program: facts.program };
        let facts = self.issue(&session, Some(refresh), opaque, call.now)?;
        Ok(self.answer(endpoint, call, facts))
    }

    fn rotated_session(
        &self,
        call: &LoginRequest,
        rotated: RotationOutcome,
    ) -> Result<Session, LoginError> {
        match rotated {
            RotationOutcome::Rotated(session)
            | RotationOutcome::Grace(session)
            | RotationOutcome::Fresh(session) => Ok(*session),
            // A retired token came back after the grace period: either the client or a thief has an
            // old copy. The store has ended the session; both must log in again. Nobody can tell
            // which of the two presented the token (RFC 9700, section 4.14.2).
            RotationOutcome::Reuse(session) => {
                self.end_streams(&[session.id]);
                self.count_refresh(RefreshResult::ReuseDetected);
                self.audit(
                    call,
                    AuditEvent::ReuseDetected { subject: &session.subject, session: session.id },
                );
                Err(LoginError::new(Reason::TokenInvalid, "refresh token used again"))
            }
            RotationOutcome::Unknown => {
                Err(LoginError::new(Reason::TokenInvalid, "unknown refresh token"))
            }
            RotationOutcome::Gone => {
                Err(LoginError::new(Reason::TokenRevoked, "the session has ended"))
            }
        }
    }

    /// Exchanges an access token of our own for a newer one of the same session, for dialects
    /// without refresh tokens.
    pub(super) async fn renew(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        presented: &SecretString,
    ) -> Result<LoginResponse, LoginError> {
        let session = self.session_of(endpoint, call, presented).await?;
        let done = self.renew_session(endpoint, call, &session, None).await?;
        self.audit(call, AuditEvent::Refreshed { session: session.id });
        Ok(done)
    }

    /// Moves the end of an opaque access token of our own; the client keeps the token.
    pub(super) async fn extend(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        presented: &SecretString,
    ) -> Result<LoginResponse, LoginError> {
        let session = self.session_of(endpoint, call, presented).await?;
        // A signed token of this login, from a time when it issued such, cannot be moved.
        let Some(known) = session.token(&Digest::of(presented.expose().as_bytes())).copied() else {
            return Err(LoginError::new(Reason::TokenInvalid, "the session has no such token"));
        };
        let until = self.access_end(session.expires, call.now);
        let moved =
            self.services.store.move_token(session.id, known.digest, until, call.now).await?;
        let record = moved.as_ref().and_then(|session| session.token(&known.digest)).copied();
        let Some((session, record)) = moved.zip(record) else {
            return Err(LoginError::new(Reason::TokenRevoked, "the session has ended"));
        };
        let moved = NewOpaque { token: presented.clone(), record };
        self.verifier.note_moved(&session, &record.digest, call.now);
        self.audit(call, AuditEvent::Refreshed { session: session.id });
        Ok(self.answer(endpoint, call, self.issue(&session, None, Some(moved), call.now)?))
    }

    /// The live session of an access token of our own that its client wants renewed.
    async fn session_of(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        presented: &SecretString,
    ) -> Result<Session, LoginError> {
        let credential = TokenCredential::Bearer(presented.clone());
        let at = self.own_endpoint(call);
        let verified = self.verifier.verify_own_access(&credential, at, call.now, false).await?;
        let id = verified
            .identity
            .session
            .ok_or_else(|| LoginError::new(Reason::TokenInvalid, "no session in the token"))?;
        self.demand_csrf(endpoint, call, id)?;
        self.live_session(id, call).await
    }

    async fn renew_session(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        session: &Session,
        presented: Option<Digest>,
    ) -> Result<LoginResponse, LoginError> {
        let until = self.access_end(session.expires, call.now);
        let opaque = self.new_opaque(session.expires, call.now);
        let record = opaque.as_ref().map(|opaque| opaque.record);
        let store = &self.services.store;
        let renewed = store.renew(session.id, presented, until, record, call.now).await?;
        let Some(session) = renewed else {
            return Err(LoginError::new(Reason::TokenRevoked, "the session has ended"));
        };
        Ok(self.answer(endpoint, call, self.issue(&session, None, opaque, call.now)?))
    }

    /// The session, if it exists and its user has not changed since it began. Otherwise the session
    /// is revoked, its streams are ended, and the caller gets a refusal.
    pub(super) async fn live_session(
        &self,
        id: SessionId,
        call: &LoginRequest,
    ) -> Result<Session, LoginError> {
        let found = self.services.store.find(id, call.now).await?;
        // A session of another login is treated as missing: its tokens have other claims and
        // lifetimes.
        let Some(session) = found.filter(|session| session.login == self.config.name) else {
            return Err(LoginError::new(Reason::TokenRevoked, "the session has ended"));
        };
        if self.services.is_still_valid(&session, call.now).await? {
            return Ok(session);
        }
        // The user has changed: the streams are ended before a failure of the store is reported.
        let ended = self.services.store.revoke(RevocationTarget::Session(id), call.now).await;
        self.end_streams(&[id]);
        self.audit(call, AuditEvent::Revoked { session: id, cause: "the user changed" });
        ended?;
        Err(LoginError::new(Reason::TokenRevoked, "the user changed"))
    }
}
