//! The one credential of a request, read strictly.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use tollhouse::authn::{AcceptedKinds, CredentialError, TokenCredential};
use tollhouse::dialect::Reason;

const BOTH: AcceptedKinds =
    AcceptedKinds { bearer: true, token_key: true, query: false, ..AcceptedKinds::NOTHING };
const BEARER: AcceptedKinds =
    AcceptedKinds { bearer: true, token_key: false, query: false, ..AcceptedKinds::NOTHING };
const PAIR: AcceptedKinds =
    AcceptedKinds { bearer: false, token_key: true, query: false, ..AcceptedKinds::NOTHING };
const ALL: AcceptedKinds =
    AcceptedKinds { bearer: true, token_key: true, query: true, ..AcceptedKinds::NOTHING };

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn bearer(token: &str) -> Option<TokenCredential> {
    Some(TokenCredential::Bearer(token.into()))
}

fn pair() -> Option<TokenCredential> {
    Some(TokenCredential::Pair { token: "t".into(), key: "k".into() })
}

#[test]
fn one_credential_of_an_accepted_kind_is_taken() {
    for (accept, lines, query, expected, why) in [
        (BOTH, &[][..], None, None, "nothing is presented"),
        (BOTH, &[("authorization", "Bearer t")], None, bearer("t"), "a Bearer"),
        (BOTH, &[("authorization", "bEARER t")], None, bearer("t"), "schemes have no case"),
        (BOTH, &[("x-access-token", "t"), ("x-key", "k")], None, pair(), "a pair"),
        (BOTH, &[("authorization", "Basic eA==")], None, None, "another scheme is not ours"),
        (BOTH, &[("authorization", "Bearertoken t")], None, None, "another scheme is not ours"),
        (BEARER, &[("x-access-token", "t"), ("x-key", "k")], None, None, "not accepted"),
        (
            BEARER,
            &[("authorization", "Bearer t"), ("x-key", "k")],
            None,
            bearer("t"),
            "not counted",
        ),
        (PAIR, &[("authorization", "Bearer t")], None, None, "not accepted"),
        (
            PAIR,
            &[("authorization", "Bearer x"), ("x-access-token", "t"), ("x-key", "k")],
            None,
            pair(),
            "not counted",
        ),
        (
            AcceptedKinds::default(),
            &[("authorization", "Bearer t"), ("x-key", "k")],
            None,
            None,
            "open",
        ),
        (ALL, &[], Some("a=1&access_token=t&x_key=k"), pair(), "in the query"),
        (ALL, &[], Some("access%5Ftoken=%74&x_key=k"), pair(), "escaped, read once"),
        (ALL, &[], Some("Access_Token=t&X_Key=k"), None, "names of parameters have case"),
        (BOTH, &[], Some("access_token=t&x_key=k"), None, "queries are off by default"),
    ] {
        let taken = TokenCredential::extract(&headers(lines), query, accept);

        assert_eq!(taken, Ok(expected), "{why}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_ambiguous() {
    for (accept, lines, query, why) in [
        (BOTH, &[("authorization", "Bearer t"), ("authorization", "Bearer t")][..], None, "twice"),
        (BOTH, &[("authorization", "Bearer t"), ("authorization", "Basic eA==")], None, "twice"),
        (BOTH, &[("x-access-token", "t"), ("x-access-token", "t"), ("x-key", "k")], None, "twice"),
        (BOTH, &[("x-access-token", "t"), ("x-key", "k"), ("x-key", "l")], None, "twice"),
        (
            BOTH,
            &[("authorization", "Bearer t"), ("x-access-token", "t"), ("x-key", "k")],
            None,
            "two kinds",
        ),
        (BOTH, &[("authorization", "Bearer t"), ("x-access-token", "t")], None, "two kinds"),
        (ALL, &[("authorization", "Bearer t")], Some("access_token=t&x_key=k"), "two places"),
        (ALL, &[("x-access-token", "t"), ("x-key", "k")], Some("access_token=t"), "two places"),
        (ALL, &[("x-access-token", "t")], Some("x_key=k"), "half here and half there"),
        (ALL, &[], Some("access_token=t&access_token=t&x_key=k"), "twice"),
        (ALL, &[], Some("access_token=t&x_key=k&%78_key=l"), "twice, once escaped"),
    ] {
        let error = TokenCredential::extract(&headers(lines), query, accept).unwrap_err();

        assert_eq!(error.reason(), Reason::AmbiguousCredential, "{why}: {error}");
    }
}

#[test]
fn half_a_pair_is_an_error_of_its_own() {
    for (lines, query) in [
        (&[("x-access-token", "t")][..], None),
        (&[("x-key", "k")], None),
        (&[], Some("access_token=t")),
        (&[], Some("x_key=k")),
    ] {
        let error = TokenCredential::extract(&headers(lines), query, ALL).unwrap_err();

        assert_eq!((error, error.reason()), (CredentialError::Half, Reason::TokenInvalid));
    }
}

#[test]
fn malformed_credentials_are_refused_before_anything_is_computed() {
    let long = format!("Bearer {}", "a".repeat(8193));
    let key = "k".repeat(257);
    for (lines, why) in [
        (&[("authorization", "Bearer")][..], "no token"),
        (&[("authorization", "Bearer ")], "no token"),
        (&[("authorization", "Bearer  t")], "two spaces"),
        (&[("authorization", "Bearer t t")], "two tokens"),
        (&[("authorization", "Bearer t,Bearer u")], "a list"),
        (&[("authorization", "Bearer \"t\"")], "quoted"),
        (&[("authorization", "Bearer tö")], "not ASCII"),
        (&[("authorization", &long)], "longer than 8 KiB"),
        (&[("x-access-token", ""), ("x-key", "k")], "an empty token"),
        (&[("x-access-token", "t"), ("x-key", "")], "an empty key"),
        (&[("x-access-token", "t"), ("x-key", "k k")], "a space in the key"),
        (&[("x-access-token", "t"), ("x-key", &key)], "a long key"),
    ] {
        let error = TokenCredential::extract(&headers(lines), None, BOTH).unwrap_err();

        assert!(matches!(error, CredentialError::Malformed(_)), "{why}: {error:?}");
        assert_eq!(error.reason(), Reason::TokenInvalid, "{why}");
    }
}

proptest! {
    #[test]
    fn whatever_is_presented_gets_an_answer(
        authorization in "(Bearer )?[ -~]{0,80}",
        token in "[ -~]{0,40}",
        query in "[ -~]{0,60}",
    ) {
        let lines = [("authorization", authorization.as_str()), ("x-access-token", &token)];

        for accept in [BOTH, BEARER, PAIR, ALL] {
            if let Ok(Some(credential)) =
                TokenCredential::extract(&headers(&lines), Some(&query), accept)
            {
                let taken = credential.token().expose();
                prop_assert!(!taken.is_empty() && !taken.contains([' ', ',']));
            }
        }
    }
}
