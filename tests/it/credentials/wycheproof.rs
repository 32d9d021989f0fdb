//! The JSON Web Signature vectors of Project Wycheproof.
//!
//! All vectors run. The verdict is the file's, but for the few that we refuse on purpose though
//! they are called valid there, and two that contradict another; each is named with its reason.

use serde_json::{Value, json};
use tollhouse::algorithm::Algorithm;
use tollhouse::authn::jws::CompactJws;
use tollhouse::token::KeySet;

const VECTORS: &str = include_str!("../../cases/wycheproof/json_web_signature_test.json");

/// Called valid, refused here.
const STRICTER: [(u64, &str); 6] = [
    (346, "the key says PS256, the token PS384: one key, one algorithm"),
    (347, "ES512 is not among our algorithms (the key even says `ES521`)"),
    (350, "the key says PS256, the token PS384: one key, one algorithm"),
    (351, "ES512 is not among our algorithms (the key even says `ES521`)"),
    (372, "a character outside base64url in the header, which lenient readers drop"),
    (373, "a character outside base64url in the payload, which lenient readers drop"),
];

/// Called invalid, but byte for byte vector 357, which is called valid: the padding that they are
/// about is not in the file. No verdict can be right for both; padding is refused (see `rule_12`).
const SAME_AS_357: [u64; 2] = [367, 370];

/// Our verdict on one vector; the key set is what we make of the group's key.
fn verified(keys: &KeySet, token: &str) -> bool {
    CompactJws::parse(token).and_then(|token| token.verify(keys)).is_ok()
}

#[test]
fn every_signature_vector_has_the_expected_verdict() {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    let (mut valid, mut invalid, mut vector_357) = (0, 0, "");

    for group in document["testGroups"].as_array().unwrap() {
        let key = group.get("public").unwrap_or(&group["private"]);
        let set = json!({ "keys": [key] }).to_string();
        let (keys, _) = KeySet::from_jwks(&set, Algorithm::ALL, false).unwrap();
        for case in group["tests"].as_array().unwrap() {
            let (id, token) = (case["tcId"].as_u64().unwrap(), case["jws"].as_str().unwrap());
            if id == 357 {
                vector_357 = token;
            }
            let stricter = STRICTER.iter().any(|(named, _)| *named == id);
            let same = SAME_AS_357.contains(&id);
            assert!(!same || token == vector_357, "vector {id} is not that of 357 any more");
            let expected = same || (case["result"] == "valid" && !stricter);

            let verdict = verified(&keys, token);

            assert_eq!(verdict, expected, "vector {id}, {}", case["comment"]);
            if verdict { valid += 1 } else { invalid += 1 }
        }
    }

    assert_eq!(Some(valid + invalid), document["numberOfTests"].as_u64());
    assert_eq!((valid, invalid), (42, 359), "46 are called valid in the file: less 6, and 2 more");
}
