//! Tokens whose keys were fetched: each rule of verification broken once, with everything else right.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{call, knowing, token};
use crate::harness::gateway::START;
use crate::harness::issuer::{IssuerKey, JWKS};
use crate::harness::{Gateway, OpenIdProvider, Upstream};

/// A provider with an RSA and an EC key, and a gateway that knows both.
async fn started(upstream: &Upstream) -> (OpenIdProvider, Gateway) {
    let provider = OpenIdProvider::start().await;
    provider.rotate(IssuerKey::es256("second"));
    let gateway = knowing(&provider, upstream, "").await;
    (provider, gateway)
}

async fn assert_refused(gateway: &Gateway, token: &str, why: &str) {
    let reply = call(gateway, token).await;
    assert_eq!(reply.status, 401, "{why}: {}", reply.text());
    reply.assert_code("token_invalid");
    let challenge = reply.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{why}: {challenge}");
}

#[tokio::test]
async fn algorithm_and_key_are_never_the_tokens_choice() {
    let upstream = Upstream::start().await;
    let (provider, gateway) = started(&upstream).await;
    let (rsa, ec) = (IssuerKey::rs256("first"), provider.key());
    let payload = token(&provider).payload();
    for header in [
        json!({ "alg": "none", "kid": "second" }),
        json!({ "alg": "None", "kid": "second" }),
        json!({ "alg": "nOnE", "kid": "second" }),
        json!({ "alg": "", "kid": "second" }),
        json!({ "kid": "second" }),
        json!({ "alg": null, "kid": "second" }),
        json!({ "alg": "es256", "kid": "second" }),
        json!({ "alg": "ES384", "kid": "second" }),
        json!({ "alg": "RS256", "kid": "second" }),
        json!({ "alg": "HS256", "kid": "second" }),
        json!({ "alg": "ES256", "kid": "first" }),
        json!({ "alg": "ES256", "kid": "second", "crit": ["exp"] }),
        json!({ "alg": "ES256", "kid": "second", "b64": false, "crit": ["b64"] }),
        json!({ "alg": "ES256", "kid": ["second"] }),
        json!({ "alg": "ES256" }),
    ] {
        // The signature is right wherever there can be one.
        let forged = ec.sign(&header.to_string(), &payload);
        if header == json!({ "alg": "ES256" }) {
            // The only key of its algorithm needs no name.
            call(&gateway, &forged).await.assert_status(200);
            continue;
        }
        assert_refused(&gateway, &forged, &header.to_string()).await;
    }
    let unsigned = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
        URL_SAFE_NO_PAD.encode(&payload)
    );
    assert_refused(&gateway, &unsigned, "no signature").await;
    let cross = rsa.sign(r#"{"alg":"PS256","kid":"first"}"#, &payload);
    assert_refused(&gateway, &cross, "one key, one algorithm").await;
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let upstream = Upstream::start().await;
    let (provider, gateway) = started(&upstream).await;
    let (jwks, claims) = (provider.jwks(), token(&provider).payload());
    let pair = rcgen::KeyPair::from_pem(&provider.key().pem).unwrap();
    let modulus = jwks["keys"][0]["n"].as_str().unwrap();
    for (secret, kid) in [
        (pair.public_key_pem().into_bytes(), "second"),
        (pair.public_key_raw().to_vec(), "second"),
        (jwks["keys"][1].to_string().into_bytes(), "second"),
        (modulus.as_bytes().to_vec(), "first"),
        (URL_SAFE_NO_PAD.decode(modulus).unwrap(), "first"),
        (Vec::new(), "first"),
    ] {
        for (name, algorithm) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ] {
            let header = json!({ "alg": name, "kid": kid, "typ": "JWT" }).to_string();
            let [header, body] = [&header, &claims].map(|part| URL_SAFE_NO_PAD.encode(part));
            let message = format!("{header}.{body}");
            // `jsonwebtoken` makes no key of an empty secret, which a forger may well do.
            let signature = hmac::sign(&hmac::Key::new(algorithm, &secret), message.as_bytes());
            let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));

            assert_refused(&gateway, &forged, name).await;
        }
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_token_cannot_bring_its_key_or_say_where_it_is() {
    let upstream = Upstream::start().await;
    let (provider, gateway) = started(&upstream).await;
    let attacker = OpenIdProvider::es256().await;
    let own = attacker.key();
    for (name, value) in [
        ("jku", json!(attacker.jwks_url())),
        ("x5u", json!(attacker.jwks_url())),
        ("jwk", own.jwk()),
        ("x5c", json!([STANDARD.encode("a certificate")])),
        ("kid", json!("../../../etc/passwd")),
        ("kid", json!("x' OR '1'='1")),
        ("kid", json!("https://attacker.example/key")),
        ("kid", json!("second\u{0}")),
        ("kid", json!("k".repeat(257))),
        ("kid", json!("")),
    ] {
        let mut header = json!({ "alg": "ES256", "kid": "second" });
        header[name] = value;
        let forged = own.sign(&header.to_string(), &token(&provider).payload());

        assert_refused(&gateway, &forged, &header.to_string()).await;
    }
    upstream.assert_untouched();
    assert_eq!(attacker.fetches(JWKS), 0, "nobody asked the attacker");
    assert!(provider.fetches(JWKS) <= 2, "made-up names: one fetch for all of them");
}

