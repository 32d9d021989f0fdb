//! Authenticates a request for a route: verifies its one credential.
//!
//! Everything that is in memory is verified on the worker. If a remote issuer must be asked or a
//! password checked, then the background runtime does it and the request waits. The file decides
//! who the caller is and never whether the caller is permitted. `route` is the caller.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

use super::{RequestContext, dry_run};
use crate::authn::{
    AcceptedIssuers, CarriedToken, RemoteLookup, RequestClient, RequestCredential, TokenCredential,
    TokenPlace, VerifiedCredential, VerifyError,
};
use crate::body::Body;
use crate::client::{ForwardedFault, Scheme, address_group};
use crate::dialect::{Carrier, Reason};
use crate::gateway::ServedRoute;
use crate::headers::ForwardedCredential;
use crate::identity::BASIC_ISSUER;
use crate::login::{BasicCall, LoginServices};
use crate::rejection::Rejection;
use crate::routing::Target;
use crate::runtime::WorkKind;
use crate::secret::SecretString;
use crate::settings::CredentialKind;

/// When a client may come again while the shared store is away.
const STALE_RETRY: Duration = Duration::from_secs(1);

/// A verified credential, and the place in the request where it was.
pub(super) struct AuthenticatedRequest {
    pub(super) verified: Arc<VerifiedCredential>,
    pub(super) forwarded: ForwardedCredential,
}

impl AuthenticatedRequest {
    /// True if the credential is a user name and password.
    pub(super) fn is_password(&self) -> bool {
        *self.verified.identity.issuer == *BASIC_ISSUER
    }
}

