//! Logout: ending sessions, refusing foreign tokens, and telling a client about its session.
//!
//! A logout takes effect in memory at once, even if the store cannot write it; the client is then
//! notified of the failure and may repeat it. Nothing here reads the user source: a user who was
//! removed can still log out.

use std::sync::Arc;
use std::time::Duration;

use super::{Login, LoginError, LoginRequest, LoginResponse};
use crate::authn::{
    AcceptedIssuers, RefreshFacts, TokenCredential, VerifiedCredential, session_fact,
};
use crate::clock::Timestamp;
use crate::dialect::{
    Carrier, CredentialForm, Endpoint, EndpointStep, PresentedCredential, Reason, TokenUse,
    TokenValues,
};
use crate::identity::{SessionId, Subject};
use crate::secret::SecretString;
use crate::session::{RevocationTarget, StoreError, StreamOrigin};
use crate::telemetry::audit::AuditEvent;

/// How long a foreign token stays refused after its logout, if its own end is not known to be
/// earlier.
const OUTLAWED: Duration = Duration::from_secs(30 * 24 * 3600);

impl Login {
    /// Ends the session of the presented token, or all sessions of its user, as the endpoint's step
    /// says.
    ///
    /// A foreign token has no session here; its logout refuses that single token from now on.
    pub(super) async fn log_out(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        presented: PresentedCredential,
    ) -> Result<LoginResponse, LoginError> {
        if let Some(refresh) = self.refresh_to_end(endpoint, call, &presented)? {
            return self.end(endpoint, call, refresh.session, &refresh.subject).await;
        }
        let credential = credential_of(&presented)?;
        if endpoint.step == EndpointStep::Logout && !self.is_own(call, &credential).await? {
            return self.outlaw(endpoint, call, &credential).await;
        }
        // An expired pair of token and key may still log out: its clients log out when they are
        // closed, often after the token expired. The session may still have refresh tokens or
        // streams.
        let allow_expired = matches!(presented, PresentedCredential::Pair { fact: None, .. });
        let verified = self
            .verify_presented(call, &presented, allow_expired)
            .await
            .map_err(|refusal| self.unless_written(refusal, &credential, call.now))?;
        let session = verified
            .identity
            .session
            .ok_or_else(|| LoginError::new(Reason::TokenInvalid, "no session in the token"))?;
        self.end(endpoint, call, session, &verified.identity.subject).await
    }

