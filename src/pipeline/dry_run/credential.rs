//! The credential that a request presents: its kind and where it is, what it says of itself, and the
//! caller if it is good. Its value is never shown.

use std::sync::Arc;

use serde_json::json;

use http_body::Body as _;

use super::DryRun;
use super::body::imagined_body;
use super::explanation::{CredentialFacts, IdentityFacts};
use crate::authn::{
    AcceptedIssuers, CarriedToken, ClaimedFacts, RemoteLookup, RequestCredential, RequestSignature,
    TokenCredential, TokenError, VerifiedCredential, VerifyError, claimed_facts,
};
use crate::clock::Timestamp;
use crate::gateway::ServedRoute;
use crate::identity::SessionId;
use crate::pipeline::signed::signed_request;

impl DryRun<'_> {
    /// The credential that counts on the route.
    pub(super) fn credential(&self) -> Option<CredentialFacts> {
        let route = self.route()?;
        let presented = self.presented(route)?;
        let claimed = self.claimed().map(|claimed| {
            json!({
                "algorithm": claimed.algorithm,
                "key_id": claimed.key_id,
                "claims": claimed.claims,
            })
        });
        Some(CredentialFacts {
            kind: presented.kind().name(),
            carrier: self.carrier(&presented, route),
            claimed,
            identity: self.proved(route).map(|verified| identity(&verified)),
        })
    }

    /// The credential that the route takes, if there is one that can be read.
    pub(super) fn presented(&self, route: &ServedRoute) -> Option<RequestCredential> {
        let api_key = self.view.generation.services.api_keys.header();
        RequestCredential::extract(&self.head, route.accept, api_key, &route.carriers)
            .ok()
            .flatten()
    }

    /// Where the credential is.
    fn carrier(&self, presented: &RequestCredential, route: &ServedRoute) -> String {
        let in_fields = self.head.headers.contains_key("x-access-token");
        match presented {
            RequestCredential::Token(TokenCredential::Bearer(_))
            | RequestCredential::Password { .. } => "Authorization".to_owned(),
            RequestCredential::Token(TokenCredential::Pair { .. })
                if route.accept.token_key && in_fields =>
            {
                "X-Access-Token and X-Key".to_owned()
            }
            RequestCredential::Token(TokenCredential::Pair { .. }) => "the query".to_owned(),
            RequestCredential::Login(CarriedToken { carrier, .. }) => {
                let places = route.carriers.places(*carrier).iter();
                places.map(ToString::to_string).collect::<Vec<_>>().join(" and ")
            }
            RequestCredential::Signature(_) => {
                let places = route.carriers.signature_places().iter();
                places.map(ToString::to_string).collect::<Vec<_>>().join(" and ")
            }
            RequestCredential::ApiKey(_) => {
                let header = self.view.generation.services.api_keys.header();
                header.map(ToString::to_string).unwrap_or_default()
            }
        }
    }

    /// The facts that the token of the request states of itself.
    pub(super) fn claimed(&self) -> Option<ClaimedFacts> {
        match self.presented(self.route()?)? {
            RequestCredential::Token(token)
            | RequestCredential::Login(CarriedToken { credential: token, .. }) => {
                claimed_facts(token.token().expose())
            }
            RequestCredential::ApiKey(_)
            | RequestCredential::Signature(_)
            | RequestCredential::Password { .. } => None,
        }
    }

    /// The verified credential of a caller who was proved. It is verified once more by what is in
    /// memory, since the run keeps none.
    pub(super) fn proved(&self, route: &ServedRoute) -> Option<Arc<VerifiedCredential>> {
        self.facts.subject.as_ref()?;
        self.verified(route)?.ok()
    }

    /// The result of verifying the token or API key from memory; `None` for other kinds, and where an
    /// issuer would have to be asked.
    pub(super) fn verified(
        &self,
        route: &ServedRoute,
    ) -> Option<Result<Arc<VerifiedCredential>, TokenError>> {
        let generation = &self.view.generation;
        let now = self.view.shared.clock.now();
        let presented = self.presented(route)?;
        let issuers = match &presented {
            RequestCredential::Login(token) => route.carriers.issuers(token.carrier),
            _ => AcceptedIssuers::usual(&route.config.issuers),
        };
        match presented {
            RequestCredential::Token(token)
            | RequestCredential::Login(CarriedToken { credential: token, .. }) => {
                let print = self.client.certificate_print(now);
                match generation.verifier.verify_from(&token, issuers, print, now) {
                    Ok(verified) => Some(Ok(verified)),
                    Err(VerifyError::Rejected(refusal)) => Some(Err(refusal)),
                    Err(VerifyError::NeedsLookup(RemoteLookup::OwnKeys(_, refusal))) => {
                        Some(Err(refusal))
                    }
                    Err(VerifyError::NeedsLookup(_)) => None,
                }
            }
            RequestCredential::ApiKey(key) => {
                Some(generation.services.api_keys.verify(&key, self.client.address, now))
            }
            RequestCredential::Signature(presented) => self.signed(route, presented, now),
            RequestCredential::Password { .. } => None,
        }
    }

    /// The result of verifying a signature; `None` if it covers a body, which a dry run does not
    /// have.
    fn signed(
        &self,
        route: &ServedRoute,
        presented: RequestSignature,
        now: Timestamp,
    ) -> Option<Result<Arc<VerifiedCredential>, TokenError>> {
        let verifier = route.carriers.signature()?;
        let target = self.target.as_ref().ok()?;
        if verifier.needs_body() && !imagined_body(&self.head).is_end_stream() {
            return None;
        }
        let pending = verifier.find(presented, self.client.address, now);
        Some(pending.and_then(|pending| {
            pending.verify(&signed_request(target))?;
            pending.identity(now)
        }))
    }
}

fn identity(verified: &VerifiedCredential) -> IdentityFacts {
    let identity = &verified.identity;
    let texts = |names: &[Arc<str>]| names.iter().map(ToString::to_string).collect();
    IdentityFacts {
        subject: identity.subject.to_string(),
        username: identity.username.to_string(),
        issuer: identity.issuer.to_string(),
        login: identity.login.to_string(),
        source: identity.source.to_string(),
        session: identity.session.as_ref().map(SessionId::to_string),
        roles: texts(&identity.roles),
        scopes: texts(&identity.scopes),
    }
}
