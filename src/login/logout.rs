//! Ending sessions, and telling about one.

use std::sync::Arc;
use std::time::Duration;

use super::{Call, Done, Login, Refused};
use crate::authn::{Credential, Verified};
use crate::dialect::{Endpoint, Presented, Reason, Step, TokenFacts};
use crate::secret::SecretString;
use crate::session::{Revoke, StreamOrigin};
use crate::telemetry::audit::AuditEvent;

/// How long a token of somebody else stays refused after its logout.
const OUTLAWED: Duration = Duration::from_secs(30 * 24 * 3600);

impl Login {
    /// Ends the presented token's session, or all of its user's.
    pub(super) async fn log_out(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        presented: Presented,
    ) -> Result<Done, Refused> {
        let credential = credential_of(&presented)?;
        if endpoint.step == Step::Logout && !self.verifier.names_us(credential.token().expose()) {
            return self.outlaw(endpoint, call, &credential).await;
        }
        // A pair that only ran out may still log out: its clients do so when they close.
        let allow_expired = matches!(presented, Presented::Pair { .. });
        let verified = self.verify_presented(call, &presented, allow_expired)?;
        let session = verified
            .identity
            .session
            .ok_or_else(|| Refused::new(Reason::TokenInvalid, "no session in the token"))?;
        let subject = &verified.identity.subject;
        let what = if endpoint.step == Step::LogoutAll {
            Revoke::Siblings(session)
        } else {
            Revoke::Session(session)
        };
        let revoked = self.services.store.revoke(what, call.now).await;
        // In force before it is durable: a logout that fails to be written is still a logout.
        self.end_streams(revoked.as_deref().unwrap_or(&[session]));
        let sessions = revoked.as_ref().map_or(1, Vec::len);
        self.audit(call, AuditEvent::LoggedOut { subject, session, sessions });
        revoked?;
        let mut done = self.answer(endpoint, &self.facts(call.now));
        done.subject = Some(subject.to_string());
        done.session = Some(session);
        Ok(done)
    }

    /// Refuses a token of somebody else from now on: its issuer is not told, but nothing here takes
    /// it any more. Not by its own `exp`: an answer about an opaque token may not say it.
    async fn outlaw(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        credential: &Credential,
    ) -> Result<Done, Refused> {
        let proving = self.verifier.prove_among(credential, &[], call.presenter(), call.now);
        let verified = proving.await?;
        let longest = call.now.plus(OUTLAWED);
        let until = verified.until.map_or(longest, |until| until.min(longest));
        let (digest, subject) = (verified.digest, &verified.identity.subject);
        let revoked = self.services.store.revoke(Revoke::Token { digest, until }, call.now).await;
        self.services.streams.end(StreamOrigin::Credential(digest));
        // What it was traded for ends with it.
        self.end_streams(revoked.as_deref().unwrap_or_default());
        let issuer = &verified.identity.issuer;
        self.audit(call, AuditEvent::Outlawed { subject, issuer });
        revoked?;
        let mut done = self.answer(endpoint, &self.facts(call.now));
        done.subject = Some(subject.to_string());
        Ok(done)
    }

    /// Tells about the session of an access token.
    pub(super) async fn tell_session(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        presented: Presented,
    ) -> Result<Done, Refused> {
        let verified = self.verify_presented(call, &presented, false)?;
        let found = match verified.identity.session {
            Some(id) => self.services.store.find(id, call.now).await?,
            None => None,
        };
        let Some(session) = found else {
            return Err(Refused::new(Reason::TokenRevoked, "the session has ended"));
        };
        let mut facts = self.session_facts(&session, call.now);
        facts.access = Some(TokenFacts {
            token: SecretString::default(),
            id: String::new(),
            issued: verified.issued,
            expires: verified.expires,
        });
        Ok(self.answer(endpoint, &facts))
    }

    fn verify_presented(
        &self,
        call: &Call,
        presented: &Presented,
        allow_expired: bool,
    ) -> Result<Arc<Verified>, Refused> {
        let credential = credential_of(presented)?;
        let login = &self.config.name;
        Ok(self.verifier.verify_own_access(&credential, login, call.now, allow_expired)?)
    }
}

/// The token, or the pair, that was presented.
fn credential_of(presented: &Presented) -> Result<Credential, Refused> {
    match presented {
        Presented::Token { token, .. } => Ok(Credential::Bearer(token.clone())),
        Presented::Pair { token, key } => {
            Ok(Credential::Pair { token: token.clone(), key: key.clone() })
        }
        Presented::Password { .. } | Presented::Code { .. } | Presented::About { .. } => {
            Err(Refused::new(Reason::CredentialMissing, "a token is needed"))
        }
    }
}