    /// The refresh token that is presented, where the endpoint takes one to end its session (RFC
    /// 7009, section 2). The endpoint may take access tokens in the same place; what is no good
    /// refresh token is then left to be judged as one of those.
    fn refresh_to_end(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        presented: &PresentedCredential,
    ) -> Result<Option<RefreshFacts>, LoginError> {
        let uses = |wanted| {
            endpoint.credential.iter().any(
                |form| matches!(form, CredentialForm::Token { purpose, .. } if *purpose == wanted),
            )
        };
        let PresentedCredential::Token { token, .. } = presented else { return Ok(None) };
        if !uses(TokenUse::Refresh) {
            return Ok(None);
        }
        match self.verifier.verify_refresh(token.expose(), &self.config.name, call.now) {
            Ok(facts) if facts.program.is_some() && facts.program != call.program => {
                Err(LoginError::new(Reason::TokenInvalid, "a token of another program"))
            }
            Ok(facts) => Ok(Some(facts)),
            Err(_) if uses(TokenUse::Access) => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Ends a session, or all sessions of its user, as the endpoint's step says.
    async fn end(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        session: SessionId,
        subject: &Subject,
    ) -> Result<LoginResponse, LoginError> {
        self.demand_csrf(endpoint, call, session)?;
        let what = if endpoint.step == EndpointStep::LogoutAll {
            RevocationTarget::Siblings(session)
        } else {
            RevocationTarget::Session(session)
        };
        // Read before the session ends: afterwards nothing of it can be found.
        let all = endpoint.step == EndpointStep::LogoutAll;
        let leaving = match &self.services.legacy {
            Some(legacy) => legacy.leaving(session, all, call.now).await,
            None => Ok(Vec::new()),
        };
        let revoked = self.services.store.revoke(what, call.now).await;
        // The revocation is in force in memory before it is durable. So the streams are ended and
        // the logout is audited even if writing failed, and only then is the error returned.
        self.end_streams(revoked.as_deref().unwrap_or(&[session]));
        let sessions = revoked.as_ref().map_or(1, Vec::len);
        self.audit(call, AuditEvent::LoggedOut { subject, session, sessions });
        // Without the store the sessions end here all the same, and stay at the legacy system.
        if let (Some(legacy), Ok(leaving)) = (&self.services.legacy, leaving) {
            legacy.leave(leaving);
        }
        revoked?;
        let mut done = self.answer(endpoint, call, self.facts(call.now));
        done.subject = Some(subject.to_string());
        done.session = Some(session);
        Ok(done)
    }

    /// True if the token is one of ours, so that a session belongs to it. A token that only has the
    /// form of our opaque ones may be another issuer's.
    async fn is_own(
        &self,
        call: &LoginRequest,
        credential: &TokenCredential,
    ) -> Result<bool, LoginError> {
        let token = credential.token().expose();
        let verifier = &self.verifier;
        if verifier.own_session(token, call.presenter(), call.now).await?.is_some() {
            return Ok(true);
        }
        let is_foreign = verifier.is_known_foreign(token, call.now);
        Ok(!is_foreign && verifier.claims_local_issuer(token))
    }

    /// The answer to a logout that is refused because the session has ended. While that end could not
    /// be written, a client that repeats its logout gets the same answer as before: `TokenRevoked`
    /// would read as though the session had ended for good, and a crash now would let it go on.
    fn unless_written(
        &self,
        refusal: LoginError,
        credential: &TokenCredential,
        now: Timestamp,
    ) -> LoginError {
        if refusal.reason != Reason::TokenRevoked {
            return refusal;
        }
        let token = credential.token().expose();
        let opaque = self.verifier.remembered_session(token, now);
        let session = match opaque {
            Some(verified) => verified.identity.session,
            None => self.verifier.own_token(token).and_then(|it| it.verified.identity.session),
        };
        match session {
            Some(session) if self.services.store.has_unwritten_end(session) => {
                StoreError::Unavailable("the logout waits to be written".into()).into()
            }
            _ => refusal,
        }
    }

    /// Refuses a foreign token from now on. Its issuer is not informed, but nothing here accepts
    /// the token any more.
    ///
    /// The refusal does not follow the token's `exp`: for an opaque token the issuer's answer may
    /// lack it. It lasts `OUTLAWED`, or until the issuer's own end (`until`) if that is earlier.
    async fn outlaw(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        credential: &TokenCredential,
    ) -> Result<LoginResponse, LoginError> {
        // A legacy system is asked only about tokens that come where its clients have theirs.
        let places = token_places(endpoint);
        let carried = places.iter().map(|places| AcceptedIssuers::carried(&[], places));
        let known = |issuers: &AcceptedIssuers<'_>| self.verifier.asks_about(credential, *issuers);
        let issuers = carried.into_iter().find(known).unwrap_or(AcceptedIssuers::ALL);
        let proving =
            self.verifier.verify_from_with_lookup(credential, issuers, call.presenter(), call.now);
        let verified = proving.await?;
        let longest = call.now.plus(OUTLAWED);
        let until = verified.until().map_or(longest, |until| until.min(longest));
        let digest = verified.digest;
        let subject = &verified.identity.subject;
        let revoked =
            self.services.store.revoke(RevocationTarget::Token { digest, until }, call.now).await;
        // The revocation was recorded before the streams are ended. A stream that is opened between
        // the two looks at the revocations again and ends itself.
        self.services.streams.end(StreamOrigin::Credential(digest));
        // Sessions that were exchanged for this token end with it.
        self.end_streams(revoked.as_deref().unwrap_or_default());
        let issuer = &verified.identity.issuer;
        self.audit(call, AuditEvent::Outlawed { subject, issuer });
        revoked?;
        let mut done = self.answer(endpoint, call, self.facts(call.now));
        done.subject = Some(subject.to_string());
        Ok(done)
    }

    /// Answers with the facts about the session of an access token. Fails if the session has ended.
    pub(super) async fn session_info(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        presented: PresentedCredential,
    ) -> Result<LoginResponse, LoginError> {
        let verified = self.verify_presented(call, &presented, false).await?;
        let found = match verified.identity.session {
            Some(id) => self.services.store.find(id, call.now).await?,
            None => None,
        };
        let Some(session) = found else {
            return Err(LoginError::new(Reason::TokenRevoked, "the session has ended"));
        };
        let mut facts = self.session_facts(&session, call.now);
        facts.access = Some(TokenValues {
            token: SecretString::default(),
            id: String::new(),
            issued: verified.issued,
            expires: verified.expires,
        });
        Ok(self.answer(endpoint, call, facts))
    }

    async fn verify_presented(
        &self,
        call: &LoginRequest,
        presented: &PresentedCredential,
        allow_expired: bool,
    ) -> Result<Arc<VerifiedCredential>, LoginError> {
        let credential = credential_of(presented)?;
        let at = self.own_endpoint(call);
        let verified =
            self.verifier.verify_own_access(&credential, at, call.now, allow_expired).await?;
        match presented {
            PresentedCredential::Pair { key, fact: Some(fact), .. }
                if !session_fact::agrees(*fact, &verified.identity, key) =>
            {
                let cause = "what stands beside the token is no fact of its session";
                Err(LoginError::new(Reason::TokenInvalid, cause))
            }
            _ => Ok(verified),
        }
    }
}

/// The places in which the endpoint takes a token, or a token and its key.
fn token_places(endpoint: &Endpoint) -> Vec<Vec<Carrier>> {
    let places = endpoint.credential.iter().filter_map(|form| match form {
        CredentialForm::Token { at, .. } => Some(vec![at.folded()]),
        CredentialForm::Pair(pair) => Some(vec![pair.token.folded(), pair.key.folded()]),
        _ => None,
    });
    places.collect()
}

/// The presented token, or pair of token and key. A password or a code is not accepted here.
fn credential_of(presented: &PresentedCredential) -> Result<TokenCredential, LoginError> {
    match presented {
        PresentedCredential::Token { token, .. } => Ok(TokenCredential::Bearer(token.clone())),
        PresentedCredential::Pair { token, fact: Some(_), .. } => {
            Ok(TokenCredential::Bearer(token.clone()))
        }
        PresentedCredential::Pair { token, key, fact: None } => {
            Ok(TokenCredential::Pair { token: token.clone(), key: key.clone() })
        }
        PresentedCredential::Password { .. }
        | PresentedCredential::Code { .. }
        | PresentedCredential::InspectedToken { .. } => {
            Err(LoginError::new(Reason::CredentialMissing, "a token is needed"))
        }
    }
}