impl RequestContext<'_> {
    /// Verifies the credential of a request.
    ///
    /// # Errors
    /// No credential, more than one, an invalid one, one that came without TLS, one in a cookie of a
    /// forged request, or one of which the validity could not be found out (503). Of a signed request
    /// the body is read, and an error of the body is one, too.
    pub(super) async fn authenticate(
        &mut self,
        route: &ServedRoute,
        head: &Parts,
        body: &mut Body,
        target: &Target,
    ) -> Result<AuthenticatedRequest, Rejection> {
        // Nobody knows what was revoked on other nodes in the meantime, so that every credential may
        // be one that was.
        if self.gateway.shared.store.revocations().is_stale(&self.gateway.shared.clock) {
            return Err(Rejection::new(Reason::Unavailable)
                .because("the shared store cannot be reached for longer than stale_limit")
                .retry_after(STALE_RETRY));
        }
        let api_keys = &self.generation.services.api_keys;
        let found =
            RequestCredential::extract(head, route.accept, api_keys.header(), &route.carriers);
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
            RequestCredential::Token(credential) => {
                let carrier = carrier(&credential, route, head);
                Ok(AuthenticatedRequest {
                    verified: self
                        .by_token(AcceptedIssuers::usual(&route.config.issuers), credential)
                        .await?,
                    forwarded: carrier,
                })
            }
            RequestCredential::Login(token) => {
                let carriers = &route.carriers;
                let may_override = route.config.allow_method_override;
                if let Some(rule) = carriers.forgery_rule(token.carrier) {
                    self.refuse_forged(&head.method, &head.headers, target, may_override, rule)?;
                }
                let verified = self.by_login_token(route, &token).await?;
                let identity = &verified.identity;
                if let Some(field) = carriers.csrf_field(token.carrier, &identity.login) {
                    self.demand_csrf(head, may_override, field, identity.session)?;
                }
                let forwarded = match carriers.places(token.carrier) {
                    [Carrier::Scheme(_)] => ForwardedCredential::Authorization,
                    _ => ForwardedCredential::Login(token.carrier),
                };
                Ok(AuthenticatedRequest { verified, forwarded })
            }
            RequestCredential::ApiKey(key) => {
                let verified = api_keys.verify(&key, self.client.address, self.now)?;
                Ok(AuthenticatedRequest { verified, forwarded: ForwardedCredential::ApiKey })
            }
            RequestCredential::Signature(presented) => {
                // Boxed because signatures are rare: unboxed, the state would enlarge the future of
                // every request.
                let verifying = self.by_signature(route, presented, body, target);
                let verified = Box::pin(verifying).await?;
                Ok(AuthenticatedRequest { verified, forwarded: ForwardedCredential::Signature })
            }
            RequestCredential::Password { name, password } => {
                // Boxed because passwords on routes are rare: unboxed, the state would enlarge the
                // future of every request.
                let verified = Box::pin(self.by_password(route, name, password)).await?;
                Ok(AuthenticatedRequest { verified, forwarded: ForwardedCredential::Authorization })
            }
        }
    }

    /// True if the route would accept the credential. Endpoints that serve only unauthenticated
    /// clients use it to choose between themselves and the route. A signature is for the route to
    /// verify, good or not: it counts once, and may need the body.
    pub(super) async fn is_authenticated(
        &mut self,
        route: &ServedRoute,
        head: &Parts,
        target: &Target,
    ) -> bool {
        let api_key = self.generation.services.api_keys.header();
        let found = RequestCredential::extract(head, route.accept, api_key, &route.carriers);
        matches!(found, Ok(Some(RequestCredential::Signature(_))))
            || self.authenticate(route, head, &mut Body::empty(), target).await.is_ok()
    }

    /// Verifies a token that came as a login or a legacy system of the route carries its tokens.
    ///
    /// # Errors
    /// As `by_token`; `TokenInvalid` for a token of anybody else.
    async fn by_login_token(
        &self,
        route: &ServedRoute,
        token: &CarriedToken,
    ) -> Result<Arc<VerifiedCredential>, Rejection> {
        let credential = &token.credential;
        let verifier = &self.generation.verifier;
        let refused = |cause| Rejection::new(Reason::TokenInvalid).because(cause);
        let issuers = route.carriers.issuers(token.carrier);
        let print = self.client.certificate_print(self.now);
        let verified = match verifier.verify_from(credential, issuers, print, self.now) {
            Ok(verified) => verified,
            Err(VerifyError::Rejected(refusal)) => return Err(refusal.into()),
            // Issuers with keys carry their tokens in no carrier, so their keys are not fetched.
            Err(VerifyError::NeedsLookup(RemoteLookup::Keys(_))) => {
                return Err(refused("no login issued the token"));
            }
            Err(VerifyError::NeedsLookup(_)) => self.by_token(issuers, credential.clone()).await?,
        };
        if !route.carriers.admits(token.carrier, &verified.identity) {
            return Err(refused("nobody who carries tokens like this issued the token"));
        }
        if !route.carriers.agrees(token, &verified.identity) {
            return Err(refused("what stands beside the token is no fact of its session"));
        }
        Ok(verified)
    }

    /// Verifies a token from memory, or on the background runtime if a lookup is needed.
    ///
    /// # Errors
    /// The refusal of the token, or 503 if its validity could not be found out.
    async fn by_token(
        &self,
        issuers: AcceptedIssuers<'_>,
        credential: TokenCredential,
    ) -> Result<Arc<VerifiedCredential>, Rejection> {
        let verifier = &self.generation.verifier;
        let print = self.client.certificate_print(self.now);
        match verifier.verify_from(&credential, issuers, print, self.now) {
            Ok(verified) => Ok(verified),
            Err(VerifyError::Rejected(refusal)) => Err(refusal.into()),
            Err(VerifyError::NeedsLookup(lookup)) => {
                if let Some(notes) = &self.gateway.shared.dry_run {
                    return Err(dry_run::omitted_lookup(notes, &lookup));
                }
                // Boxed because lookups are rare: unboxed, the state would enlarge the future of
                // every request.
                Box::pin(self.run_for_client(issuers, credential)).await
            }
        }
    }

    /// Verifies a token that needs a lookup.
    ///
    /// # Errors
    /// No place on the background runtime (503), or the refusal of the token.
    async fn run_for_client(
        &self,
        issuers: AcceptedIssuers<'_>,
        credential: TokenCredential,
    ) -> Result<Arc<VerifiedCredential>, Rejection> {
        let verifier = self.generation.verifier.clone();
        let now = self.now;
        let names = issuers.names.to_vec();
        let carrier = match issuers.place {
            TokenPlace::Usual => None,
            TokenPlace::Carrier(places) => Some(places.to_vec()),
        };
        let print = self.client.certificate_print(now).copied();
        let group = self.counted_address().map(address_group);
        let proving = async move {
            let presenter = RequestClient { certificate: print.as_ref(), origin: group };
            let issuers = match &carrier {
                None => AcceptedIssuers::usual(&names),
                Some(places) => AcceptedIssuers::carried(&names, places),
            };
            verifier.verify_from_with_lookup(&credential, issuers, presenter, now).await
        };
        let background = &self.gateway.shared.background;
        // The place is reserved before the work begins, in the client's share. A client that
        // presents many unknown tokens is refused here and does not fill the background runtime.
        // Other clients keep their places.
        let place = background
            .reserve(WorkKind::Lookup, group)
            .map_err(|none| Rejection::new(Reason::Unavailable).because(none.to_string()))?;
        match background.run_reserved(place, proving).await {
            Some(proved) => Ok(proved?),
            None => Err(Rejection::new(Reason::Internal).because("a panic in an inquiry")),
        }
    }

    /// Verifies a user name and password. Recently verified passwords are remembered, because a
    /// slow hash for each request would be too expensive.
    async fn by_password(
        &self,
        route: &ServedRoute,
        name: String,
        password: SecretString,
    ) -> Result<Arc<VerifiedCredential>, Rejection> {
        let services = self.generation.services.clone();
        let call = BasicCall {
            generation: services.number,
            sources: route.config.users.clone(),
            name,
            password,
            client: self.client.clone(),
            request_id: self.request_id.as_str().to_owned(),
            shared_address: self.counted_address().is_none(),
            now: self.now,
        };
        // A dry run looks no password up, not even a remembered one: asking would be guessing that
        // nobody counts.
        if let Some(notes) = &self.gateway.shared.dry_run {
            let refused = services.refuses_basic(&call).map(Rejection::from);
            return Err(refused.unwrap_or_else(|| dry_run::omitted_password(notes, call)));
        }
        if let Some(verified) = services
            .password_cache
            .find(&services.password_cache.digest(&call.cache_key()), self.now)
        {
            return Ok(verified);
        }
        let group = call.cache_key().group;
        let proved = self.prove_password(services.clone(), call).await;
        // A flood of attempts is slowed down.
        if let Err(rejection) = &proved {
            self.hold_back(&services, rejection, group).await;
        }
        proved
    }

    /// Has a password verified that is not remembered. A client that has failed too often is refused
    /// before a hash is computed.
    async fn prove_password(
        &self,
        services: Arc<LoginServices>,
        call: BasicCall,
    ) -> Result<Arc<VerifiedCredential>, Rejection> {
        if let Some(refused) = services.refuses_basic(&call) {
            return Err(refused.into());
        }
        let background = &self.gateway.shared.background;
        let place = background.reserve(WorkKind::Password, call.cache_key().group)?;
        match background.run_reserved(place, async move { services.prove_basic(call).await }).await
        {
            Some(proved) => Ok(proved?),
            None => Err(Rejection::new(Reason::Internal).because("a panic in a login step")),
        }
    }

    /// Authenticates by the client certificate of the connection. It counts only if the request
    /// presents no other credential.
    ///
    /// # Errors
    /// No certificate, none that an entry names, or one that is not valid at this time.
    fn by_certificate(&self, route: &ServedRoute) -> Result<AuthenticatedRequest, Rejection> {
        let none = || Rejection::new(Reason::CredentialMissing);
        if let Some(fault) = self.client.certificate_fault.filter(|_| route.accept.certificate) {
            return Err(fault.into());
        }
        let shown = self.client.certificate.as_ref().filter(|_| route.accept.certificate);
        let certificate = shown.ok_or_else(|| none().because("no credential"))?;
        let verified = self.generation.certificates.verify(certificate, self.now)?;
        let verified = verified.ok_or_else(|| {
            none().because("no `client_certificate` entry names this certificate")
        })?;
        Ok(AuthenticatedRequest { verified, forwarded: ForwardedCredential::Nothing })
    }
}

impl From<ForwardedFault> for Rejection {
    fn from(fault: ForwardedFault) -> Self {
        let reason = match fault {
            ForwardedFault::Repeated => Reason::AmbiguousCredential,
            ForwardedFault::Expired => Reason::TokenExpired,
            ForwardedFault::Malformed(_) | ForwardedFault::Untrusted => Reason::TokenInvalid,
        };
        Self::new(reason).because(fault.to_string())
    }
}

/// The place in the request where the credential was.
fn carrier(credential: &TokenCredential, route: &ServedRoute, head: &Parts) -> ForwardedCredential {
    match credential {
        TokenCredential::Bearer(_) => ForwardedCredential::Authorization,
        // A pair in the fields and another one in the query would have been refused as ambiguous.
        TokenCredential::Pair { .. } if route.accept.token_key && has_pair(head) => {
            ForwardedCredential::TokenKey
        }
        TokenCredential::Pair { .. } => ForwardedCredential::Query,
    }
}

/// True if the pair is in the header fields.
fn has_pair(head: &Parts) -> bool {
    head.headers.contains_key("x-access-token")
}
