//! What services ask about our tokens: is it good (RFC 7662), and make it not be (RFC 7009).
//!
//! Callers are programs with an API key of the right scope, which is asked for before the token is
//! looked at. Whatever is not in use is answered `{"active": false}` and nothing else: expired,
//! revoked, somebody else's and garbage look alike.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Call, Done, Login, Refused};
use crate::authn::{OwnToken, Verified};
use crate::dialect::{Answer, Endpoint, Presented, Reason, serve};
use crate::secret::{Digest, SecretString};
use crate::session::{Generation, Revoke};
use crate::telemetry::audit::AuditEvent;

/// What an API key has to have for each.
const MAY_INTROSPECT: &str = "introspect";
const MAY_REVOKE: &str = "revoke";

/// Claims that are told as they are.
const TOLD: [&str; 13] = [
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
    // Of a pair: what its key has to hash to.
    "kh",
];

impl Login {
    /// Says what a token of ours is worth now.
    pub(super) async fn introspect(
        &self,
        endpoint: &Endpoint,
        call: &Call,
    ) -> Result<Done, Refused> {
        let caller = self.caller(call, MAY_INTROSPECT)?;
        let token = about(endpoint, call)?;
        let told = match self.verifier.own_token(token.expose()) {
            Some(token) if self.verifier.is_active(&token, call.now) => {
                self.active(&token, call).await?
            }
            _ => None,
        };
        let told = told.map_or_else(|| json!({ "active": false }), Value::Object);
        Ok(done(serve::json(&told), &caller))
    }

    /// What is told of a token that verifies; `None` for a refresh token that works no more.
    async fn active(
        &self,
        token: &OwnToken,
        call: &Call,
    ) -> Result<Option<Map<String, Value>>, Refused> {
        let identity = &token.verified.identity;
        let mut told = Map::new();
        told.insert("active".to_owned(), true.into());
        let claims = TOLD.iter().filter_map(|name| identity.claims.get_key_value(*name));
        told.extend(claims.map(|(name, value)| (name.clone(), value.clone())));
        let kind = match (token.is_refresh, &token.verified.key_hash) {
            (true, _) => "refresh_token",
            (false, Some(_)) => "token_key",
            (false, None) => "Bearer",
        };
        told.insert("token_type".to_owned(), kind.into());
        if !token.is_refresh {
            told.insert("username".to_owned(), identity.username.as_ref().into());
            return Ok(Some(told));
        }
        let (Some(id), Some(jti)) = (identity.session, &token.verified.token_id) else {
            return Ok(None);
        };
        let session = self.services.store.find(id, call.now).await?;
        let jti = Digest::of(jti.as_bytes());
        let working = |held: &Generation| held.current == jti;
        let session = session.filter(|session| session.refresh.as_ref().is_some_and(working));
        let Some(session) = session else { return Ok(None) };
        told.insert("username".to_owned(), session.username.into());
        told.insert("scope".to_owned(), session.scopes.join(" ").into());
        Ok(Some(told))
    }

    /// Ends the session of a token of ours; what is none is as good as revoked.
    pub(super) async fn revoke_token(
        &self,
        endpoint: &Endpoint,
        call: &Call,
    ) -> Result<Done, Refused> {
        let caller = self.caller(call, MAY_REVOKE)?;
        let token = about(endpoint, call)?;
        let found = self.verifier.own_token(token.expose());
        if let Some(session) = found.and_then(|token| token.verified.identity.session) {
            let revoked = self.services.store.revoke(Revoke::Session(session), call.now).await;
            // In force before it is durable, as at a logout.
            self.end_streams(&[session]);
            let cause = format!("by API key {}", caller.identity.username);
            self.audit(call, AuditEvent::Revoked { session, cause: &cause });
            revoked?;
        }
        Ok(done(self.answer(endpoint, &self.facts(call.now)).answer, &caller))
    }

    /// The program that asks.
    fn caller(&self, call: &Call, scope: &'static str) -> Result<Arc<Verified>, Refused> {
        let keys = &self.services.api_keys;
        let caller = keys.verify_in(&call.head, call.client.address, call.now)?;
        let has_scope = caller.identity.scopes.iter().any(|held| **held == *scope);
        has_scope.then_some(caller).ok_or_else(|| {
            Refused::new(Reason::TokenInvalid, format!("the API key has no scope `{scope}`"))
        })
    }
}

fn about(endpoint: &Endpoint, call: &Call) -> Result<SecretString, Refused> {
    match serve::read(endpoint, &call.head, &call.body)? {
        Presented::About { token } => Ok(token),
        _ => Err(Refused::new(Reason::MalformedRequest, "a token in a form is needed")),
    }
}

/// For the access log: who asked, not whom it was about.
fn done(answer: Answer, caller: &Verified) -> Done {
    Done { answer, subject: Some(caller.identity.subject.to_string()), session: None }
}
