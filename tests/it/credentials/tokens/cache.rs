//! The memory of verified tokens: never another verdict than without it.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use tollhouse::admission::AttemptLimit;
use tollhouse::algorithm::Algorithm;
use tollhouse::authn::{TokenCredential, Verifier, VerifierOptions};
use tollhouse::dialect::Reason;
use tollhouse::secret::Digest;

use super::{Bench, DAY, HOUR, NOW, foreign, issuer, no_store};

fn forgetful(bench: &Bench) -> Verifier {
    let mut legacy = issuer();
    legacy.until = Some(NOW.plus(Duration::from_secs(90)));
    Verifier::new(VerifierOptions {
        ring: bench.ring.clone(),
        logins: std::slice::from_ref(&bench.login),
        issuers: &[legacy],
        revocations: bench.revocations.clone(),
        store: no_store(),
        leeway: Duration::from_secs(30),
        cache_size: 0,
        refusals: AttemptLimit { attempts: 60, per: Duration::from_secs(600) },
        last: None,
    })
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_remembered_verdict_is_that_of_a_fresh_verification_and_never_outlives_the_token(
        life in 1..120u64,
        wait in 0..60u64,
        own in any::<bool>(),
        keyed in any::<bool>(),
        steps in prop::collection::vec((0..40_000u64, 0..12u8, any::<bool>()), 1..12),
    ) {
        let mut legacy = issuer();
        legacy.until = Some(NOW.plus(Duration::from_secs(90)));
        let bench = Bench::with(&[legacy], Algorithm::ES256, 100);
        let forgetful = forgetful(&bench);
        let times = json!({"nbf": NOW.secs() + wait, "exp": NOW.secs() + wait + life});
        let token = if own {
            let mut changes = times.as_object().unwrap().clone();
            if keyed {
                changes.insert("kh".to_owned(), json!(Digest::of(b"key").base64url()));
            }
            bench.changed(json!(changes))
        } else {
            foreign(times)
        };
        let mut now = NOW;
        for (millis, event, with_key) in steps {
            now = now.plus(Duration::from_millis(millis));
            match event {
                0 => bench.revocations.revoke_session(bench.session.id, now.plus(DAY)),
                1 => drop(bench.ring.rotate(None, now).unwrap()),
                2 => bench.verifier.sweep(now),
                _ => {}
            }
            let credential = if with_key {
                TokenCredential::Pair { token: token.as_str().into(), key: "key".into() }
            } else {
                TokenCredential::Bearer(token.as_str().into())
            };

            let remembered = bench.verifier.verify(&credential, now);
            let fresh = forgetful.verify(&credential, now);

            prop_assert_eq!(
                remembered.as_ref().map(|verified| verified.digest).map_err(|refusal| refusal.clone().without_lookup()),
                fresh.as_ref().map(|verified| verified.digest).map_err(|refusal| refusal.clone().without_lookup())
            );
            if remembered.is_ok() {
                prop_assert!(now.secs() < NOW.secs() + wait + life + 30);
            }
        }
    }
}

#[test]
fn the_second_verification_is_remembered_and_failures_are_not() {
    let bench = Bench::new(&[issuer()]);
    let token = bench.access();

    let first = bench.bearer(&token, NOW).unwrap();
    let second = bench.bearer(&token, NOW).unwrap();
    bench.refuses(&token.replace("ey", "eY"), "malformed");
    bench.refuses(&foreign(json!({"aud": "others"})), "for others");
    bench.bearer(&foreign(json!({"exp": NOW.secs() - 60})), NOW).unwrap_err();

    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(bench.verifier.remembered(), 1);
}

#[test]
fn the_memory_is_bounded_and_swept() {
    let bench = Bench::with(&[issuer()], Algorithm::ES256, 200);
    for sub in 0..1000 {
        bench.bearer(&foreign(json!({"sub": sub.to_string()})), NOW).unwrap();
    }

    let held = bench.verifier.remembered();
    assert!((150..=204).contains(&held), "{held} are held");

    bench.verifier.sweep(NOW.plus(HOUR * 2));
    assert_eq!(bench.verifier.remembered(), 0);
}

#[test]
fn a_revoked_key_refuses_remembered_tokens() {
    let bench = Bench::new(&[]);
    let token = bench.access();
    assert!(bench.bearer(&token, NOW).is_ok());
    let kid = bench.ring.list()[0].kid.clone();

    bench.ring.revoke(&kid, NOW).unwrap();

    assert_eq!(bench.bearer(&token, NOW).unwrap_err().reason, Reason::TokenInvalid);
    assert!(bench.bearer(&bench.access(), NOW).is_ok(), "another key signs at once");
}
