//! The rules for tokens that must never be broken, by their numbers: 1 to 13 are those of the
//! standards, the last ones are faults that other gateways shipped. (14 is in `keys`.)

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tollhouse::algorithm::Algorithm;
use tollhouse::authn::TokenCredential;
use tollhouse::dialect::Reason;
use tollhouse::secret::Secret;
use tollhouse::settings::IssuerKeys;
use tollhouse::token::{self, KeySet};

use super::{Bench, HOUR, NOW, SECRET, claims_of, foreign, foreign_claims, issuer, signed};

/// A P-256 key (RFC 7517 appendix A.1).
const EC: &str = r#""kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM""#;

/// The text in the middle of a token is replaced; its signature is not.
fn with_header(token: &str, header: &Value) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

#[test]
fn rule_1_the_algorithm_is_the_keys_and_none_is_refused_in_every_spelling() {
    let bench = Bench::new(&[issuer()]);
    for algorithm in ["none", "None", "nOnE", "NONE", "", "HS384", "ES256", "RS256"] {
        let header = json!({"alg": algorithm}).to_string();
        let token = signed(&header, &foreign_claims(json!({})), SECRET);
        bench.refuses(&token, algorithm);
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        bench.refuses(&unsigned, algorithm);
    }
    bench.refuses(&signed("{}", &foreign_claims(json!({})), SECRET), "no `alg`");
}

#[test]
fn rule_2_a_public_key_is_no_secret_and_a_key_has_one_algorithm() {
    let bench = Bench::new(&[]);
    let jwks: Value = serde_json::from_slice(&bench.ring.jwks()).unwrap();
    let kid = jwks["keys"][0]["kid"].as_str().unwrap();
    let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": kid}).to_string();
    let claims = json!(claims_of(&bench.access())).to_string();
    let coordinate =
        |name: &str| URL_SAFE_NO_PAD.decode(jwks["keys"][0][name].as_str().unwrap()).unwrap();
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    for secret in [&point, jwks["keys"][0].to_string().as_bytes(), bench.ring.jwks().as_ref()] {
        bench.refuses(&signed(&header, &claims, secret), "the public key as a secret");
    }
    for algorithm in ["ES384", "RS256", "PS256", "EdDSA"] {
        let header = json!({"alg": algorithm, "typ": "at+jwt", "kid": kid});
        bench.refuses(&with_header(&bench.access(), &header), algorithm);
    }
    let (keys, remarks) =
        KeySet::from_jwks(&format!(r#"{{"keys":[{{{EC}}}]}}"#), &[Algorithm::ES384], false)
            .unwrap();
    assert!(keys.keys().is_empty() && remarks.len() == 1, "an ES256 key is no ES384 key");
}

#[test]
fn rule_3_cut_swapped_and_extended_tokens_are_refused() {
    let bench = Bench::new(&[]);
    let token = bench.access();
    let other = bench.changed(json!({"roles": ["admin"]}));
    let parts: Vec<_> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("three parts") };
    let [_, better, _] = other.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    for (forged, why) in [
        (format!("{header}.{better}.{signature}"), "other claims"),
        (format!("{header}.{claims}.{flipped}{}", &signature[1..]), "another signature"),
        (format!("{header}.{claims}.{}", &signature[..40]), "a cut signature"),
        (format!("{header}.{claims}.{signature}AAAA"), "a longer signature"),
        (format!("{header}.{claims}."), "no signature"),
        (format!("{header}.{claims}"), "two parts"),
        (format!("{header}..{signature}"), "no claims"),
        (format!(".{claims}.{signature}"), "no header"),
        (format!("{header}.{claims}..{signature}"), "an extra dot"),
        (format!("{header}.{claims}.{signature}."), "an extra dot at the end"),
        (format!("{header}.{claims}.{signature}.{signature}"), "four parts"),
        (format!("{header}.{claims}.{signature}.{claims}.{header}"), "five parts"),
        (format!("{claims}.{header}.{signature}"), "swapped"),
        ("..".to_owned(), "only dots"),
    ] {
        bench.refuses(&forged, why);
    }
    assert!(bench.bearer(&token, NOW).is_ok(), "the token itself is good");
}

#[test]
fn rule_4_short_secrets_and_short_rsa_keys_are_refused() {
    let short =
        |bytes| KeySet::from_secret(&Secret::new(vec![7; bytes]), &[Algorithm::HS256], false);
    assert!(short(31).is_err() && short(0).is_err() && short(32).is_ok());
    let rsa = |bytes: usize| {
        let n = URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
        let text = format!(r#"{{"keys":[{{"kty":"RSA","e":"AQAB","n":"{n}"}}]}}"#);
        KeySet::from_jwks(&text, &[Algorithm::RS256], false).unwrap().0
    };
    assert!(rsa(128).keys().is_empty() && rsa(255).keys().is_empty());
    assert_eq!(rsa(256).keys().len(), 1);
}

#[test]
fn rule_5_a_critical_extension_is_refused() {
    let bench = Bench::new(&[issuer()]);
    for header in [
        r#"{"alg":"HS256","crit":["x"],"x":1}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":true}"#,
        r#"{"alg":"HS256","crit":["alg"]}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":null}"#,
        r#"{"alg":"HS256","b64":false}"#,
    ] {
        bench.refuses(&signed(header, &foreign_claims(json!({})), SECRET), header);
    }
}

#[test]
fn rule_6_keys_in_the_header_are_never_trusted_and_a_kid_is_only_a_name() {
    let secret = b"the secret of somebody else, ok!";
    let text = URL_SAFE_NO_PAD.encode(SECRET);
    let mut legacy = issuer();
    legacy.keys = IssuerKeys::Jwks(format!(
        r#"{{"keys":[{{"kty":"oct","kid":"a","alg":"HS256","k":"{text}"}},
                             {{"kty":"oct","kid":"b","alg":"HS256","k":"{text}"}}]}}"#
    ));
    let bench = Bench::new(&[legacy]);
    let jwk =
        json!({"kty": "oct", "kid": "a", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(secret)});
    for extra in [
        json!({"jwk": jwk}),
        json!({"jku": "https://attacker.example/jwks.json"}),
        json!({"x5u": "https://attacker.example/chain.pem"}),
        json!({"x5c": [STANDARD_NO_PAD.encode("certificate")]}),
    ] {
        let mut header = json!({"alg": "HS256", "kid": "a"});
        header.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        bench.refuses(
            &signed(&header.to_string(), &foreign_claims(json!({})), secret),
            "its own key",
        );
        let honest = signed(&header.to_string(), &foreign_claims(json!({})), SECRET);
        assert!(bench.bearer(&honest, NOW).is_ok(), "the field is ignored");
    }
    let long = "a".repeat(257);
    for kid in ["A", "a ", "", "../a", "a\0", "/dev/null", "a' OR '1'='1", "*", &long] {
        let header = json!({"alg": "HS256", "kid": kid}).to_string();
        bench.refuses(&signed(&header, &foreign_claims(json!({})), SECRET), kid);
    }
}

