//! Tokens: keys, verification, the pair, other issuers, the memory.

// Helpers outside `#[test]` functions are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cache;
mod credentials;
mod foreign;
mod keys;
mod own;
mod pair;
mod security;
mod shared_keys;
mod trade;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tollhouse::admission::AttemptLimit;
use tollhouse::algorithm::Algorithm;
use tollhouse::authn::{
    TokenCredential, TokenError, VerifiedCredential, Verifier, VerifierOptions, VerifyError,
};
use tollhouse::clock::Timestamp;
use tollhouse::dialect::{Dialect, Reason};
use tollhouse::identity::{Claims, SessionId, Subject, UserId};
use tollhouse::secret::{Digest, Secret};
use tollhouse::session::{EmbeddedStore, Revocations, Session, Store};
use tollhouse::settings::{AudienceRule, IssuerKeys, IssuerSettings, LoginSettings};
use tollhouse::token::{self, ACCESS_TYPE, KeyPlace, KeyRing, KeyRingOptions, TokenGrant};

/// When all of this happens.
pub(super) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// What the legacy issuer signs with.
pub(super) const SECRET: &[u8] = b"a shared secret of 32 bytes, ok!";

/// A store that is away: signed tokens are verified without it.
pub(super) fn no_store() -> Arc<dyn Store> {
    EmbeddedStore::empty_to_read(crate::store::samples::options(Path::new("/nowhere")))
}

/// A gateway's token parts: one ring, two logins, whatever issuers a test wants.
pub(super) struct Bench {
    pub(super) ring: Arc<KeyRing>,
    pub(super) verifier: Verifier,
    pub(super) revocations: Arc<Revocations>,
    pub(super) login: LoginSettings,
    pub(super) session: Session,
    _dir: Option<TempDir>,
}

impl Bench {
    pub(super) fn new(issuers: &[IssuerSettings]) -> Self {
        Self::with(issuers, Algorithm::ES256, 1000)
    }

    pub(super) fn with(
        issuers: &[IssuerSettings],
        algorithm: Algorithm,
        cache_size: usize,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = ring_options(&dir, &[algorithm]);
        let ring = KeyRing::open(options).unwrap();
        Self { _dir: Some(dir), ..Self::on(ring, issuers, algorithm, cache_size) }
    }

    /// On a ring that is there already.
    pub(super) fn on(
        ring: Arc<KeyRing>,
        issuers: &[IssuerSettings],
        algorithm: Algorithm,
        cache_size: usize,
    ) -> Self {
        let revocations = Arc::new(Revocations::default());
        revocations.set_store_made(NOW.minus(DAY));
        let logins = [login("native", algorithm), login("webitel", algorithm)];
        let verifier = Verifier::new(VerifierOptions {
            ring: ring.clone(),
            logins: &logins,
            issuers,
            revocations: revocations.clone(),
            store: no_store(),
            leeway: Duration::from_secs(30),
            cache_size,
            refusals: AttemptLimit { attempts: 60, per: Duration::from_secs(600) },
            last: None,
        })
        .unwrap();
        let [login, _] = logins;
        Self { ring, verifier, revocations, login, session: session(), _dir: None }
    }

    pub(super) fn grant(&self, claims: Value) -> TokenGrant<'_> {
        TokenGrant {
            session: &self.session,
            login: &self.login,
            claims: object(claims),
            jti: "an-id",
            issued: NOW,
            expires: NOW.plus(HOUR),
        }
    }

    /// An access token as the gateway issues it.
    pub(super) fn access(&self) -> String {
        token::access_token(&self.ring, &self.grant(json!({}))).unwrap().expose().clone()
    }

    /// A refresh token as the gateway issues it.
    pub(super) fn refresh(&self) -> String {
        token::refresh_token(&self.ring, &self.grant(json!({})), None).unwrap().expose().clone()
    }

    /// A token with our signature whose claims were changed: `null` removes one.
    pub(super) fn changed(&self, changes: Value) -> String {
        self.typed(ACCESS_TYPE, changes)
    }

    pub(super) fn typed(&self, typ: &str, changes: Value) -> String {
        let mut claims = claims_of(&self.access());
        for (name, value) in object(changes) {
            match value {
                Value::Null => drop(claims.remove(&name)),
                value => drop(claims.insert(name, value)),
            }
        }
        self.ring.sign(self.login.algorithm, typ, &claims).unwrap().expose().clone()
    }

    pub(super) fn bearer(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<VerifiedCredential>, TokenError> {
        self.verifier
            .verify(&TokenCredential::Bearer(token.into()), now)
            .map_err(VerifyError::without_lookup)
    }

    pub(super) fn pair(
        &self,
        token: &str,
        key: &str,
    ) -> Result<Arc<VerifiedCredential>, TokenError> {
        let pair = TokenCredential::Pair { token: token.into(), key: key.into() };
        self.verifier.verify(&pair, NOW).map_err(VerifyError::without_lookup)
    }

    /// Asserts that a Bearer is refused as forged would be.
    #[track_caller]
    pub(super) fn refuses(&self, token: &str, why: &str) {
        let refusal = self.bearer(token, NOW).expect_err(why);
        assert_eq!(refusal.reason, Reason::TokenInvalid, "{why}: {}", refusal.cause);
    }
}