#[tokio::test]
async fn every_part_is_signed_and_strictly_written() {
    let upstream = Upstream::start().await;
    let (provider, gateway) = started(&upstream).await;
    let good = token(&provider).text();
    let other = token(&provider).sub("8").text();
    let parts: Vec<&str> = good.split('.').collect();
    let others: Vec<&str> = other.split('.').collect();
    let [header, payload, signature] = [parts[0], parts[1], parts[2]];
    let flipped = |part: &str| {
        let first = if part.starts_with('A') { 'B' } else { 'A' };
        format!("{first}{}", &part[1..])
    };
    for (forged, why) in [
        (format!("{header}.{}.{signature}", others[1]), "another's claims"),
        (format!("{header}.{payload}.{}", others[2]), "another's signature"),
        (format!("{header}.{payload}.{}", flipped(signature)), "a changed signature"),
        (format!("{header}.{payload}.{}", &signature[..signature.len() - 1]), "a cut one"),
        (format!("{header}.{payload}.{signature}AAAA"), "a longer one"),
        (format!("{header}.{payload}.{}", "A".repeat(86)), "nothing but zeroes"),
        (format!("{header}.{payload}."), "none"),
        (format!("{header}.{payload}"), "two parts"),
        (format!("{header}..{signature}"), "an empty part"),
        (format!(".{payload}.{signature}"), "no header"),
        (format!("{header}.{payload}..{signature}"), "an extra dot"),
        (format!("{good}.AAAA"), "four parts"),
        (format!("{good}.AAAA.AAAA"), "five parts"),
        (format!("{header}=.{payload}.{signature}"), "padding"),
        (format!("{header}.{payload}=.{signature}"), "padding"),
        (format!("{payload}.{header}.{signature}"), "swapped parts"),
        (format!("{header}.{payload}.{}", "A".repeat(8000)), "too long"),
    ] {
        assert_refused(&gateway, &forged, why).await;
    }
    let key = provider.key();
    let head = r#"{"alg":"ES256","kid":"second","typ":"JWT"}"#;
    let claims = token(&provider).payload();
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    for (payload, why) in [
        (format!("{},\"sub\":\"admin\"}}", claims.trim_end_matches('}')), "a member twice"),
        (format!("{claims} {{}}"), "something after it"),
        (format!("[{claims}]"), "a list"),
        (claims.replacen('{', &format!("{{\"x\":{deep},"), 1), "nested deeply"),
        ("null".to_owned(), "nothing"),
        (String::new(), "empty"),
    ] {
        assert_refused(&gateway, &key.sign(head, &payload), why).await;
    }
    let twice = r#"{"alg":"ES256","kid":"second","alg":"none"}"#;
    assert_refused(&gateway, &key.sign(twice, &claims), "the algorithm twice").await;
    upstream.assert_untouched();
    call(&gateway, &good).await.assert_status(200);
}

#[tokio::test]
async fn claims_that_are_wrong_are_refused_whatever_their_type() {
    let upstream = Upstream::start().await;
    let (provider, gateway) = started(&upstream).await;
    let (issuer, now) = (provider.issuer(), START.secs());
    let dates = [
        json!(null),
        json!("9999999999"),
        json!([now + 60]),
        json!({ "at": now + 60 }),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(18_446_744_073_709_551_615_u64),
    ];
    let mut cases: Vec<(&str, Value)> = vec![
        ("iss", json!(issuer.trim_end_matches('/'))),
        ("iss", json!(issuer.to_uppercase())),
        ("iss", json!([issuer])),
        ("iss", json!(null)),
        ("iss", json!("")),
        ("iss", json!("https://gateway.example")),
        ("iss", json!("self")),
        ("aud", json!("others")),
        ("aud", json!(["others"])),
        ("aud", json!([])),
        ("aud", json!({ "legacy": true })),
        ("aud", json!(["legacy", 7])),
        ("aud", json!("legacy ")),
        ("aud", json!(null)),
        ("sub", json!(null)),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("nbf", json!(now + 3600)),
        ("iat", json!(now + 3600)),
    ];
    cases.extend(dates.iter().map(|date| ("exp", date.clone())));
    cases.extend(dates.iter().skip(1).map(|date| ("nbf", date.clone())));
    for (name, value) in cases {
        let forged = token(&provider).claim(name, value.clone()).text();

        assert_refused(&gateway, &forged, &format!("{name}: {value}")).await;
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_refusal_does_not_say_which_check_failed() {
    let upstream = Upstream::start().await;
    let (provider, gateway) = started(&upstream).await;
    let expired = token(&provider).claim("exp", json!(START.secs() - 3600));
    let good = token(&provider);
    let mut answers = Vec::new();
    for forged in [
        good.clone().signed_by(&IssuerKey::es256("second")).text(),
        good.clone().kid(Some("made-up")).text(),
        good.clone().kid(Some("made-up-too")).text(),
        good.clone().claim("aud", json!("others")).text(),
        good.clone().claim("iss", json!("https://nobody.example/")).text(),
        // Who did not sign it is not told that it has expired.
        expired.clone().signed_by(&IssuerKey::es256("second")).text(),
        expired.clone().claim("aud", json!("others")).text(),
        good.clone().typ(Some("rt+jwt")).text(),
        "not.a.token".to_owned(),
    ] {
        let reply = call(&gateway, &forged).await;
        let mut headers = reply.headers.clone();
        let mut body = reply.json();
        for name in ["date", "x-request-id"] {
            headers.remove(name);
        }
        // Each answer names its own request.
        body.as_object_mut().unwrap().remove("request_id");
        answers.push((reply.status, headers, body));
    }
    assert_eq!(answers[0].0, 401);
    for answer in &answers[1..] {
        assert_eq!(answer, &answers[0]);
    }
    // Only who has a token that was good learns more.
    call(&gateway, &expired.text()).await.assert_status(401).assert_code("token_expired");
    upstream.assert_untouched();
}
