//! Token introspection (RFC 7662) and token revocation (RFC 7009), for the gateway's own tokens.
//!
//! The callers are programs with an API key of the right scope. The key is verified before the
//! token is read (RFC 7662, section 2.1). A token that is not active is answered with `{"active":
//! false}` and nothing else: an expired, a revoked, a foreign and a garbled token look alike, so
//! that a caller learns nothing about tokens it found somewhere (section 2.2).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Login, LoginError, LoginRequest, LoginResponse};
use crate::authn::{InspectedToken, RequestClient, TokenBinding, VerifiedCredential};
use crate::dialect::{Endpoint, LocalResponse, PresentedCredential, Reason, server};
use crate::secret::{Digest, SecretString};
use crate::session::{RefreshGeneration, RevocationTarget};
use crate::telemetry::audit::AuditEvent;

/// The scope that an API key needs for each of the two.
const MAY_INTROSPECT: &str = "introspect";
const MAY_REVOKE: &str = "revoke";

/// The claims that the answer copies from the token.
const SHOWN_CLAIMS: [&str; 13] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "jti",
    "client_id",
    "scope",
    "roles",
    "sid",
    "uid",
    // The digest of the key that must be presented together with the token.
    "kh",
];

impl Login {
    /// Answers whether a token of ours is active now, and what it says.
    pub(super) async fn introspect(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
    ) -> Result<LoginResponse, LoginError> {
        let caller = self.caller(call, MAY_INTROSPECT)?;
        let token = about(endpoint, call)?;
        // Nobody knows what was revoked on other nodes meanwhile, so that no token may be called
        // active, and none inactive that may be good.
        if self.services.store.is_stale() {
            return Err(LoginError::new(
                Reason::Unavailable,
                "the shared store is away for too long",
            ));
        }
        let answer = match self.inspected(&token, call).await? {
            Some(token) if self.verifier.is_active(&token, call.now) => {
                self.active(&token, call).await?
            }
            _ => None,
        };
        let answer = answer.map_or_else(|| json!({ "active": false }), Value::Object);
        Ok(done(server::json(&answer), &caller))
    }

    /// The claims of a token whose signature is valid; `None` for a refresh token that is no longer
    /// the working one of its session.
    async fn active(
        &self,
        token: &InspectedToken,
        call: &LoginRequest,
    ) -> Result<Option<Map<String, Value>>, LoginError> {
        let identity = &token.verified.identity;
        let mut answer = Map::new();
        answer.insert("active".to_owned(), true.into());
        let claims = SHOWN_CLAIMS.iter().filter_map(|name| identity.claims.get_key_value(*name));
        // `SHOWN_CLAIMS` lists the claims that may be shown, not those that must be hidden: a new
        // claim stays private until it is added.
        answer.extend(claims.map(|(name, value)| (name.clone(), value.clone())));
        let kind = match (token.is_refresh, &token.verified.binding) {
            (true, _) => "refresh_token",
            (false, TokenBinding::Key(_)) => "token_key",
            (false, _) => "Bearer",
        };
        answer.insert("token_type".to_owned(), kind.into());
        if !token.is_refresh {
            answer.insert("username".to_owned(), identity.username.as_ref().into());
            return Ok(Some(answer));
        }
        let (Some(id), Some(jti)) = (identity.session, &token.verified.token_id) else {
            return Ok(None);
        };
        let session = self.services.store.find(id, call.now).await?;
        let jti = Digest::of(jti.as_bytes());
        let working = |current: &RefreshGeneration| current.current == jti;
        let session = session.filter(|session| session.refresh.as_ref().is_some_and(working));
        let Some(session) = session else { return Ok(None) };
        answer.insert("username".to_owned(), session.username.into());
        answer.insert("scope".to_owned(), session.scopes.join(" ").into());
        Ok(Some(answer))
    }

    /// Ends the session of one of our tokens. A token that is not valid is answered with success as
    /// well, because it cannot be used anyway (RFC 7009, section 2.2).
    pub(super) async fn revoke_token(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
    ) -> Result<LoginResponse, LoginError> {
        let caller = self.caller(call, MAY_REVOKE)?;
        let token = about(endpoint, call)?;
        let found = self.inspected(&token, call).await?;
        if let Some(session) = found.and_then(|token| token.verified.identity.session) {
            let revoked =
                self.services.store.revoke(RevocationTarget::Session(session), call.now).await;
            // The revocation is in force in memory even if it could not be written: streams are
            // ended in both cases, and the caller is notified afterwards.
            self.end_streams(&[session]);
            let cause = format!("by API key {}", caller.identity.username);
            self.audit(call, AuditEvent::Revoked { session, cause: &cause });
            revoked?;
        }
        Ok(done(self.answer(endpoint, call, self.facts(call.now)).answer, &caller))
    }

    /// The token, if it is one of ours, whichever login issued it.
    async fn inspected(
        &self,
        token: &SecretString,
        call: &LoginRequest,
    ) -> Result<Option<InspectedToken>, LoginError> {
        // A program that asks about tokens is trusted with its API key, and may ask about many that
        // have ended: they are not counted against its address.
        let nobody = RequestClient::default();
        let opaque = self.verifier.own_session(token.expose(), nobody, call.now).await?;
        Ok(match opaque {
            Some(verified) => {
                Some(InspectedToken { verified: (*verified).clone(), is_refresh: false })
            }
            None => self.verifier.own_token(token.expose()),
        })
    }

    /// Authenticates the program that asks, by its API key, and checks the scope of the key.
    fn caller(
        &self,
        call: &LoginRequest,
        scope: &'static str,
    ) -> Result<Arc<VerifiedCredential>, LoginError> {
        let keys = &self.services.api_keys;
        let caller = keys.verify_in(&call.head, call.client.address, call.now)?;
        let has_scope = caller.identity.scopes.iter().any(|current| **current == *scope);
        has_scope.then_some(caller).ok_or_else(|| {
            LoginError::new(Reason::TokenInvalid, format!("the API key has no scope `{scope}`"))
        })
    }
}

fn about(endpoint: &Endpoint, call: &LoginRequest) -> Result<SecretString, LoginError> {
    match server::read(endpoint, &call.head, &call.variables, &call.body)? {
        PresentedCredential::InspectedToken { token } => Ok(token),
        _ => Err(LoginError::new(Reason::MalformedRequest, "a token in a form is needed")),
    }
}

/// For the access log: the program that asked, not the user that the token is about.
fn done(answer: LocalResponse, caller: &VerifiedCredential) -> LoginResponse {
    LoginResponse { answer, subject: Some(caller.identity.subject.to_string()), session: None }
}
