//! Token exchange: verifies foreign tokens that a login exchanges for our own.
//!
//! A login lists the issuers whose tokens it accepts. A token of any other issuer, our own tokens
//! included, is not accepted. Routes give one answer for every refusal. Here a valid token of a
//! subject that the issuer's `subjects` exclude gets a specific answer, but only after its
//! signature was verified. `login::exchange` is the caller.

use std::sync::Arc;

use super::claims;
use super::credential::TokenCredential;
use super::external_issuer::ExternalIssuer;
use super::jws::CompactJws;
use super::token_place::AcceptedIssuers;
use super::verified::{TokenError, VerifiedCredential};
use super::verifier::{RequestClient, Verifier};
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::identity::Claims;
use crate::secret::SecretString;

impl Verifier {
    /// True if a token names one of these issuers, verified or not, or is opaque and only they
    /// could know it. No other issuer is asked.
    pub fn may_be_of(&self, token: &SecretString, issuers: &[String]) -> bool {
        let credential = TokenCredential::Bearer(token.clone());
        // For lookups an empty list means "all issuers". For a login it means that no issuer is
        // accepted, so the empty list is excluded first.
        !issuers.is_empty()
            && (self.any_of(token, issuers, |_, _, _| true)
                || !self.possible_issuers(&credential, AcceptedIssuers::usual(issuers)).is_empty())
    }

    /// Verifies a token of one of these issuers; no other issuer sees it. Runs on the background
    /// runtime.
    ///
    /// # Errors
    /// As `verify_from_with_lookup`. `NotPermitted` if the token is valid except that its subject
    /// is not among the issuer's `subjects`.
    pub async fn verify_for_exchange(
        &self,
        token: &SecretString,
        issuers: &[String],
        presenter: RequestClient<'_>,
        now: Timestamp,
    ) -> Result<Arc<VerifiedCredential>, TokenError> {
        let credential = TokenCredential::Bearer(token.clone());
        let among = AcceptedIssuers::usual(issuers);
        let proved = self.verify_from_with_lookup(&credential, among, presenter, now).await;
        let is_named = |verified: &VerifiedCredential| {
            !verified.is_local() && issuers.iter().any(|name| **name == *verified.identity.issuer)
        };
        match proved {
            Ok(verified) if is_named(&verified) => Ok(verified),
            Ok(_) => Err(TokenError::invalid("tokens of its issuer are not traded here")),
            Err(TokenError { reason: Reason::TokenInvalid, cause })
                if self.any_of(token, issuers, |foreign, token, claims| {
                    foreign.is_valid_for_other_subject(token, claims, now)
                }) =>
            {
                // The signature is verified again before the specific answer is given. An invented
                // token must not reveal which subjects are accepted.
                Err(TokenError { reason: Reason::NotPermitted, cause })
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// True if `holds` for one of `issuers` that could have issued the token.
    fn any_of(
        &self,
        token: &SecretString,
        issuers: &[String],
        holds: impl Fn(&ExternalIssuer, &CompactJws<'_>, &Claims) -> bool,
    ) -> bool {
        let Ok(token) = CompactJws::parse(token.expose()) else { return false };
        let Ok(claims) = token.claims() else { return false };
        let Ok(issuer) = claims::text(&claims, "iss") else { return false };
        let named = |name: &str| issuers.iter().any(|one| one == name);
        let mut candidates = self.foreign.iter().filter(|foreign| named(foreign.name()));
        candidates.any(|foreign| foreign.may_issue(issuer) && holds(foreign, &token, &claims))
    }
}