#[test]
fn rule_7_the_issuer_is_exact_and_only_its_own_key_verifies() {
    let mut other = issuer();
    other.name = "other".to_owned();
    other.issuer = "https://other.example/".to_owned();
    other.keys = IssuerKeys::Secret(Secret::new(b"the secret of somebody else, ok!".to_vec()));
    let bench = Bench::new(&[issuer(), other]);
    let header = r#"{"alg":"HS256"}"#;
    let as_other = foreign_claims(json!({"iss": "https://other.example/"}));

    bench.refuses(&signed(header, &as_other, SECRET), "signed by the first, issued by the second");
    let ours = foreign_claims(json!({"iss": "https://gateway.example"}));
    bench.refuses(&signed(header, &ours, SECRET), "signed by another, issued by us");
    let theirs = bench.changed(json!({"iss": "https://other.example/"}));
    bench.refuses(&theirs, "signed by us, issued by another");
    for iss in ["https://OTHER.example/", "https://other.example", "https://other.example//", "x"] {
        bench.refuses(&foreign(json!({"iss": iss})), iss);
    }
    for iss in [json!({}), json!(7), json!(["https://legacy.example/"]), json!("")] {
        bench.refuses(&foreign(json!({"iss": iss})), "of the wrong type");
    }
}

#[test]
fn rule_8_a_token_for_others_is_refused() {
    let bench = Bench::new(&[issuer()]);
    for aud in [
        json!("others"),
        json!(["others"]),
        json!([]),
        json!(""),
        json!(123),
        json!({}),
        json!(["legacy", 1]),
        json!([["legacy"]]),
        json!("legacy "),
        json!("Legacy"),
        json!(true),
    ] {
        let why = aud.to_string();
        bench.refuses(&bench.changed(json!({"aud": aud})), &why);
        bench.refuses(&foreign(json!({"aud": aud})), &why);
    }
    bench.refuses(&bench.changed(json!({"aud": null})), "no audience");
    assert!(bench.bearer(&foreign(json!({"aud": ["others", "legacy"]})), NOW).is_ok());
}

