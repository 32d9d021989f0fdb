//! Authenticates a request for a route: verifies its one credential.
//!
//! Everything that is in memory is verified on the worker. If a remote issuer must be asked or a
//! password checked, then the background runtime does it and the request waits. The file decides
//! who the caller is and never whether the caller is permitted. `route` is the caller.

use std::sync::Arc;

use http::request::Parts;

use super::Exchange;
use crate::authn::{Credential, Presented, Presenter, Unproved, Verified};
use crate::client::{Scheme, address_group};
use crate::config::CredentialKind;
use crate::dialect::Reason;
use crate::gateway::Route;
use crate::identity::BASIC_ISSUER;
use crate::login::BasicCall;
use crate::rejection::Rejection;
use crate::runtime::Work;
use crate::secret::SecretString;
use crate::upstream::headers::Kept;

/// A verified credential, and the place in the request where it was.
pub(super) struct Proved {
    pub(super) verified: Arc<Verified>,
    pub(super) carrier: Kept,
}

impl Proved {
    /// True if the credential is a user name and password.
    pub(super) fn is_password(&self) -> bool {
        *self.verified.identity.issuer == *BASIC_ISSUER
    }
}

impl Exchange<'_> {
    /// Verifies the credential of a request.
    ///
    /// # Errors
    /// No credential, more than one, an invalid one, one that came without TLS, or one of which the
    /// validity could not be found out (503).
    pub(super) async fn authenticate(
        &mut self,
        route: &Route,
        head: &Parts,
    ) -> Result<Proved, Rejection> {
        let api_keys = &self.generation.services.api_keys;
        let found = Presented::extract(head, route.accept, api_keys.header());
        let found =
            found.map_err(|error| Rejection::new(error.reason()).because(error.to_string()))?;
        let Some(presented) = found else {
            let proved = self.by_certificate(route)?;
            self.grounds.credential = Some(CredentialKind::Certificate);
            return Ok(proved);
        };
        self.grounds.credential = Some(presented.kind());
        // The check of TLS comes before the check of the credential, so that the answer is the same
        // for a valid and an invalid one. A credential that crossed the network in the clear may
        // have been read there.
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
                // Boxed because passwords on routes are rare: unboxed, the state would enlarge the
                // future of every request.
                let verified = Box::pin(self.by_password(route, name, password)).await?;
                Ok(Proved { verified, carrier: Kept::Authorization })
            }
        }
    }

    /// True if the route would accept the credential. Endpoints that serve only unauthenticated
    /// clients use it to choose between themselves and the route.
    pub(super) async fn is_authenticated(&mut self, route: &Route, head: &Parts) -> bool {
        self.authenticate(route, head).await.is_ok()
    }

    /// Verifies a token from memory, or on the background runtime if a lookup is needed.
    ///
    /// # Errors
    /// The refusal of the token, or 503 if its validity could not be found out.
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
            // Boxed because lookups are rare: unboxed, the state would enlarge the future of every
            // request.
            Err(Unproved::Ask(_)) => Box::pin(self.inquire(route, credential)).await,
        }
    }

    /// Verifies a token that needs a lookup.
    ///
    /// # Errors
    /// No place on the background runtime (503), or the refusal of the token.
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
        // The place is reserved before the work begins, in the client's share. A client that
        // presents many unknown tokens is refused here and does not fill the background runtime.
        // Other clients keep their places.
        let place = back_room
            .reserve(Work::Inquiry, group)
            .map_err(|none| Rejection::new(Reason::Unavailable).because(none.to_string()))?;
        match back_room.carry_out(place, proving).await {
            Some(proved) => Ok(proved?),
            None => Err(Rejection::new(Reason::Internal).because("a panic in an inquiry")),
        }
    }

    /// Verifies a user name and password. Recently verified passwords are remembered, because a
    /// slow hash for each request would be too expensive.
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
        // Clients that have failed too often are refused before a hash is computed. A flood of
        // attempts is also slowed down.
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

    /// Authenticates by the client certificate of the connection. It counts only if the request
    /// presents no other credential.
    ///
    /// # Errors
    /// No certificate, none that an entry names, or one that is not valid at this time.
    fn by_certificate(&self, route: &Route) -> Result<Proved, Rejection> {
        let none = || Rejection::new(Reason::CredentialMissing);
        let shown = self.client.certificate.as_ref().filter(|_| route.accept.certificate);
        let certificate = shown.ok_or_else(|| none().because("no credential"))?;
        let verified = self.generation.certificates.verify(certificate, self.now)?;
        let verified = verified.ok_or_else(|| {
            none().because("no `client_certificate` entry names this certificate")
        })?;
        Ok(Proved { verified, carrier: Kept::Nothing })
    }
}

/// The place in the request where the credential was.
fn carrier(credential: &Credential, route: &Route, head: &Parts) -> Kept {
    match credential {
        Credential::Bearer(_) => Kept::Authorization,
        // A pair in the fields and another one in the query would have been refused as ambiguous.
        Credential::Pair { .. } if route.accept.token_key && has_pair(head) => Kept::TokenKey,
        Credential::Pair { .. } => Kept::Query,
    }
}

/// True if the pair is in the header fields.
fn has_pair(head: &Parts) -> bool {
    head.headers.contains_key("x-access-token")
}
