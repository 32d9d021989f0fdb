//! The pair: a token that names a key is worth nothing without it.

use serde_json::json;
use tollhouse::authn::TokenCredential;
use tollhouse::clock::Timestamp;
use tollhouse::dialect::Reason;
use tollhouse::secret::Digest;

use super::{Bench, HOUR, NOW, foreign, issuer};

const KEY: &str = "0b6c3c7e-7c0e-4f43-9a7f-0f6a2f3d1c55";

fn bench() -> Bench {
    let mut bench = Bench::new(&[issuer()]);
    bench.session.key_hash = Some(Digest::of(KEY.as_bytes()));
    bench
}

#[test]
fn a_token_that_names_a_key_needs_it_as_a_bearer_too() {
    let bench = bench();
    let token = bench.access();
    // Twice: the second time each verdict comes with the token remembered.
    for _ in 0..2 {
        assert!(bench.pair(&token, KEY).is_ok());
        bench.refuses(&token, "a Bearer without the key");
        for (key, why) in [
            ("0b6c3c7e-7c0e-4f43-9a7f-0f6a2f3d1c56", "another key"),
            ("0B6C3C7E-7C0E-4F43-9A7F-0F6A2F3D1C55", "another spelling"),
            (&Digest::of(KEY.as_bytes()).base64url(), "the digest is not the key"),
            ("", "an empty key"),
        ] {
            assert_eq!(bench.pair(&token, key).unwrap_err().reason, Reason::TokenInvalid, "{why}");
        }
    }
}

#[test]
fn a_pair_whose_token_names_no_key_is_refused() {
    let bench = bench();
    for (token, why) in [
        (bench.changed(json!({"kh": null})), "our token without `kh`"),
        (foreign(json!({})), "another issuer's token"),
        (foreign(json!({"kh": Digest::of(KEY.as_bytes()).base64url()})), "its `kh` is not ours"),
    ] {
        assert_eq!(bench.pair(&token, KEY).unwrap_err().reason, Reason::TokenInvalid, "{why}");
    }
}

#[test]
fn expiry_and_revocation_are_told_only_to_who_holds_token_and_key() {
    let bench = bench();
    let token = bench.access();
    let at = |key: &str, now: Timestamp| {
        let pair = TokenCredential::Pair { token: token.as_str().into(), key: key.into() };
        bench.verifier.verify(&pair, now).unwrap_err().without_lookup().reason
    };
    let later = NOW.plus(HOUR * 2);

    assert_eq!(at(KEY, later), Reason::TokenExpired);
    assert_eq!(at("wrong", later), Reason::TokenInvalid);

    bench.revocations.revoke_session(bench.session.id, later);
    assert_eq!(at(KEY, NOW), Reason::TokenRevoked);
    assert_eq!(at("wrong", NOW), Reason::TokenInvalid);
}