#[test]
fn rule_9_dates_are_required_numbers_and_leeway_is_small() {
    let bench = Bench::new(&[issuer()]);
    let wrong = [
        json!("never"),
        json!("1900000000"),
        json!(-1),
        json!(1e300),
        json!([1_900_000_000u64]),
        json!({}),
        json!(true),
        json!(u64::MAX),
    ];
    for value in wrong {
        for claim in ["exp", "nbf", "iat"] {
            let why = format!("{claim} = {value}");
            bench.refuses(&bench.changed(json!({claim: value})), &why);
            bench.refuses(&foreign(json!({claim: value})), &why);
        }
    }
    for claim in ["exp", "nbf", "iat"] {
        let mut claims = claims_of(&foreign(json!({})));
        claims.insert(claim.to_owned(), Value::Null);
        let token = signed(r#"{"alg":"HS256"}"#, &json!(claims).to_string(), SECRET);
        bench.refuses(&token, "null is not absent");
    }
    bench.refuses(&foreign(json!({"exp": null})), "no `exp`");
    bench.refuses(&bench.changed(json!({"exp": null})), "no `exp`");
    let at = |changes: Value| bench.bearer(&foreign(changes), NOW).map(|_| ());
    assert!(at(json!({"exp": NOW.secs() - 29})).is_ok(), "within the leeway");
    let expired = at(json!({"exp": NOW.secs() - 30})).unwrap_err();
    assert_eq!(expired.reason, Reason::TokenExpired);
    assert!(at(json!({"exp": NOW.secs() as f64 + 0.5})).is_ok(), "a fraction");
    assert!(at(json!({"nbf": NOW.secs() + 30})).is_ok(), "within the leeway");
    bench.refuses(&foreign(json!({"nbf": NOW.secs() + 31})), "not valid yet");
    bench.refuses(&foreign(json!({"iat": NOW.secs() + 31})), "issued in the future");
}

#[test]
fn rule_10_refresh_tokens_id_tokens_and_other_types_are_no_access_tokens() {
    let bench = Bench::new(&[issuer()]);
    for typ in ["rt+jwt", "up+jwt", "JWT", "", "id+jwt", "at+jwt ", "logout+jwt"] {
        bench.refuses(&bench.typed(typ, json!({})), typ);
    }
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        assert!(bench.bearer(&bench.typed(typ, json!({})), NOW).is_ok(), "{typ}");
    }
    let refresh_as_access = bench.refresh();
    bench.refuses(&refresh_as_access, "a refresh token");
    let access_as_refresh = bench.verifier.verify_refresh(&bench.access(), "native", NOW);
    assert_eq!(access_as_refresh.unwrap_err().reason, Reason::TokenInvalid);
    for (claim, value) in [("nonce", "n"), ("at_hash", "h"), ("token_use", "id"), ("events", "e")] {
        bench.refuses(&foreign(json!({claim: value})), claim);
    }
}

#[test]
fn rule_11_our_tokens_have_every_claim_of_rfc_9068() {
    let bench = Bench::new(&[]);
    let claims = claims_of(&bench.access());
    for claim in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"] {
        assert!(claims.contains_key(claim), "{claim}");
    }
    assert!(token::new_jti().len() >= 22, "128 bits");
    assert_ne!(token::new_jti(), token::new_jti());
}

