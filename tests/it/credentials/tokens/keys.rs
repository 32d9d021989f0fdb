//! The key ring: files, rotation, revocation, publication.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use serde_json::Value;
use tempfile::TempDir;
use tollhouse::algorithm::Algorithm;
use tollhouse::authn::jws::CompactJws;
use tollhouse::clock::Timestamp;
use tollhouse::identity::Claims;
use tollhouse::token::{KeyError, KeyEvent, KeyPlace, KeyRing, KeyRingOptions, KeyState};

use super::{DAY, HOUR, NOW, ring_options};

const ES: Algorithm = Algorithm::ES256;

fn ring(dir: &TempDir, algorithms: &[Algorithm]) -> Arc<KeyRing> {
    KeyRing::open(ring_options(dir, algorithms)).unwrap()
}

fn operators(dir: &TempDir, algorithms: &[Algorithm]) -> Result<Arc<KeyRing>, KeyError> {
    let place = KeyPlace::OperatorFolder(dir.path().join("keys"));
    let options = KeyRingOptions { place, ..ring_options(dir, algorithms) };
    KeyRing::open(options)
}

fn token(ring: &KeyRing, algorithm: Algorithm) -> String {
    ring.sign(algorithm, "at+jwt", &Claims::new()).unwrap().expose().clone()
}

fn holds(ring: &KeyRing, token: &str) -> bool {
    CompactJws::parse(token).and_then(|token| token.verify(&ring.public())).is_ok()
}

fn kid(token: &str) -> String {
    super::header_of(token)["kid"].as_str().unwrap().to_owned()
}

fn published(ring: &KeyRing) -> Vec<String> {
    let document: Value = serde_json::from_slice(&ring.jwks()).unwrap();
    let keys = document["keys"].as_array().unwrap();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn files(dir: &TempDir) -> Vec<std::path::PathBuf> {
    fs::read_dir(dir.path().join("keys")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn keys_of_every_algorithm_are_made_kept_private_and_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let made = ring(&dir, Algorithm::ALL);
    let tokens: Vec<_> = Algorithm::ALL.iter().map(|one| token(&made, *one)).collect();

    let read = ring(&dir, Algorithm::ALL);

    assert_eq!(read.list(), made.list());
    assert!(tokens.iter().all(|token| holds(&read, token)));
    assert!(read.warnings().is_empty());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("keys")), 0o700);
    for path in files(&dir) {
        assert_eq!(mode(&path), 0o600);
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(made.list().iter().any(|entry| entry.kid.as_ref() == name), "named by its id");
    }
}

#[test]
fn the_jwks_publishes_public_asymmetric_keys_only() {
    let dir = tempfile::tempdir().unwrap();
    let ring =
        ring(&dir, &[Algorithm::HS256, Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256]);

    let text = String::from_utf8(ring.jwks().to_vec()).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();

    let keys = document["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 3);
    for key in keys {
        assert_eq!(key["use"], "sig");
        assert!(key["kid"].is_string() && key["alg"].is_string());
        for private in ["d", "k", "p", "q", "dp", "dq", "qi"] {
            assert!(key.get(private).is_none(), "{private}");
        }
    }
    assert!(!text.contains("oct"));
}

#[test]
fn rule_14_a_successor_is_published_a_day_before_it_signs_and_the_old_key_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(&dir, &[ES]);
    let first = token(&ring, ES);

    assert!(ring.maintain(NOW.plus(DAY * 89).minus(HOUR)).is_empty(), "nothing is due");
    let at = NOW.plus(DAY * 89);
    let events = ring.maintain(at);
    let [KeyEvent::Added { kid: next, signs_from, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*signs_from, NOW.plus(DAY * 90));
    assert!(published(&ring).contains(&next.to_string()), "known before it signs");
    assert_eq!(kid(&token(&ring, ES)), kid(&first), "the old key still signs");
    assert!(ring.maintain(at.plus(HOUR)).is_empty(), "one successor, not one a minute");

    ring.maintain(NOW.plus(DAY * 90));
    let second = token(&ring, ES);
    assert_eq!(kid(&second), next.as_ref());
    assert!(holds(&ring, &first), "no valid token is refused by a rotation");

    ring.maintain(NOW.plus(DAY * 120));
    assert!(holds(&ring, &first), "kept for as long as a token of it may live");
    ring.maintain(NOW.plus(DAY * 120 + HOUR));
    assert!(!holds(&ring, &first) && holds(&ring, &second));
    assert_eq!(files(&dir).len(), 1, "its file is gone");
}

#[test]
fn a_rotation_survives_a_restart_at_any_point() {
    let dir = tempfile::tempdir().unwrap();
    let first = ring(&dir, &[ES]);
    let old = token(&first, ES);
    first.rotate(None, NOW).unwrap();
    first.rotate(None, NOW).unwrap();
    let states = |ring: &KeyRing| ring.list().iter().map(|one| one.state).collect::<Vec<_>>();
    assert_eq!(states(&first), [KeyState::Signing, KeyState::Pending], "asked twice, made once");

    let again = KeyRing::open(KeyRingOptions { now: NOW.plus(DAY), ..ring_options(&dir, &[ES]) });
    let again = again.unwrap();

    assert_eq!(states(&again), [KeyState::Retired, KeyState::Signing]);
    assert!(holds(&again, &old));
    assert_ne!(kid(&token(&again, ES)), kid(&old));
}

#[test]
fn revoking_a_key_takes_effect_at_once_and_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let ring_ = ring(&dir, &[ES]);
    let (old, epoch) = (token(&ring_, ES), ring_.epoch());
    ring_.rotate(Some(ES), NOW).unwrap();
    let waiting = ring_.list()[1].kid.clone();

    ring_.revoke(&kid(&old), NOW).unwrap();

    assert!(!holds(&ring_, &old) && ring_.epoch() > epoch);
    assert_eq!(kid(&token(&ring_, ES)), waiting.as_ref(), "its successor signs early");
    assert!(!published(&ring_).contains(&kid(&old)));
    assert!(!holds(&ring(&dir, &[ES]), &old), "after a restart too");
    assert!(matches!(ring_.revoke("unknown", NOW), Err(KeyError::Unknown { .. })));
}

