//! Proving a token: by this gateway, remembered and not, and by jsonwebtoken's own `decode`.
//!
//! All of them prove one token: signature, `exp`, `nbf`, `iss`, `aud`. jsonwebtoken's key is made
//! ready before, as whoever uses it well does.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use tollhouse::admission::AttemptLimit;
use tollhouse::algorithm::Algorithm;
use tollhouse::authn::{TokenCredential, Verifier, VerifierOptions};
use tollhouse::clock::Clock;
use tollhouse::config;
use tollhouse::identity::IdRules;
use tollhouse::session::{EmbeddedOptions, EmbeddedStore, Revocations};
use tollhouse::token::{KeyPlace, KeyRing, KeyRingOptions};

use super::NOW;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "legacy";
const DAY: Duration = Duration::from_secs(86_400);

/// A token and everything that proves it.
pub struct Proof {
    credential: TokenCredential,
    token: String,
    remembering: Verifier,
    forgetful: Verifier,
    key: DecodingKey,
    validation: Validation,
}

impl Proof {
    /// A token of an issuer that signs with `algorithm`: HS256, RS256 or ES256.
    pub fn new(algorithm: &str) -> Self {
        let algorithm: jsonwebtoken::Algorithm = algorithm.parse().unwrap();
        let signing = Signing::new(algorithm);
        let header = Header { kid: None, ..Header::new(algorithm) };
        let token = jsonwebtoken::encode(&header, &claims(), &signing.signer).unwrap();
        let credential = TokenCredential::Bearer(token.as_str().into());
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        validation.validate_nbf = true;
        // Its clock is the system's: the times are compared, with a leeway that lets ours pass.
        validation.leeway = 30 * 365 * 86_400;
        let proof = Self {
            credential,
            token,
            remembering: verifier(algorithm, &signing, 1000),
            forgetful: verifier(algorithm, &signing, 0),
            key: signing.verifier,
            validation,
        };
        proof.remembered();
        proof
    }

    /// By the gateway, which proved it before.
    pub fn remembered(&self) -> bool {
        self.remembering.verify(&self.credential, NOW).is_ok()
    }

    /// By the gateway, which sees it for the first time, and remembers nothing.
    pub fn new_to_us(&self) -> bool {
        self.forgetful.verify(&self.credential, NOW).is_ok()
    }

    /// By jsonwebtoken.
    pub fn by_jsonwebtoken(&self) -> bool {
        jsonwebtoken::decode::<Value>(&self.token, &self.key, &self.validation).is_ok()
    }
}

/// The two halves of a key, and how a configuration names the public one.
struct Signing {
    signer: EncodingKey,
    verifier: DecodingKey,
    file: &'static str,
    content: String,
}

const SECRET: &str = "a secret for benchmarks that is longer than the hash it keys, by far";

impl Signing {
    fn new(algorithm: jsonwebtoken::Algorithm) -> Self {
        match algorithm {
            jsonwebtoken::Algorithm::HS256 => Self {
                signer: EncodingKey::from_secret(SECRET.as_bytes()).unwrap(),
                verifier: DecodingKey::from_secret(SECRET.as_bytes()).unwrap(),
                file: r#"secret = { file = "key" }"#,
                content: SECRET.to_owned(),
            },
            jsonwebtoken::Algorithm::RS256 => {
                let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
                Self {
                    signer: EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap(),
                    verifier: DecodingKey::from_rsa_pem(pair.public_key_pem().as_bytes()).unwrap(),
                    file: r#"public_key_file = "key""#,
                    content: pair.public_key_pem(),
                }
            }
            jsonwebtoken::Algorithm::ES256 => {
                let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
                Self {
                    signer: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(),
                    verifier: DecodingKey::from_ec_pem(pair.public_key_pem().as_bytes()).unwrap(),
                    file: r#"public_key_file = "key""#,
                    content: pair.public_key_pem(),
                }
            }
            other => panic!("no key for {other:?}"),
        }
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "5f0c3c1e-0000-4000-8000-000000000001",
        "iat": NOW.secs(),
        "nbf": NOW.secs(),
        "exp": NOW.secs() + 3600,
        "preferred_username": "bob",
        "roles": ["reader", "writer"],
        "scope": "orders invoices",
    })
}

/// A gateway's verifier that takes tokens of this issuer, configured as an operator does it.
fn verifier(algorithm: jsonwebtoken::Algorithm, signing: &Signing, cache_size: usize) -> Verifier {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), &signing.content).unwrap();
    let text = format!(
        r#"
[[listener]]
address = "127.0.0.1:0"
[token]
issuer = "https://gateway.example"
[[issuer]]
name = "other"
issuer = "{ISSUER}"
audience = ["{AUDIENCE}"]
algorithms = ["{algorithm:?}"]
{}
[[upstream]]
name = "sample"
servers = ["builtin:echo"]
[[route]]
path = "/"
upstream = "sample"
"#,
        signing.file
    );
    let loaded = config::parse(&text, &dir.path().join("gateway.toml"), &|_| None);
    let config = loaded.unwrap_or_else(|issues| panic!("{issues}")).config;
    let ring = KeyRing::open(KeyRingOptions {
        place: KeyPlace::ManagedFolder(dir.path().join("keys")),
        algorithms: vec![Algorithm::ES256],
        rotate_every: DAY * 90,
        publish_before: DAY,
        keep_for: DAY * 30,
        now: NOW,
    });
    Verifier::new(VerifierOptions {
        ring: ring.unwrap(),
        logins: &config.logins,
        issuers: &config.issuers,
        revocations: Arc::new(Revocations::default()),
        // Signed tokens are verified without a store.
        store: EmbeddedStore::empty_to_read(EmbeddedOptions {
            path: dir.path().join("store.redb"),
            clock: Clock::system(),
            leeway: Duration::from_secs(30),
            longest_access: Duration::from_secs(3600),
            ids: IdRules::default(),
            keys_exist: false,
            new_state: false,
            backend_faults: None,
        }),
        leeway: Duration::from_secs(30),
        cache_size,
        refusals: AttemptLimit { attempts: 60, per: Duration::from_secs(600) },
        last: None,
    })
    .unwrap()
}
