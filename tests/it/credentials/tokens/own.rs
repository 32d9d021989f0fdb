//! Our own tokens: what is in them, and what they are refused for.

use std::sync::Arc;

use serde_json::json;
use tollhouse::authn::{OwnEndpoint, RequestClient, TokenCredential};
use tollhouse::clock::Timestamp;
use tollhouse::dialect::Reason;
use tollhouse::token;

use super::{Bench, DAY, HOUR, NOW, claims_of, header_of};

#[test]
fn an_access_token_carries_the_standard_claims_and_the_identity_comes_back() {
    let bench = Bench::new(&[]);

    let token = bench.access();
    let verified = bench.bearer(&token, NOW).unwrap();

    let session = bench.session.id;
    let expected = json!({
        "iss": "https://gateway.example", "aud": "legacy", "sub": bench.session.subject.as_str(),
        "iat": NOW.secs(), "nbf": NOW.secs(), "exp": NOW.plus(HOUR).secs(), "jti": "an-id",
        "sid": session.to_string(), "client_id": "native", "uid": bench.session.subject.as_str(),
        "src": "staff", "preferred_username": "bob", "roles": ["reader"], "scope": "a b",
    });
    assert_eq!(json!(claims_of(&token)), expected);
    assert_eq!(header_of(&token)["typ"], "at+jwt");
    let identity = &verified.identity;
    assert_eq!(identity.subject, bench.session.subject);
    assert_eq!((identity.username.as_ref(), identity.source.as_ref()), ("bob", "staff"));
    assert_eq!((identity.issuer.as_ref(), identity.login.as_ref()), ("self", "native"));
    assert_eq!(identity.session, Some(session));
    assert_eq!(identity.scopes, ["a", "b"].map(Arc::<str>::from));
    assert_eq!((verified.issued, verified.expires), (NOW, NOW.plus(HOUR)));
}

#[test]
fn several_audiences_are_an_array_and_one_of_ours_is_enough() {
    let mut bench = Bench::new(&[]);
    bench.login.audience.push("other".to_owned());

    let token = bench.access();

    assert_eq!(claims_of(&token)["aud"], json!(["legacy", "other"]));
    assert!(bench.bearer(&token, NOW).is_ok());
}

#[test]
fn a_dialects_claims_neither_change_the_identity_nor_the_verdict() {
    let bench = Bench::new(&[]);
    let claims = json!({"sub": "bob@example", "uid": "someone", "token_use": "id", "events": {},
                        "nonce": "n", "typ": "rt+jwt", "exp": 1, "email_verified": true});

    let token = token::access_token(&bench.ring, &bench.grant(claims)).unwrap();
    let verified = bench.bearer(token.expose(), NOW).unwrap();

    assert_eq!(verified.identity.subject, bench.session.subject);
    assert_eq!(verified.identity.claims["sub"], "bob@example");
    assert_eq!(verified.identity.claims["token_use"], "id");
    assert_eq!(verified.expires, NOW.plus(HOUR));
}

#[test]
fn own_tokens_with_other_claims_are_refused() {
    let bench = Bench::new(&[]);
    for (changes, why) in [
        (json!({"client_id": "gone"}), "no such login"),
        (json!({"client_id": null}), "no login"),
        (json!({"client_id": ["native"]}), "a list of logins"),
        (json!({"iss": "https://gateway.example/"}), "the issuer is exact"),
        (json!({"iss": null}), "no issuer"),
        (json!({"sid": null}), "no session"),
        (json!({"sid": "7"}), "no session id"),
        (json!({"uid": null}), "no user"),
        (json!({"uid": ""}), "an empty user"),
        (json!({"src": null}), "no source"),
        (json!({"sub": null}), "no subject"),
        (json!({"jti": null}), "no id"),
        (json!({"iat": null}), "no date of issue"),
        (json!({"nbf": null}), "no beginning"),
        (json!({"kh": "short"}), "a malformed key digest"),
        (json!({"kh": 5}), "a key digest of the wrong type"),
        (json!({"iat": NOW.minus(DAY * 2).secs()}), "older than the store"),
        (json!({"iat": NOW.plus(HOUR).secs()}), "issued in the future"),
        (json!({"nbf": NOW.plus(HOUR).secs()}), "not valid yet"),
    ] {
        bench.refuses(&bench.changed(changes), why);
    }
}

#[test]
fn a_session_that_ended_refuses_its_tokens_at_once() {
    let bench = Bench::new(&[]);
    let token = bench.access();
    assert!(bench.bearer(&token, NOW).is_ok());

    bench.revocations.revoke_session(bench.session.id, NOW.plus(DAY));

    assert_eq!(bench.bearer(&token, NOW).unwrap_err().reason, Reason::TokenRevoked);
    let refresh = bench.verifier.verify_refresh(&bench.refresh(), "native", NOW);
    assert_eq!(refresh.unwrap_err().reason, Reason::TokenRevoked);
}

#[test]
fn a_refresh_token_is_taken_by_its_own_login_only_and_never_as_access() {
    let bench = Bench::new(&[]);
    let token = bench.refresh();

    let facts = bench.verifier.verify_refresh(&token, "native", NOW).unwrap();

    assert_eq!((facts.session, facts.jti.as_str()), (bench.session.id, "an-id"));
    let invalid = |now: Timestamp, token: &str, login: &str| {
        bench.verifier.verify_refresh(token, login, now).unwrap_err().reason
    };
    assert_eq!(invalid(NOW, &token, "webitel"), Reason::TokenInvalid);
    assert_eq!(invalid(NOW, &bench.access(), "native"), Reason::TokenInvalid);
    assert_eq!(invalid(NOW.plus(HOUR * 2), &token, "native"), Reason::TokenExpired);
    bench.refuses(&token, "a refresh token is no access token");
}

#[tokio::test]
async fn a_login_endpoint_takes_its_own_access_tokens_and_may_forgive_expiry_alone() {
    let bench = Bench::new(&[]);
    let token = TokenCredential::Bearer(bench.access().as_str().into());
    let later = NOW.plus(HOUR * 2);
    let at = async |login, now, allow| {
        let at = OwnEndpoint { login, presenter: RequestClient::default() };
        bench.verifier.verify_own_access(&token, at, now, allow).await.map_err(|it| it.reason)
    };

    assert!(at("native", NOW, false).await.is_ok());
    assert_eq!(at("webitel", NOW, false).await.unwrap_err(), Reason::TokenInvalid);
    assert_eq!(at("native", later, false).await.unwrap_err(), Reason::TokenExpired);
    assert!(at("native", later, true).await.is_ok());

    bench.revocations.revoke_session(bench.session.id, NOW.plus(DAY));
    assert_eq!(at("native", later, true).await.unwrap_err(), Reason::TokenRevoked);
}
