//! Foreign tokens that a login may trade: whose, and why not.

use serde_json::{Value, json};
use tollhouse::authn::{RequestClient, TokenError};
use tollhouse::dialect::Reason;
use tollhouse::secret::SecretString;
use tollhouse::settings::{AudienceRule, IssuerSettings};

use super::{Bench, DAY, HOUR, NOW, SECRET, foreign, foreign_claims, issuer, signed};

/// Two issuers side by side that sign with one secret.
fn two() -> [IssuerSettings; 2] {
    let mut other = issuer();
    "other".clone_into(&mut other.name);
    "https://other.example/".clone_into(&mut other.issuer);
    [issuer(), other]
}

async fn proved(bench: &Bench, token: &str, issuers: &[&str]) -> Result<String, TokenError> {
    let issuers: Vec<String> = issuers.iter().map(ToString::to_string).collect();
    let proved = bench
        .verifier
        .verify_for_exchange(&token.into(), &issuers, RequestClient::default(), NOW)
        .await;
    proved.map(|verified| verified.identity.issuer.to_string())
}

fn reason(proved: Result<String, TokenError>) -> Reason {
    proved.unwrap_err().reason
}

#[tokio::test]
async fn a_token_is_traded_only_if_its_issuer_is_named() {
    let bench = Bench::new(&two());
    let token = foreign(json!({}));

    assert_eq!(proved(&bench, &token, &["legacy"]).await, Ok("legacy".to_owned()));
    assert_eq!(proved(&bench, &token, &["other", "legacy"]).await, Ok("legacy".to_owned()));
    for issuers in [["other"].as_slice(), &[], &["self"], &[""]] {
        let refused = reason(proved(&bench, &token, issuers).await);
        assert_eq!(refused, Reason::TokenInvalid, "{issuers:?}");
    }
    // A good token of ours is remembered as proved, and still is not foreign.
    let own = bench.access();
    bench.bearer(&own, NOW).unwrap();
    for issuers in [["self"].as_slice(), &["native"], &["legacy"]] {
        assert_eq!(reason(proved(&bench, &own, issuers).await), Reason::TokenInvalid);
    }
}

#[tokio::test]
async fn a_traded_token_may_be_traded_again_until_it_is_revoked_or_over() {
    let bench = Bench::new(&two());
    let token = foreign(json!({}));
    for _ in 0..2 {
        proved(&bench, &token, &["legacy"]).await.unwrap();
    }

    let (shown, legacy) = (SecretString::from(token.as_str()), ["legacy".to_owned()]);
    let late = bench.verifier.verify_for_exchange(
        &shown,
        &legacy,
        RequestClient::default(),
        NOW.plus(DAY),
    );
    assert_eq!(late.await.unwrap_err().reason, Reason::TokenExpired);
    let digest = bench.bearer(&token, NOW).unwrap().digest;
    bench.revocations.revoke_token(digest, NOW.plus(HOUR));
    assert_eq!(reason(proved(&bench, &token, &["legacy"]).await), Reason::TokenRevoked);
}

#[tokio::test]
async fn only_a_token_that_is_good_otherwise_is_told_that_it_is_somebody_elses() {
    let [mut named, other] = two();
    named.subjects = vec!["8".to_owned()];
    let bench = Bench::new(&[named, other]);
    let forged = signed(
        r#"{"alg":"HS256"}"#,
        &foreign_claims(json!({})),
        b"another secret of 32 bytes, too!",
    );
    for (token, expected, why) in [
        (foreign(json!({})), Reason::NotPermitted, "all else is good"),
        (forged, Reason::TokenInvalid, "forged"),
        (foreign(json!({ "aud": "others" })), Reason::TokenInvalid, "for others as well"),
        (foreign(json!({ "sub": Value::Null })), Reason::TokenInvalid, "about nobody"),
        (foreign(json!({ "nonce": "n" })), Reason::TokenInvalid, "an ID token"),
    ] {
        assert_eq!(reason(proved(&bench, &token, &["legacy"]).await), expected, "{why}");
    }
    let token = foreign(json!({}));
    assert_eq!(reason(proved(&bench, &token, &["other"]).await), Reason::TokenInvalid, "not named");
    // On a route it is one answer for all.
    assert_eq!(bench.bearer(&token, NOW).unwrap_err().reason, Reason::TokenInvalid);
}

#[test]
fn a_token_is_asked_about_only_where_it_says_it_is_from_there() {
    let [legacy, mut takeover] = two();
    takeover.required = vec!["exp".to_owned(), "sub".to_owned()];
    takeover.audience = AudienceRule::Any;
    let bench = Bench::new(&[legacy, takeover]);
    let may = |token: &str, issuer: &str| {
        bench.verifier.may_be_of(&SecretString::from(token), &[issuer.to_owned()])
    };
    for (token, issuer, expected, why) in [
        (foreign(json!({})), "legacy", true, "its own"),
        (foreign(json!({})), "other", false, "another's"),
        (foreign(json!({ "iss": "https://nobody.example/" })), "legacy", false, "nobody's"),
        (foreign(json!({ "iss": Value::Null })), "legacy", false, "nobody's name"),
        (foreign(json!({ "iss": Value::Null })), "other", true, "a takeover takes those too"),
        (foreign(json!({ "iss": 7 })), "other", false, "no name"),
        (bench.access(), "legacy", false, "ours"),
        ("a.b.c".to_owned(), "legacy", false, "no token"),
        (SECRET.escape_ascii().to_string(), "legacy", false, "no token at all"),
    ] {
        assert_eq!(may(&token, issuer), expected, "{why}");
    }
}
