//! Tokens of other issuers, each by that issuer's rules.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tollhouse::admission::AttemptLimit;
use tollhouse::algorithm::Algorithm;
use tollhouse::authn::{Verifier, VerifierOptions};
use tollhouse::dialect::Reason;
use tollhouse::identity::Subject;
use tollhouse::secret::Secret;
use tollhouse::settings::{AudienceRule, IssuerKeys, IssuerSettings};
use tollhouse::token::{KeyRing, KeySet};

use super::{
    Bench, DAY, HOUR, NOW, SECRET, foreign, foreign_claims, issuer, no_store, object, ring_options,
    signed,
};

#[test]
fn a_foreign_identity_is_issuer_and_subject_with_the_claims_that_are_named() {
    let bench = Bench::new(&[issuer()]);
    let claims = json!({"name": "Bob", "realm": {"roles": ["x"]}, "scope": "a,b c", "email": "e"});

    let verified = bench.bearer(&foreign(claims), NOW).unwrap();

    let identity = &verified.identity;
    assert_eq!(identity.subject, Subject::foreign("https://legacy.example/", "7"));
    assert_eq!((identity.username.as_ref(), identity.issuer.as_ref()), ("Bob", "legacy"));
    assert_eq!(identity.roles, ["x"].map(Arc::<str>::from));
    assert_eq!(identity.scopes, ["a", "b", "c"].map(Arc::<str>::from));
    assert_eq!((identity.session, identity.login.as_ref()), (None, ""));
    assert!(!verified.is_local());
}

