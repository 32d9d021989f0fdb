//! Tokens for upstreams: they let an upstream verify who calls through the gateway, without a
//! lookup.
//!
//! They are signed by the key ring, whose public keys the JWKS publishes. Their type is accepted by
//! no route and no login of the gateway, and their audience is one upstream, so a leaked token is
//! useless elsewhere. A token is made per caller and upstream and reused for half its life, because
//! a signature costs more than the rest of the request. The pipeline is the caller.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use serde_json::Value;

use super::{KeyError, KeyRing, new_jti};
use crate::algorithm::Algorithm;
use crate::bounded_cache::BoundedCache;
use crate::clock::Timestamp;
use crate::identity::{Claims, Identity};
use crate::secret::Digest;

/// The `typ` of these tokens.
pub const UPSTREAM_TYPE: &str = "up+jwt";

/// The life of a token.
const LIFE: Duration = Duration::from_secs(60);
/// How long a token is reused. The remaining half of its life is left for the upstream.
const REUSED: Duration = Duration::from_secs(30);
/// Upper bound of stored tokens. Beyond it, the oldest is evicted and signed again when needed.
const MOST: usize = 50_000;

/// Creates and stores tokens for upstreams.
#[derive(Debug)]
pub struct UpstreamTokens {
    ring: Arc<KeyRing>,
    issuer: String,
    algorithm: Algorithm,
    kept: BoundedCache<(Arc<str>, Digest), CachedToken>,
}

/// A stored token.
#[derive(Clone, Debug)]
struct CachedToken {
    value: HeaderValue,
    /// The epoch of the key ring at the signature. If the epoch has changed, a key may have been
    /// revoked, and the token is not reused.
    epoch: u64,
}

impl UpstreamTokens {
    /// Tokens of `issuer`, signed with `algorithm`.
    pub fn new(ring: Arc<KeyRing>, issuer: String, algorithm: Algorithm) -> Self {
        Self { ring, issuer, algorithm, kept: BoundedCache::new(MOST, REUSED) }
    }

    /// A stored token for the same credential (`digest`) and upstream, if it can still be reused. A
    /// token of an earlier epoch of the keys is not returned.
    pub fn cached(
        &self,
        upstream: &Arc<str>,
        digest: Digest,
        now: Timestamp,
    ) -> Option<HeaderValue> {
        let kept = self.kept.get(&(upstream.clone(), digest), now)?;
        (kept.epoch == self.ring.epoch()).then_some(kept.value)
    }

    /// Creates a token. The signature takes long; call it on the background runtime.
    ///
    /// # Errors
    /// No key signs the configured algorithm.
    pub fn make(
        &self,
        upstream: &Arc<str>,
        identity: &Identity,
        digest: Digest,
        now: Timestamp,
    ) -> Result<HeaderValue, KeyError> {
        // The epoch is read before the signature. If a key is revoked between the two, then the
        // token is stored with the older epoch and is never reused. In the other order a token of
        // the revoked key could carry the new epoch.
        let epoch = self.ring.epoch();
        let claims = self.claims(upstream, identity, now);
        let token = self.ring.sign(self.algorithm, UPSTREAM_TYPE, &claims)?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .unwrap_or(HeaderValue::from_static("Bearer"));
        value.set_sensitive(true);
        let kept = CachedToken { value: value.clone(), epoch };
        self.kept.insert((upstream.clone(), digest), kept, now.plus(REUSED));
        Ok(value)
    }

    /// Removes tokens that are not reused any more. The background runtime calls it regularly.
    pub fn sweep(&self, now: Timestamp) {
        self.kept.sweep(now);
    }

    /// The claims of a token: the caller's identity, and the issuer that vouched for it (`idp`).
    fn claims(&self, upstream: &str, identity: &Identity, now: Timestamp) -> Claims {
        let names = |list: &[Arc<str>]| list.iter().map(|name| Value::from(&**name)).collect();
        let scopes: Vec<&str> = identity.scopes.iter().map(AsRef::as_ref).collect();
        let issued = Value::from(now.secs());
        let mut claims: Claims = [
            ("iss", Value::from(self.issuer.as_str())),
            ("aud", Value::from(upstream)),
            ("sub", Value::from(identity.subject.as_str())),
            ("iat", issued.clone()),
            ("nbf", issued),
            ("exp", Value::from(now.plus(LIFE).secs())),
            ("jti", Value::from(new_jti())),
            ("preferred_username", Value::from(&*identity.username)),
            ("roles", Value::Array(names(&identity.roles))),
            ("scope", Value::from(scopes.join(" "))),
            ("idp", Value::from(&*identity.issuer)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        if let Some(session) = &identity.session {
            claims.insert("sid".to_owned(), Value::from(session.to_string()));
        }
        if !identity.login.is_empty() {
            claims.insert("client_id".to_owned(), Value::from(&*identity.login));
        }
        if !identity.source.is_empty() {
            claims.insert("src".to_owned(), Value::from(&*identity.source));
        }
        claims
    }
}