pub(super) fn ring_options(dir: &TempDir, algorithms: &[Algorithm]) -> KeyRingOptions {
    KeyRingOptions {
        place: KeyPlace::ManagedFolder(dir.path().join("keys")),
        algorithms: algorithms.to_vec(),
        rotate_every: DAY * 90,
        publish_before: DAY,
        keep_for: DAY * 30,
        now: NOW,
    }
}

pub(super) fn login(name: &str, algorithm: Algorithm) -> LoginSettings {
    LoginSettings {
        name: name.to_owned(),
        dialect: Dialect::builtin("native").unwrap(),
        prefix: String::new(),
        hosts: vec!["*".to_owned()],
        users: Vec::new(),
        exchange: Vec::new(),
        exchange_ttl: DAY,
        access_ttl: HOUR,
        refresh_ttl: DAY,
        refresh_idle: None,
        refresh_grace: Duration::from_secs(10),
        algorithm,
        issuer: "https://gateway.example".to_owned(),
        audience: vec!["legacy".to_owned()],
        cors: None,
        reveal_unknown_user: false,
        totp: true,
        clients: Vec::new(),
        url: None,
        tenants: Vec::new(),
        about: serde_json::Map::new(),
        body_limit: 65_536,
    }
}

pub(super) fn session() -> Session {
    Session {
        id: SessionId::new(NOW),
        subject: Subject::new("5f0c3c1e-0000-4000-8000-000000000001"),
        realm: "staff".to_owned(),
        username: "bob".to_owned(),
        email: None,
        source: "staff".to_owned(),
        user_id: UserId::new("5f0c3c1e-0000-4000-8000-000000000001"),
        login: "native".to_owned(),
        roles: vec!["reader".to_owned()],
        scopes: vec!["a".to_owned(), "b".to_owned()],
        claims: Claims::new(),
        user_version: Digest::of(b"version"),
        created: NOW,
        expires: NOW.plus(DAY),
        idle: None,
        last_used: NOW,
        access_until: NOW.plus(HOUR),
        refresh: None,
        key_hash: None,
        traded: None,
        kept: None,
        tokens: Vec::new(),
        address: None,
        agent: None,
    }
}

/// An issuer whose HS256 tokens are taken, by the rules that are the default.
pub(super) fn issuer() -> IssuerSettings {
    IssuerSettings {
        name: "legacy".to_owned(),
        issuer: "https://legacy.example/".to_owned(),
        audience: AudienceRule::OneOf(vec!["legacy".to_owned()]),
        algorithms: vec![Algorithm::HS256],
        keys: IssuerKeys::Secret(Secret::new(SECRET.to_vec())),
        ca: None,
        allow_weak_secret: false,
        allow_http: false,
        max_stale: DAY,
        client_id: None,
        subjects: Vec::new(),
        username_claim: vec!["name".to_owned()],
        roles_claim: vec!["realm".to_owned(), "roles".to_owned()],
        scopes_claim: vec!["scope".to_owned()],
        types: vec!["jwt".to_owned(), "at+jwt".to_owned()],
        type_optional: true,
        required: ["exp", "iss", "aud", "sub"].map(str::to_owned).to_vec(),
        leeway: Duration::from_secs(30),
        max_lifetime: None,
        until: None,
        allow_id_tokens: false,
    }
}

/// The claims of a token that `issuer` would sign, changed: `null` removes one.
pub(super) fn foreign_claims(changes: Value) -> String {
    let mut claims = object(json!({
        "iss": "https://legacy.example/", "aud": "legacy", "sub": "7",
        "iat": NOW.secs(), "exp": NOW.plus(HOUR).secs(),
    }));
    for (name, value) in object(changes) {
        match value {
            Value::Null => drop(claims.remove(&name)),
            value => drop(claims.insert(name, value)),
        }
    }
    Value::Object(claims).to_string()
}

/// A token of the legacy issuer with these claims.
pub(super) fn foreign(changes: Value) -> String {
    signed(r#"{"alg":"HS256","typ":"JWT"}"#, &foreign_claims(changes), SECRET)
}

/// Any header and payload, signed with HMAC-SHA256 as they are.
pub(super) fn signed(header: &str, payload: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = jsonwebtoken::EncodingKey::from_secret(secret).unwrap();
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

pub(super) fn object(value: Value) -> Claims {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is not an object"),
    }
}

pub(super) fn header_of(token: &str) -> Value {
    let header = token.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

pub(super) fn claims_of(token: &str) -> Claims {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
