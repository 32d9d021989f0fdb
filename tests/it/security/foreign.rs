//! Tokens of other issuers, through a whole
//! gateway.

use std::time::Duration;

use serde_json::{Value, json};

use super::signed;
use crate::harness::gateway::START;
use crate::harness::{Gateway, Upstream};

const SECRET: &[u8] = b"a shared secret of 32 bytes, ok!";

/// An issuer whose tokens are signed with `SECRET`, with further keys.
pub(super) async fn trusting(upstream: &Upstream, keys: &str) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), SECRET).unwrap();
    let issuer = format!(
        "[[issuer]]\nname = \"legacy\"\nissuer = \"https://legacy.example/\"\n\
         algorithms = [\"HS256\"]\nsecret = {{ file = {:?} }}\n{keys}",
        dir.path().join("secret")
    );
    let audience = if keys.contains("audience") { "" } else { "\naudience = [\"legacy\"]" };
    Gateway::builder()
        .moving()
        .config(&format!("{issuer}{audience}"))
        .login("native")
        .route_to(upstream, "")
        .start()
        .await
}

/// A token of the issuer, changed: `null` removes a claim.
pub(super) fn token(changes: Value) -> String {
    let mut claims = json!({
        "iss": "https://legacy.example/", "aud": "legacy", "sub": "7",
        "iat": START.secs(), "exp": START.secs() + 3600,
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    signed(&json!({ "alg": "HS256", "typ": "JWT" }), &claims, SECRET)
}

#[tokio::test]
async fn a_foreign_user_is_known_by_issuer_and_subject_never_by_address() {
    let upstream = Upstream::start().await;
    let gateway = trusting(&upstream, "roles_claim = \"roles\"").await;
    let client = gateway.client();

    let same = json!({ "email": "alice@example.com", "roles": ["reader"] });
    client.get("/").bearer(&token(same)).send().await.assert_status(200);
    let first = upstream.last();
    let other = json!({ "sub": "8", "email": "alice@example.com" });
    client.get("/").bearer(&token(other)).send().await.assert_status(200);
    let second = upstream.last();

    assert_eq!(first.header("x-auth-roles"), Some("reader"));
    let subject = first.header("x-auth-subject").unwrap();
    assert!(uuid::Uuid::parse_str(subject).is_ok_and(|id| id.get_version_num() == 5), "{subject}");
    assert_ne!(Some(subject), second.header("x-auth-subject"));
    assert_ne!(Some("0192f0c1-0000-7000-8000-00000000000a"), first.header("x-auth-subject"));
}

#[tokio::test]
async fn what_an_issuers_rules_do_not_let_through_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = trusting(&upstream, "").await;
    let start = START.secs();
    for (changes, why) in [
        (json!({ "nonce": "n" }), "an ID token's nonce"),
        (json!({ "at_hash": "h" }), "an ID token's hash"),
        (json!({ "events": {} }), "a logout token"),
        (json!({ "token_use": "id" }), "an ID token by its own word"),
        (json!({ "aud": "others" }), "for others"),
        (json!({ "aud": ["others", "legacyx"] }), "for several others"),
        (json!({ "aud": null }), "for nobody"),
        (json!({ "iss": "https://legacy.example" }), "an issuer without its slash"),
        (json!({ "iss": "HTTPS://legacy.example/" }), "an issuer in another case"),
        (json!({ "iss": "https://gateway.example" }), "in our name"),
        (json!({ "iss": null }), "of nobody"),
        (json!({ "sub": null }), "about nobody"),
        (json!({ "sub": "" }), "about an empty name"),
        (json!({ "sub": 7 }), "about a number"),
        (json!({ "exp": null }), "for ever"),
        (json!({ "exp": "9999999999" }), "until a text"),
        (json!({ "exp": [start + 60] }), "until a list"),
        (json!({ "exp": true }), "until a truth"),
        (json!({ "exp": -1 }), "until before time"),
        (json!({ "exp": start - 60 }), "expired"),
        (json!({ "nbf": start + 3600 }), "not yet"),
        (json!({ "nbf": "0" }), "since a text"),
    ] {
        let reply = gateway.client().get("/").bearer(&token(changes)).send().await;
        assert_eq!(reply.status, 401, "{why}: {}", reply.text());
        assert!(reply.header("www-authenticate").is_some(), "{why}");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn headers_that_choose_algorithm_or_key_are_refused() {
    let upstream = Upstream::start().await;
    let gateway = trusting(&upstream, "").await;
    let claims = json!({
        "iss": "https://legacy.example/", "aud": "legacy", "sub": "7",
        "iat": START.secs(), "exp": START.secs() + 3600,
    });
    for (header, why) in [
        (json!({ "alg": "none" }), "none"),
        (json!({ "alg": "nOnE" }), "none in another case"),
        (json!({ "alg": "" }), "empty"),
        (json!({ "typ": "JWT" }), "missing"),
        (json!({ "alg": "HS384" }), "another of the family"),
        (json!({ "alg": "RS256" }), "another family"),
        (json!({ "alg": ["HS256"] }), "a list"),
        (json!({ "alg": "HS256", "crit": ["x"], "x": 1 }), "something critical"),
        (json!({ "alg": "HS256", "crit": ["b64"], "b64": false }), "an unencoded payload"),
        (json!({ "alg": "HS256", "typ": "rt+jwt" }), "a refresh token"),
        (json!({ "alg": "HS256", "typ": "up+jwt" }), "meant for upstreams"),
        (json!({ "alg": "HS256", "zip": "DEF" }), "compressed"),
        (json!({ "alg": "HS256", "kid": "../../etc/passwd" }), "a path for a key"),
    ] {
        // Signed with the right secret: only the header is at fault.
        let forged = signed(&header, &claims, SECRET);
        let reply = gateway.client().get("/").bearer(&forged).send().await;
        if why == "a path for a key" || why == "compressed" {
            // One key without an id: the name is only a name, and nothing is opened by it.
            assert!(matches!(reply.status.as_u16(), 200 | 401), "{why}");
            continue;
        }
        assert_eq!(reply.status, 401, "{why}");
    }
    let wrong = signed(&json!({ "alg": "HS256" }), &claims, b"another secret of 32 bytes, too!");
    gateway.client().get("/").bearer(&wrong).send().await.assert_status(401);
    assert!(upstream.received().len() <= 2);
}

#[tokio::test]
async fn a_takeover_ends_with_its_day() {
    let upstream = Upstream::start().await;
    let keys = "until = \"2026-11-22\"\nrequired = [\"exp\", \"sub\"]\naudience = \"any\"";
    let gateway = trusting(&upstream, keys).await;
    let bare = json!({ "iss": null, "aud": null, "iat": null, "exp": START.secs() + 9_000_000 });
    let token = token(bare);
    gateway.client().get("/").bearer(&token).send().await.assert_status(200);

    // 2026-11-22T23:59:59Z and a second later.
    gateway.advance(Duration::from_secs(14 * 3600 + 30 * 60 - 1));
    gateway.client().get("/").bearer(&token).send().await.assert_status(200);
    gateway.advance(Duration::from_secs(1));
    gateway.client().get("/").bearer(&token).send().await.assert_status(401);

    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn keys_from_a_file_verify_their_issuers_tokens_and_nobody_elses() {
    let upstream = Upstream::start().await;
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::KeyPair::generate().unwrap();
    std::fs::write(dir.path().join("key.pem"), key.public_key_pem()).unwrap();
    let issuer = format!(
        "[[issuer]]\nname = \"idp\"\nissuer = \"https://idp.example/\"\naudience = [\"legacy\"]\n\
         algorithms = [\"ES256\"]\npublic_key_file = {:?}",
        dir.path().join("key.pem")
    );
    let gateway = Gateway::builder()
        .moving()
        .config(&issuer)
        .login("native")
        .route_to(&upstream, "")
        .start()
        .await;
    let claims = json!({
        "iss": "https://idp.example/", "aud": "legacy", "sub": "7",
        "iat": START.secs(), "exp": START.secs() + 3600,
    });
    let sign = |key: &rcgen::KeyPair| {
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        let key = jsonwebtoken::EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    };

    gateway.client().get("/").bearer(&sign(&other)).send().await.assert_status(401);
    // The public key is no secret, whatever algorithm the token names.
    for secret in [key.public_key_pem().into_bytes(), key.public_key_raw().to_vec()] {
        let forged = signed(&json!({ "alg": "HS256" }), &claims, &secret);
        gateway.client().get("/").bearer(&forged).send().await.assert_status(401);
    }
    upstream.assert_untouched();
    gateway.client().get("/").bearer(&sign(&key)).send().await.assert_status(200);
}

#[tokio::test]
async fn our_own_endpoints_take_no_foreign_token_but_to_end_it() {
    let upstream = Upstream::start().await;
    let gateway = trusting(&upstream, "").await;
    let token = token(json!({}));
    let client = gateway.client();

    let refresh = json!({ "refresh_token": token });
    client.post("/auth/refresh").json(refresh).send().await.assert_status(401);
    client.post("/auth/logout-all").bearer(&token).send().await.assert_status(401);
    client.get("/auth/session").bearer(&token).send().await.assert_status(401);
    upstream.assert_untouched();

    // A logout refuses it from now on, and only it.
    client.get("/x").bearer(&token).send().await.assert_status(200);
    client.post("/auth/logout").bearer(&token).send().await.assert_status(204);

    client.get("/x").bearer(&token).send().await.assert_status(401);
    client.post("/auth/logout").bearer(&token).send().await.assert_status(401);
    assert_eq!(upstream.received().len(), 1);
    let other = self::token(json!({ "jti": "another" }));
    client.get("/x").bearer(&other).send().await.assert_status(200);
}

#[tokio::test]
async fn a_route_takes_only_the_issuers_that_it_names() {
    let upstream = Upstream::start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), SECRET).unwrap();
    let issuer = format!(
        "[[issuer]]\nname = \"legacy\"\nissuer = \"https://legacy.example/\"\n\
         audience = [\"legacy\"]\nalgorithms = [\"HS256\"]\nsecret = {{ file = {:?} }}",
        dir.path().join("secret")
    );
    let gateway = Gateway::builder()
        .moving()
        .config(&issuer)
        .login("native")
        .route(&upstream, "/ours", "issuers = [\"self\"]")
        .route(&upstream, "/theirs", "issuers = [\"legacy\"]")
        .start()
        .await;
    let (own, foreign) = (gateway.token("alice").await, token(json!({})));
    let client = gateway.client();

    client.get("/ours").bearer(&foreign).send().await.assert_status(401);
    client.get("/theirs").bearer(&own).send().await.assert_status(401);
    upstream.assert_untouched();
    client.get("/ours").bearer(&own).send().await.assert_status(200);
    client.get("/theirs").bearer(&foreign).send().await.assert_status(200);
}
