//! Tokens by which an upstream can prove, without asking anybody, who calls through us.
//!
//! Signed by our ring, whose public keys the JWKS publishes. Their type is one that no route or
//! login of ours takes, and their audience is the one upstream: whoever it leaks to can use it
//! nowhere else. One is made for each caller and upstream and used again for half its life, since
//! signing costs more than all the rest of a request.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use http::HeaderValue;
use serde_json::Value;

use super::{KeyError, KeyRing, new_jti};
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::identity::{Claims, Identity};
use crate::secret::Digest;

/// The type of these tokens in the header.
pub const UPSTREAM_TYPE: &str = "up+jwt";

/// A token is worth something for so long.
const LIFE: Duration = Duration::from_secs(60);
/// And is handed out again for so long.
const REUSED: Duration = Duration::from_secs(30);
/// Tokens that are kept; a further one is signed again for every request.
const MOST: usize = 50_000;

/// Makes and keeps tokens for upstreams.
#[derive(Debug)]
pub struct UpstreamTokens {
    ring: Arc<KeyRing>,
    issuer: String,
    algorithm: Algorithm,
    kept: DashMap<(Arc<str>, Digest), Kept>,
}

#[derive(Debug)]
struct Kept {
    value: HeaderValue,
    until: Timestamp,
    /// Of the keys that it was signed under: a revoked key's tokens are not handed out again.
    epoch: u64,
}

impl UpstreamTokens {
    /// Tokens of `issuer`, signed with `algorithm`.
    pub fn new(ring: Arc<KeyRing>, issuer: String, algorithm: Algorithm) -> Self {
        Self { ring, issuer, algorithm, kept: DashMap::new() }
    }

    /// A token that was made a moment ago for the same credential (`digest`).
    pub fn held(&self, upstream: &Arc<str>, digest: Digest, now: Timestamp) -> Option<HeaderValue> {
        let kept = self.kept.get(&(upstream.clone(), digest))?;
        (now < kept.until && kept.epoch == self.ring.epoch()).then(|| kept.value.clone())
    }

    /// A new token. Signs, which takes long: for the back room.
    ///
    /// # Errors
    /// When there is no key to sign with.
    pub fn make(
        &self,
        upstream: &Arc<str>,
        identity: &Identity,
        digest: Digest,
        now: Timestamp,
    ) -> Result<HeaderValue, KeyError> {
        let epoch = self.ring.epoch();
        let claims = self.claims(upstream, identity, now);
        let token = self.ring.sign(self.algorithm, UPSTREAM_TYPE, &claims)?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .unwrap_or(HeaderValue::from_static("Bearer"));
        value.set_sensitive(true);
        if self.kept.len() < MOST {
            let kept = Kept { value: value.clone(), until: now.plus(REUSED), epoch };
            self.kept.insert((upstream.clone(), digest), kept);
        }
        Ok(value)
    }

    /// Forgets tokens that are not handed out any more; called by the back room.
    pub fn sweep(&self, now: Timestamp) {
        self.kept.retain(|_, kept| now < kept.until);
    }

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