#[test]
fn a_revoked_key_whose_file_is_still_there_does_not_come_back_by_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let ring_ = ring(&dir, &[ES]);
    let old = token(&ring_, ES);
    let file = files(&dir).remove(0);
    let text = fs::read(&file).unwrap();
    // A folder in its place cannot be removed as a file.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();

    let events = ring_.revoke(&kid(&old), NOW).unwrap();

    assert!(events.iter().any(|event| matches!(event, KeyEvent::Removed { .. })), "{events:?}");
    assert!(matches!(events.last(), Some(KeyEvent::Failed { .. })), "{events:?}");
    fs::remove_dir(&file).unwrap();
    fs::write(&file, text).unwrap();
    for _ in 0..2 {
        ring_.reconfigure(ring_options(&dir, &[ES])).unwrap();
        assert!(!holds(&ring_, &old), "revoked before the reload");
        assert!(file.exists(), "a reload removes nothing");
    }
    assert_eq!(ring_.maintain(NOW), []);
    assert!(!file.exists() && !holds(&ring_, &old));
}

#[test]
fn shorter_lifetimes_keep_the_keys_of_tokens_that_are_still_out() {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(&dir, &[ES]);
    let old = token(&ring, ES);
    ring.maintain(NOW.plus(DAY * 89));
    ring.maintain(NOW.plus(DAY * 90));
    assert_ne!(kid(&token(&ring, ES)), kid(&old));

    let at = NOW.plus(DAY * 90 + HOUR);
    let short = KeyRingOptions { keep_for: HOUR / 2, now: at, ..ring_options(&dir, &[ES]) };
    ring.reconfigure(short.clone()).unwrap();
    assert!(holds(&ring, &old), "signed an hour ago, for a month");
    for days in [1, 20, 29] {
        let now = at.plus(DAY * days);
        ring.reconfigure(KeyRingOptions { now, ..short.clone() }).unwrap();
        ring.maintain(now);
        assert!(holds(&ring, &old), "after {days} days");
    }

    ring.maintain(at.plus(DAY * 30));
    assert!(!holds(&ring, &old), "no longer than the longest token of that time");
}

#[test]
fn an_imported_key_is_published_first_and_weak_or_double_ones_are_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, theirs) = (ring(&dir, &[ES]), ring(&other, &[ES]));
    let text = fs::read_to_string(&files(&other)[0]).unwrap();

    ours.import(&text, None, NOW).unwrap();

    let signed = token(&theirs, ES);
    assert!(holds(&ours, &signed), "verifies at once");
    assert_ne!(kid(&token(&ours, ES)), kid(&signed), "signs later");
    ours.maintain(NOW.plus(DAY));
    assert_eq!(kid(&token(&ours, ES)), kid(&signed));
    assert!(matches!(ours.import(&text, None, NOW), Err(KeyError::Twice { .. })));
    for (text, algorithm, why) in [
        ("", None, "nothing"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None, "no key"),
        (r#"{"kty":"oct","k":"c2hvcnQ"}"#, Some(Algorithm::HS256), "a short secret"),
        (r#"{"kty":"oct","k":""}"#, None, "an empty secret"),
        (text.as_str(), Some(Algorithm::RS256), "a key of another algorithm"),
    ] {
        assert!(matches!(ours.import(text, algorithm, NOW), Err(KeyError::Refused(_))), "{why}");
    }
    assert_eq!(files(&dir).len(), 2);
}

#[test]
fn a_folder_that_others_may_write_is_refused_and_a_readable_file_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    drop(ring(&dir, &[ES]));
    let (keys, file) = (dir.path().join("keys"), files(&dir)[0].clone());
    let chmod = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };

    chmod(&file, 0o640);
    assert_eq!(ring(&dir, &[ES]).warnings().len(), 1);
    chmod(&file, 0o602);
    assert!(matches!(KeyRing::open(ring_options(&dir, &[ES])), Err(KeyError::File { .. })));
    chmod(&file, 0o600);
    chmod(&keys, 0o777);
    assert!(matches!(KeyRing::open(ring_options(&dir, &[ES])), Err(KeyError::File { .. })));
}