#[test]
fn rule_12_doubled_members_other_encodings_and_long_tokens_are_refused() {
    let bench = Bench::new(&[issuer()]);
    let good = foreign_claims(json!({}));
    let header = r#"{"alg":"HS256"}"#;
    let twice = good.replacen('{', r#"{"sub":"admin","#, 1);
    bench.refuses(&signed(header, &twice, SECRET), "`sub` twice");
    let nested = good.replacen('{', r#"{"realm":{"roles":["a"],"roles":["b"]},"#, 1);
    bench.refuses(&signed(header, &nested, SECRET), "`roles` twice further in");
    bench.refuses(&signed(r#"{"alg":"HS256","alg":"HS256"}"#, &good, SECRET), "`alg` twice");
    bench.refuses(&signed(header, &format!("{good}{good}"), SECRET), "two objects");
    bench.refuses(&signed(header, &format!("[{good}]"), SECRET), "a list");
    let deep = format!("{}1{}", r#"{"a":"#.repeat(20), "}".repeat(20));
    let deep = good.replacen('{', &format!(r#"{{"deep":{deep},"#), 1);
    bench.refuses(&signed(header, &deep, SECRET), "nested too deeply");
    let long = good.replacen('{', &format!(r#"{{"x":"{}","#, "y".repeat(8192)), 1);
    bench.refuses(&signed(header, &long, SECRET), "longer than 8 KiB");
    let long = format!(r#"{{"alg":"HS256","x":"{}"}}"#, "y".repeat(2048));
    bench.refuses(&signed(&long, &good, SECRET), "a long header");

    let token = foreign(json!({}));
    let mut ends_unpadded = token.clone();
    let last = ends_unpadded.pop().unwrap();
    // The last character of 32 bytes carries two unused bits, which must be zero.
    let unused = char::from(last as u8 + 1);
    for (forged, why) in [
        (format!("{token}="), "padding"),
        (format!(" {token}"), "white space"),
        (format!("{token}\n"), "white space"),
        (token.replacen('.', "=.", 1), "padding in the header"),
        (format!("{ends_unpadded}{unused}"), "unused bits"),
        (token.replace(['-', '_'], "+"), "the standard alphabet"),
    ] {
        if forged != token {
            bench.refuses(&forged, why);
        }
    }
}

#[test]
fn rule_13_a_forger_gets_one_answer_whatever_is_wrong() {
    let bench = Bench::new(&[issuer()]);
    let wrong = b"the secret of somebody else, ok!";
    let old = json!({"exp": NOW.minus(HOUR).secs()});
    let header = r#"{"alg":"HS256"}"#;

    bench.refuses(&signed(header, &foreign_claims(old.clone()), wrong), "expired and forged");
    let mut token = bench.changed(json!({"exp": NOW.minus(HOUR).secs(), "nbf": 1}));
    token.truncate(token.len() - 4);
    bench.refuses(&format!("{token}AAAA"), "expired and forged");
    bench.revocations.revoke_session(bench.session.id, NOW.plus(HOUR));
    let mut token = bench.access();
    token.truncate(token.len() - 4);
    bench.refuses(&format!("{token}AAAA"), "revoked and forged");
    let honest = bench.bearer(&foreign(old), NOW).unwrap_err();
    assert_eq!(honest.reason, Reason::TokenExpired, "told to who holds a good signature");
}

#[test]
fn lesson_an_over_long_signature_never_reaches_the_cryptography() {
    let bench = Bench::new(&[]);
    let token = bench.access();
    let (message, signature) = token.rsplit_once('.').unwrap();
    for length in [1, 40, 85, 87, 88, 200, 4000] {
        let forged: String = signature.chars().cycle().take(length).collect();
        bench.refuses(&format!("{message}.{forged}"), "its length is not ES256's");
    }
}

#[test]
fn lesson_a_secret_is_never_empty_and_a_key_without_alg_has_one_by_its_type() {
    let set = |key: &str, algorithms: &[Algorithm]| {
        KeySet::from_jwks(&format!(r#"{{"keys":[{key}]}}"#), algorithms, true).unwrap().0
    };
    let all = Algorithm::ALL;

    assert!(set(r#"{"kty":"oct","k":""}"#, all).keys().is_empty(), "an empty secret");
    assert_eq!(set(&format!("{{{EC}}}"), all).keys()[0].algorithm(), Algorithm::ES256);
}

#[test]
fn lesson_a_remembered_token_answers_for_nothing_but_itself() {
    let bench = Bench::new(&[issuer()]);
    let (a, b) = (foreign(json!({"sub": "a"})), foreign(json!({"sub": "b"})));
    for _ in 0..2 {
        assert_eq!(bench.bearer(&a, NOW).unwrap().identity.claims["sub"], "a");
        assert_eq!(bench.bearer(&b, NOW).unwrap().identity.claims["sub"], "b");
    }
    // The same token by another transport is judged by that transport's rules.
    let pair = TokenCredential::Pair { token: a.as_str().into(), key: "k".into() };
    assert!(bench.verifier.verify(&pair, NOW).is_err());
}

#[test]
fn lesson_a_second_signature_of_the_same_claims_is_the_same_token_to_a_revocation() {
    let bench = Bench::new(&[]);
    let claims = claims_of(&bench.access());
    let sign = || bench.ring.sign(Algorithm::ES256, "at+jwt", &claims).unwrap().expose().clone();
    let (one, other) = (sign(), sign());
    assert_ne!(one, other, "ECDSA signatures differ each time");

    let digest = bench.bearer(&one, NOW).unwrap().digest;
    bench.revocations.revoke_token(digest, NOW.plus(HOUR));

    for token in [one, other] {
        assert_eq!(bench.bearer(&token, NOW).unwrap_err().reason, Reason::TokenRevoked);
    }
}