#[test]
fn an_issuers_rules_decide() {
    let takeover = |issuer: &mut IssuerSettings| issuer.until = Some(NOW.plus(DAY));
    let subjects = |issuer: &mut IssuerSettings| issuer.subjects = vec!["8".to_owned()];
    let brief = |issuer: &mut IssuerSettings| issuer.max_lifetime = Some(Duration::from_secs(600));
    let any = |issuer: &mut IssuerSettings| issuer.audience = AudienceRule::Any;
    let ids = |issuer: &mut IssuerSettings| issuer.allow_id_tokens = true;
    let typed = |issuer: &mut IssuerSettings| issuer.type_optional = false;
    let jti = |issuer: &mut IssuerSettings| issuer.required.push("jti".to_owned());
    let bare = |issuer: &mut IssuerSettings| {
        issuer.required = vec!["exp".to_owned(), "sub".to_owned()];
        issuer.audience = AudienceRule::Any;
    };
    type Rule<'r> = &'r dyn Fn(&mut IssuerSettings);
    let cases: [(Rule<'_>, Value, bool, &str); 23] = [
        (&|_| {}, json!({}), true, "the default"),
        (&|_| {}, json!({"iss": "https://legacy.example"}), false, "the issuer is exact"),
        (&|_| {}, json!({"iss": null}), false, "`iss` is required"),
        (&|_| {}, json!({"sub": 7}), false, "a subject is text"),
        (&|_| {}, json!({"aud": null}), false, "no audience"),
        (&|_| {}, json!({"token_use": "id"}), false, "an ID token"),
        (&|_| {}, json!({"nonce": "n"}), false, "an ID token"),
        (&|_| {}, json!({"at_hash": "h"}), false, "an ID token"),
        (&|_| {}, json!({"events": {}}), false, "an event token"),
        (&ids, json!({"nonce": "n", "token_use": "id"}), true, "ID tokens are let in"),
        (&subjects, json!({}), false, "not listed"),
        (&subjects, json!({"sub": "8"}), true, "listed"),
        (&brief, json!({}), false, "an hour is too long"),
        (&brief, json!({"exp": NOW.secs() + 600}), true, "ten minutes are not"),
        (&brief, json!({"exp": NOW.secs() + 600, "iat": null}), false, "its lifetime is unknown"),
        (&any, json!({"aud": "others"}), true, "for anybody"),
        (&any, json!({"aud": null}), false, "`aud` is required still"),
        (&any, json!({"aud": 123}), false, "of the wrong type"),
        (&typed, json!({}), true, "it has a type"),
        (&jti, json!({}), false, "`jti` is required"),
        (&bare, json!({"iss": null, "aud": null, "iat": null}), true, "a bare takeover token"),
        (&bare, json!({"iss": "https://other.example/"}), false, "a wrong issuer is wrong still"),
        (&takeover, json!({}), true, "before its last day"),
    ];
    for (rule, changes, expected, why) in cases {
        let mut issuer = issuer();
        rule(&mut issuer);
        let bench = Bench::new(&[issuer]);

        let verdict = bench.bearer(&foreign(changes), NOW);

        assert_eq!(verdict.is_ok(), expected, "{why}: {verdict:?}");
    }
}

#[test]
fn a_takeover_ends_on_its_day_for_remembered_tokens_too() {
    let mut legacy = issuer();
    legacy.until = Some(NOW.plus(HOUR / 2));
    let bench = Bench::new(&[legacy]);
    let token = foreign(json!({}));

    assert!(bench.bearer(&token, NOW).is_ok());
    assert!(bench.bearer(&token, NOW.plus(HOUR / 2).minus(Duration::from_millis(1))).is_ok());
    let after = bench.bearer(&token, NOW.plus(HOUR / 2)).unwrap_err();

    assert_eq!(after.reason, Reason::TokenInvalid);
}

#[test]
fn types_are_compared_without_case_and_prefix() {
    let bench = Bench::new(&[issuer()]);
    for (header, expected) in [
        (r#"{"alg":"HS256"}"#, true),
        (r#"{"alg":"HS256","typ":"at+jwt"}"#, true),
        (r#"{"alg":"HS256","typ":"application/AT+JWT"}"#, true),
        (r#"{"alg":"HS256","typ":"rt+jwt"}"#, false),
        (r#"{"alg":"HS256","typ":"logout+jwt"}"#, false),
        (r#"{"alg":"HS256","typ":""}"#, false),
    ] {
        let token = signed(header, &foreign_claims(json!({})), SECRET);

        assert_eq!(bench.bearer(&token, NOW).is_ok(), expected, "{header}");
    }
}

#[test]
fn a_single_foreign_token_can_be_revoked() {
    let bench = Bench::new(&[issuer()]);
    let (token, other) = (foreign(json!({})), foreign(json!({"sub": "8"})));
    let verified = bench.bearer(&token, NOW).unwrap();

    bench.revocations.revoke_token(verified.digest, NOW.plus(HOUR));

    assert_eq!(bench.bearer(&token, NOW).unwrap_err().reason, Reason::TokenRevoked);
    assert!(bench.bearer(&other, NOW).is_ok());
}

#[test]
fn an_issuer_without_a_usable_key_is_an_error_and_a_short_secret_only_for_takeovers() {
    let bench = Bench::new(&[]);
    let made = |issuer: IssuerSettings| {
        Verifier::new(VerifierOptions {
            ring: bench.ring.clone(),
            logins: &[],
            issuers: &[issuer],
            revocations: bench.revocations.clone(),
            store: no_store(),
            leeway: Duration::ZERO,
            cache_size: 0,
            refusals: AttemptLimit { attempts: 60, per: Duration::from_secs(600) },
            last: None,
        })
    };
    let mut short = issuer();
    short.keys = IssuerKeys::Secret(Secret::new(b"password".to_vec()));
    let mut empty = issuer();
    empty.keys = IssuerKeys::Jwks(r#"{"keys":[]}"#.to_owned());

    assert!(made(empty).is_err());
    assert!(made(short.clone()).is_err());
    short.until = Some(NOW.plus(DAY));
    assert!(made(short).is_ok());
}

#[test]
fn ed25519_by_its_newer_name_is_eddsa_in_tokens_and_key_sets() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let key = jsonwebtoken::EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
    for named in ["Ed25519", "EdDSA"] {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "a", "alg": named });
        let mut legacy = issuer();
        legacy.algorithms = vec![Algorithm::parse("Ed25519").unwrap()];
        legacy.keys = IssuerKeys::Jwks(json!({ "keys": [jwk] }).to_string());
        let bench = Bench::new(&[legacy]);
        for alg in ["Ed25519", "EdDSA"] {
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}","kid":"a"}}"#));
            let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(foreign_claims(json!({}))));
            let signed = jsonwebtoken::crypto::sign(
                message.as_bytes(),
                &key,
                jsonwebtoken::Algorithm::EdDSA,
            );
            let token = format!("{message}.{}", signed.unwrap());

            let verdict = bench.bearer(&token, NOW);

            assert!(verdict.is_ok(), "{alg} with a key of {named}: {verdict:?}");
        }
        bench.refuses(&foreign(json!({})), "signed with HS256");
    }
}

#[test]
fn a_public_key_or_a_certificate_in_pem_verifies_and_a_private_key_is_refused() {
    for (kind, algorithm) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Algorithm::ES384),
        (&rcgen::PKCS_ED25519, Algorithm::EdDSA),
        (&rcgen::PKCS_RSA_SHA256, Algorithm::PS256),
    ] {
        let pair = rcgen::KeyPair::generate_for(kind).unwrap();
        let params = rcgen::CertificateParams::new(vec!["legacy.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&pair).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let signer = KeyRing::open(ring_options(&dir, &[])).unwrap();
        signer.import(&pair.serialize_pem(), Some(algorithm), NOW).unwrap();
        let claims = object(serde_json::from_str(&foreign_claims(json!({}))).unwrap());
        let token = signer.sign(algorithm, "JWT", &claims).unwrap();

        for pem in [pair.public_key_pem(), certificate.pem()] {
            let mut legacy = issuer();
            legacy.algorithms = vec![algorithm];
            legacy.keys = IssuerKeys::Pem(pem);
            let bench = Bench::new(&[legacy]);

            assert!(bench.bearer(token.expose(), NOW).is_ok(), "{algorithm:?}");
            bench.refuses(&foreign(json!({})), "signed with HS256");
        }
        let private = KeySet::from_pem(&pair.serialize_pem(), &[algorithm]);
        assert!(private.is_err(), "a private key has no business there");
    }
}