#[test]
fn a_damaged_key_file_refuses_to_start_and_keeps_a_running_ring_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let running = ring(&dir, &[ES]);
    let signed = token(&running, ES);

    fs::write(&files(&dir)[0], "-----BEGIN PRIVATE KEY-----\n").unwrap();

    assert!(matches!(KeyRing::open(ring_options(&dir, &[ES])), Err(KeyError::File { .. })));
    let events = running.maintain(NOW);
    assert!(matches!(events[..], [KeyEvent::Failed { .. }]), "{events:?}");
    assert!(holds(&running, &signed) && holds(&running, &token(&running, ES)));
}

#[test]
fn in_the_operators_folder_the_newest_file_signs_and_nothing_is_written() {
    let (dir, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    assert!(matches!(operators(&dir, &[ES]), Err(KeyError::NoKey(Algorithm::ES256))));
    let made = ring(&source, &[ES, Algorithm::PS256]);
    made.rotate(Some(ES), NOW).unwrap();
    let bare = |kid: &str| {
        let text = fs::read_to_string(source.path().join("keys").join(format!("{kid}.pem")));
        let text = text.unwrap();
        text[text.find("-----BEGIN").unwrap()..].to_owned()
    };
    let put = |name: &str, text: String, age: Duration| {
        let path = keys.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let at = std::time::SystemTime::from(NOW.minus(DAY * 365).minus(age));
        fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    };
    let list = made.list();
    let of = |algorithm| list.iter().filter(move |entry| entry.algorithm == algorithm);
    let kids: Vec<_> = of(ES).map(|entry| entry.kid.clone()).collect();
    let [older, newer] = &kids[..] else { panic!("two keys") };
    let rsa = of(Algorithm::PS256).next().unwrap().kid.clone();
    put("z-older.pem", bare(older), DAY);
    put("a-newer.pem", bare(newer), Duration::ZERO);
    put("rsa.PS256.pem", bare(&rsa), DAY);
    put("README", "not a key".to_owned(), DAY);

    let ring = operators(&dir, &[ES, Algorithm::PS256]).unwrap();

    assert_eq!(kid(&token(&ring, ES)), newer.as_ref(), "named by its thumbprint");
    assert!(holds(&ring, &token(&made, ES)), "the older one verifies");
    assert_eq!(kid(&token(&ring, Algorithm::PS256)), rsa.as_ref());
    assert!(matches!(ring.rotate(None, NOW), Err(KeyError::NotManaged { .. })));
    assert!(matches!(ring.revoke(newer, NOW), Err(KeyError::NotManaged { .. })));
    assert!(ring.maintain(Timestamp::from_secs(NOW.secs() * 2)).is_empty(), "nothing rotates");

    fs::remove_file(keys.join("a-newer.pem")).unwrap();
    ring.maintain(NOW);
    assert_eq!(kid(&token(&ring, ES)), older.as_ref(), "a removed file is noticed");
    assert_eq!(files(&dir).len(), 3);
}

/// Written by `openssl ecparam -name prime256v1 -genkey`.
const SEC1: &str = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIL0WFwcnQTaBTYEBb9qcpuiPx209XhzKveLS8TyUiIZaoAoGCCqGSM49\nAwEHoUQDQgAEWe8Xwu+Pbn6GZofcVGcL96GtTtK3Asr4g+6OSwpEs6gsfens1K1B\n5EDalBTCDPJpoUl86f1WWsZf75lIum/AQQ==\n-----END EC PRIVATE KEY-----\n";

#[test]
fn private_keys_are_read_from_every_usual_format() {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(&dir, &[ES]);
    let vectors: Value = serde_json::from_str(include_str!(
        "../../../cases/wycheproof/json_web_signature_test.json"
    ))
    .unwrap();
    let private = |position: usize| vectors["testGroups"][position]["private"].to_string();
    let pkcs8 = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap().serialize_der();
    // A PKCS #8 wrapping of a 2048-bit key in PKCS #1 is 26 bytes and the key.
    let pkcs1 = base64::engine::general_purpose::STANDARD.encode(&pkcs8[26..]);
    let pkcs1 =
        format!("-----BEGIN RSA PRIVATE KEY-----\n{pkcs1}\n-----END RSA PRIVATE KEY-----\n");
    let ed = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    for (text, algorithm, why) in [
        (private(0), Algorithm::HS256, "a secret as a JWK"),
        (private(1), Algorithm::ES256, "an EC key as a JWK"),
        (private(2), Algorithm::RS256, "an RSA key as a JWK"),
        (ed, Algorithm::EdDSA, "an Ed25519 key in PKCS #8"),
        (pkcs1, Algorithm::RS256, "an RSA key in PKCS #1"),
        (SEC1.to_owned(), Algorithm::ES256, "an EC key in SEC 1"),
    ] {
        let events = ring.import(&text, None, NOW).expect(why);

        let [KeyEvent::Added { algorithm: read, .. }, ..] = &events[..] else { panic!("{why}") };
        assert_eq!(*read, algorithm, "{why}");
    }
}
