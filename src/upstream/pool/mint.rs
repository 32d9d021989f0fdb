//! Tokens of an upstream's own form that the gateway makes for the users who call.
//!
//! A token is signed on the background runtime, because a signature would block a worker, and is
//! used again until shortly before it ends. It is remembered under everything that it says of its
//! user: a user whose roles have changed gets another token at once. Of all requests that wait for
//! the same token, one has it signed. `forward` is the caller.

use std::sync::Arc;
use std::time::Duration;

use crate::bounded_cache::BoundedCache;
use crate::clock::Timestamp;
use crate::dialect::{Carrier, MintedClaims, MissingValue, TokenValues, UserValues};
use crate::identity::{Identity, UserProfile};
use crate::runtime::{BackgroundRuntime, WorkKind};
use crate::secret::{Digest, SecretString};
use crate::settings::MintSettings;
use crate::single_flight::SingleFlight;
use crate::token::{BadKey, MintingKey, new_jti};
use crate::upstream::error::MintError;

/// How long before its end a token is replaced, at most: longer than a request needs to arrive, and
/// than clocks of one site differ.
const AHEAD: Duration = Duration::from_secs(30);
/// Upper bound on stored tokens. Beyond it, the oldest is evicted and signed again when needed.
const MOST: usize = 50_000;
/// Upper bound on tokens that are being signed at once.
const SIGNED_AT_ONCE: usize = 1024;
/// Upper bound on requests that wait for the same token.
const WAITING: usize = 1024;

/// Makes and remembers the tokens of one upstream.
#[derive(Debug)]
pub(in crate::upstream) struct TokenMint {
    key: Arc<MintingKey>,
    claims: MintedClaims,
    ttl: Duration,
    carrier: Carrier,
    kept: BoundedCache<Digest, Arc<SecretString>>,
    flights: SingleFlight<Digest, Result<Arc<SecretString>, MintError>>,
}

impl TokenMint {
    /// Prepares the key. No token is made yet.
    ///
    /// # Errors
    /// A key that cannot be used.
    pub(super) fn new(settings: &MintSettings) -> Result<Self, BadKey> {
        Ok(Self {
            key: Arc::new(MintingKey::new(settings)?),
            claims: settings.claims.compiled.clone(),
            ttl: settings.ttl,
            carrier: settings.carrier.clone(),
            kept: BoundedCache::new(MOST, settings.ttl),
            flights: SingleFlight::new(SIGNED_AT_ONCE, WAITING),
        })
    }

    /// The place of the tokens in a request.
    pub(in crate::upstream) fn carrier(&self) -> &Carrier {
        &self.carrier
    }

    /// The digest under which the token of this user is remembered.
    pub(in crate::upstream) fn digest(&self, identity: &Identity) -> Digest {
        Digest::of(&self.claims.of_user(user(identity)))
    }

    /// The token under this digest, if it can still be used.
    pub(in crate::upstream) fn remembered(
        &self,
        digest: &Digest,
        now: Timestamp,
    ) -> Option<Arc<SecretString>> {
        self.kept.get(digest, now)
    }

    /// Makes the token of a user, unless another request is doing so.
    ///
    /// # Errors
    /// The user lacks a value that the token needs, or the token cannot be signed now.
    pub(in crate::upstream) async fn make(
        self: &Arc<Self>,
        digest: Digest,
        identity: &Identity,
        background: &BackgroundRuntime,
        now: Timestamp,
    ) -> Result<Arc<SecretString>, MintError> {
        let issued = now.whole_secs();
        let token = TokenValues {
            token: SecretString::default(),
            id: new_jti(),
            issued,
            expires: issued.plus(self.ttl),
        };
        let claims = self
            .claims
            .render(user(identity), token)
            .map_err(|MissingValue { name }| MintError::Missing { name })?;
        let key = self.key.clone();
        let signing = async move { key.sign(&claims) };
        let flight = async {
            match background.run(WorkKind::Calling, signing).await {
                Ok(Some(Ok(token))) => {
                    let token = Arc::new(token);
                    let until = issued.plus(self.ttl.saturating_sub(self.ahead()));
                    self.kept.insert(digest, token.clone(), until);
                    Ok(token)
                }
                Ok(Some(Err(error))) => Err(MintError::Unsigned { cause: error.to_string() }),
                Ok(None) => Err(MintError::Unsigned { cause: "a panic while signing".to_owned() }),
                Err(_) => Err(MintError::Busy),
            }
        };
        self.flights.run(digest, flight).await.unwrap_or(Err(MintError::Busy))
    }

    /// A short life is used for three quarters.
    fn ahead(&self) -> Duration {
        AHEAD.min(self.ttl / 4)
    }
}

/// The user as claims name one.
fn user(identity: &Identity) -> UserValues {
    let texts = |list: &[Arc<str>]| list.iter().map(ToString::to_string).collect();
    let email = identity.claims.get("email").and_then(|email| email.as_str());
    let profile = UserProfile {
        name: identity.username.to_string(),
        email: email.map(str::to_owned),
        roles: texts(&identity.roles),
        scopes: texts(&identity.scopes),
        claims: identity.claims.clone(),
    };
    UserValues { id: identity.subject.to_string(), profile }
}
