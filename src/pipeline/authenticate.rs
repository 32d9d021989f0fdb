//! Who calls a route: its one credential, proved.
//!
//! What is in memory is judged on the worker; where somebody else has to be asked first, or a
//! password to be looked at, the back room does it and the request waits.

use std::sync::Arc;

use http::request::Parts;

use super::Exchange;
use crate::authn::{Credential, Presented, Presenter, Unproved, Verified};
use crate::client::{Scheme, address_group};
use crate::dialect::Reason;
use crate::gateway::Route;
use crate::identity::BASIC_ISSUER;
use crate::login::BasicCall;
use crate::rejection::Rejection;
use crate::runtime::Work;
use crate::secret::SecretString;
use crate::upstream::headers::Kept;

/// A credential that was found good, and where the request has it.
pub(super) struct Proved {
    pub(super) verified: Arc<Verified>,
    pub(super) carrier: Kept,
}

impl Proved {
    /// Whether it is a user's name and password.
    pub(super) fn is_password(&self) -> bool {
        *self.verified.identity.issuer == *BASIC_ISSUER
    }
}

impl Exchange<'_> {
    pub(super) async fn authenticate(
        &self,
        route: &Route,
        head: &Parts,
    ) -> Result<Proved, Rejection> {
        let api_keys = &self.generation.services.api_keys;
        let found = Presented::extract(head, route.accept, api_keys.header());
        let found =
            found.map_err(|error| Rejection::new(error.reason()).because(error.to_string()))?;
        let Some(presented) = found else { return self.by_certificate(route) };
        if self.client.scheme == Scheme::Http && !self.may_be_plain() {
            return Err(Rejection::new(Reason::TlsRequired).because("a credential without TLS"));
        }
        match presented {
            Presented::Token(credential) => {
                let carrier = carrier(&credential, route, head);
                Ok(Proved { verified: self.by_token(route, credential).await?, carrier })
            }
            Presented::ApiKey(key) => {
                let verified = api_keys.verify(&key, self.client.address, self.now)?;
                Ok(Proved { verified, carrier: Kept::ApiKey })
            }
            Presented::Password { name, password } => {
                // Boxed: it is rare, and its size would be every request's.
                let verified = Box::pin(self.by_password(route, name, password)).await?;
                Ok(Proved { verified, carrier: Kept::Authorization })
            }
        }
    }

    /// Whether the route would take the credential: for endpoints that answer only without one.
    pub(super) async fn is_authenticated(&self, route: &Route, head: &Parts) -> bool {
        self.authenticate(route, head).await.is_ok()
    }

    async fn by_token(
        &self,
        route: &Route,
        credential: Credential,
    ) -> Result<Arc<Verified>, Rejection> {
        let issuers = &route.config.issuers;
        let (verifier, print) =
            (&self.generation.verifier, self.client.certificate_print(self.now));
        match verifier.verify_among(&credential, issuers, print, self.now) {
            Ok(verified) => Ok(verified),
            Err(Unproved::Refused(refusal)) => Err(refusal.into()),
            // Boxed: it is rare, and its size would be every request's.
            Err(Unproved::Ask(_)) => Box::pin(self.inquire(route, credential)).await,
        }
    }

    async fn inquire(
        &self,
        route: &Route,
        credential: Credential,
    ) -> Result<Arc<Verified>, Rejection> {
        let (verifier, now) = (self.generation.verifier.clone(), self.now);
        let issuers = route.config.issuers.clone();
        let print = self.client.certificate_print(now).copied();
        let group = self.counted_address().map(address_group);
        let proving = async move {
            let presenter = Presenter { certificate: print.as_ref(), origin: group };
            verifier.prove_among(&credential, &issuers, presenter, now).await
        };
        let back_room = &self.gateway.shared.back_room;
        let place = back_room
            .reserve(Work::Inquiry, group)
            .map_err(|none| Rejection::new(Reason::Unavailable).because(none.to_string()))?;
        match back_room.carry_out(place, proving).await {
            Some(proved) => Ok(proved?),
            None => Err(Rejection::new(Reason::Internal).because("a panic in an inquiry")),
        }
    }

    async fn by_password(
        &self,
        route: &Route,
        name: String,
        password: SecretString,
    ) -> Result<Arc<Verified>, Rejection> {
        let call = BasicCall {
            sources: route.config.users.clone(),
            name,
            password,
            client: self.client.clone(),
            request_id: self.request_id.as_str().to_owned(),
            shared_address: self.counted_address().is_none(),
            now: self.now,
        };
        let services = self.generation.services.clone();
        if let Some(held) = services.proofs.find(&services.proofs.digest(&call.asked()), self.now) {
            return Ok(held);
        }
        if let Some((refused, is_flood)) = services.refuses_basic(&call) {
            self.hold_back(is_flood, call.asked().group).await;
            return Err(refused.into());
        }
        let back_room = &self.gateway.shared.back_room;
        let place = back_room.reserve(Work::Password, call.asked().group)?;
        match back_room.carry_out(place, async move { services.prove_basic(call).await }).await {
            Some(proved) => Ok(proved?),
            None => Err(Rejection::new(Reason::Internal).because("a panic in a login step")),
        }
    }

    /// The certificate of the connection, where nothing else is presented.
    fn by_certificate(&self, route: &Route) -> Result<Proved, Rejection> {
        let none = || Rejection::new(Reason::CredentialMissing);
        let shown = self.client.certificate.as_ref().filter(|_| route.accept.certificate);
        let certificate = shown.ok_or_else(|| none().because("no credential"))?;
        let verified = self.generation.certificates.verify(certificate, self.now)?;
        let verified = verified.ok_or_else(|| none().because("nobody's certificate"))?;
        Ok(Proved { verified, carrier: Kept::Nothing })
    }
}

fn carrier(credential: &Credential, route: &Route, head: &Parts) -> Kept {
    match credential {
        Credential::Bearer(_) => Kept::Authorization,
        // A pair in both places would have been refused.
        Credential::Pair { .. } if route.accept.token_key && has_pair(head) => Kept::TokenKey,
        Credential::Pair { .. } => Kept::Query,
    }
}

fn has_pair(head: &Parts) -> bool {
    head.headers.contains_key("x-access-token")
}
