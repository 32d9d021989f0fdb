//! Foreign tokens that are to be traded for ours at a login.
//!
//! A login names the issuers whose tokens it trades; a token of any other, our own among them, is
//! none. On routes every refusal is one answer. Here a token that is good in everything but whose
//! it is may be told so: that is said only once its signature holds.

use std::sync::Arc;

use super::claims;
use super::credential::Credential;
use super::foreign::Foreign;
use super::jws::Compact;
use super::verified::{Refusal, Verified};
use super::verifier::{Presenter, Verifier};
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::identity::Claims;
use crate::secret::SecretString;

impl Verifier {
    /// Whether a token says that it is of one of these issuers, proved or not, or may be one that
    /// they alone understand: others are not asked about.
    pub fn may_be_of(&self, token: &SecretString, issuers: &[String]) -> bool {
        let credential = Credential::Bearer(token.clone());
        // Named by nobody is not named by all.
        !issuers.is_empty()
            && (self.any_of(token, issuers, |_, _, _| true)
                || !self.may_know(&credential, issuers).is_empty())
    }

    /// Proves a token of one of these issuers; nobody else sees it. Waits: for the back room.
    ///
    /// # Errors
    /// As `prove`; `NotPermitted` where all that is wrong is that it is somebody else's than the
    /// issuer's `subjects`.
    pub async fn prove_of(
        &self,
        token: &SecretString,
        issuers: &[String],
        presenter: Presenter<'_>,
        now: Timestamp,
    ) -> Result<Arc<Verified>, Refusal> {
        let credential = Credential::Bearer(token.clone());
        let proved = self.prove_among(&credential, issuers, presenter, now).await;
        let is_named = |verified: &Verified| {
            !verified.own && issuers.iter().any(|name| **name == *verified.identity.issuer)
        };
        match proved {
            Ok(verified) if is_named(&verified) => Ok(verified),
            Ok(_) => Err(Refusal::invalid("tokens of its issuer are not traded here")),
            Err(Refusal { reason: Reason::TokenInvalid, cause })
                if self.any_of(token, issuers, |foreign, token, claims| {
                    foreign.is_strangers(token, claims, now)
                }) =>
            {
                Err(Refusal { reason: Reason::NotPermitted, cause })
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn any_of(
        &self,
        token: &SecretString,
        issuers: &[String],
        holds: impl Fn(&Foreign, &Compact<'_>, &Claims) -> bool,
    ) -> bool {
        let Ok(token) = Compact::parse(token.expose()) else { return false };
        let Ok(claims) = token.claims() else { return false };
        let Ok(issuer) = claims::text(&claims, "iss") else { return false };
        let named = |name: &str| issuers.iter().any(|one| one == name);
        let mut candidates = self.foreign.iter().filter(|foreign| named(foreign.name()));
        candidates.any(|foreign| foreign.may_issue(issuer) && holds(foreign, &token, &claims))
    }
}
