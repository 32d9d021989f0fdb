//! A set of verifying keys, in memory: chooses the key of a token by exact id and algorithm.
//!
//! A set is made from our key ring, or from the published keys of an issuer (JWKS text, PEM,
//! secret). A bad key in a JWKS is skipped with a remark and does not affect the others. This file
//! does not parse tokens and fetches nothing; `authn` does that.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::verifying::{KeyParts, VerifyingKey};
use super::{BadKey, formats};
use crate::algorithm::Algorithm;
use crate::secret::Secret;

/// Upper bound of keys in one set. An issuer's answer must not fill the memory.
const MAX_KEYS: usize = 100;

/// The keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    epoch: u64,
    keys: Vec<Arc<VerifyingKey>>,
}

/// A remark about a key that was skipped, or accepted with a limitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRemark {
    /// The key's `kid`, or its position in the set.
    pub key: String,
    pub remark: BadKey,
}

impl KeySet {
    /// A set of these keys. Invariant: `epoch` differs from that of every earlier set of the same
    /// owner.
    pub(super) fn new(epoch: u64, keys: Vec<Arc<VerifyingKey>>) -> Self {
        Self { epoch, keys }
    }

    /// Parses a JWKS (RFC 7517 §5) and takes the keys that fit one of `algorithms`. With
    /// `weak_secret` a shared secret may be shorter than the algorithm's hash.
    ///
    /// # Errors
    /// Text that is not a JWKS, or has too many keys. A fault of a single key is a remark.
    pub fn from_jwks(
        text: &str,
        algorithms: &[Algorithm],
        weak_secret: bool,
    ) -> Result<(Self, Vec<KeyRemark>), BadKey> {
        let document: Value =
            serde_json::from_str(text).map_err(|_| BadKey("the JWKS is not JSON"))?;
        let entries = document
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(BadKey("the JWKS has no list `keys`"))?;
        if entries.len() > MAX_KEYS {
            return Err(BadKey("the JWKS has more than 100 keys"));
        }
        let mut set = Self::default();
        let mut remarks = Vec::new();
        for (position, entry) in entries.iter().enumerate() {
            let called = entry.get("kid").and_then(Value::as_str).map(str::to_owned);
            let mut remark = |remark| {
                let key = called.clone().unwrap_or_else(|| format!("[{position}]"));
                remarks.push(KeyRemark { key, remark });
            };
            match set.jwk(entry.as_object(), algorithms, weak_secret) {
                Ok(None) => {}
                Ok(Some(note)) | Err(note) => remark(note),
            }
        }
        Ok((set, remarks))
    }

    /// Adds one key of a JWKS. The value in `Ok` is a remark on a key that was added.
    fn jwk(
        &mut self,
        jwk: Option<&Map<String, Value>>,
        algorithms: &[Algorithm],
        weak_secret: bool,
    ) -> Result<Option<BadKey>, BadKey> {
        let jwk = jwk.ok_or(BadKey("it is not an object"))?;
        let facts = formats::jwk_facts(jwk, "verify")?;
        let parts = formats::public_jwk(jwk)?;
        let (algorithm, note) = match facts.algorithm {
            Some(named) if algorithms.contains(&named) => (named, None),
            Some(_) => return Err(BadKey("its `alg` is not among the issuer's `algorithms`")),
            None => pick(&parts, algorithms)?,
        };
        let kid: Option<Arc<str>> = facts.kid.map(Into::into);
        // Two keys of one id and algorithm would make the choice depend on their order. The first
        // one counts, and the operator gets a remark. The same id with another algorithm is fine,
        // because a token names both.
        if self.keys.iter().any(|key| key.kid() == kid.as_ref() && key.algorithm() == algorithm) {
            return Err(BadKey("an earlier key has the same `kid` and algorithm"));
        }
        self.keys.push(Arc::new(VerifyingKey::bind(&parts, algorithm, kid, weak_secret)?));
        Ok(note)
    }

    /// A set of the one key in a PEM file.
    ///
    /// # Errors
    /// Text without a public key, and a key that fits none of `algorithms`.
    pub fn from_pem(
        text: &str,
        algorithms: &[Algorithm],
    ) -> Result<(Self, Vec<KeyRemark>), BadKey> {
        Self::single(&formats::public_pem(text)?, algorithms, false)
    }

    /// A set of one shared secret.
    ///
    /// # Errors
    /// A secret that fits none of `algorithms` or is too short.
    pub fn from_secret(
        secret: &Secret<Vec<u8>>,
        algorithms: &[Algorithm],
        weak_secret: bool,
    ) -> Result<(Self, Vec<KeyRemark>), BadKey> {
        Self::single(&KeyParts::Secret(secret.clone()), algorithms, weak_secret)
    }

    /// A set of one nameless key.
    fn single(
        parts: &KeyParts,
        algorithms: &[Algorithm],
        weak_secret: bool,
    ) -> Result<(Self, Vec<KeyRemark>), BadKey> {
        let (algorithm, note) = pick(parts, algorithms)?;
        let key = VerifyingKey::bind(parts, algorithm, None, weak_secret)?;
        let remarks = note
            .map(|remark| KeyRemark { key: "the key".to_owned(), remark })
            .into_iter()
            .collect();
        Ok((Self { epoch: 0, keys: vec![Arc::new(key)] }, remarks))
    }

    /// The version of the set. It changes whenever a key is added or removed. Tokens that were
    /// verified under another epoch are verified again. Only equality counts; the number itself has
    /// no meaning.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// This set as the successor of `last`. It keeps the epoch of `last` if the keys are the same,
    /// so that a fetch without news does not invalidate the cache of verified tokens.
    #[must_use]
    pub fn after(self, last: &Self) -> Self {
        let same = self.keys.len() == last.keys.len()
            && self.keys.iter().all(|key| last.keys.iter().any(|own| own.is_same(key)));
        Self { epoch: if same { last.epoch } else { last.epoch + 1 }, ..self }
    }

    /// All keys of the set.
    pub fn keys(&self) -> &[Arc<VerifyingKey>] {
        &self.keys
    }

    /// The key for a token's id and algorithm. A key without an id matches any id; a token without
    /// an id matches the only key of its algorithm. If several keys match in this way, then none is
    /// chosen: guessing would let a token be checked with a key that it was not made for.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Arc<VerifyingKey>> {
        let of_algorithm = || self.keys.iter().filter(|key| key.algorithm() == algorithm);
        let named = kid.and_then(|kid| {
            of_algorithm().find(|key| key.kid().is_some_and(|own| own.as_ref() == kid))
        });
        named.or_else(|| {
            let mut nameless = of_algorithm().filter(|key| kid.is_none() || key.kid().is_none());
            nameless.next().filter(|_| nameless.next().is_none())
        })
    }
}

impl VerifyingKey {
    /// The key in a PEM file, bound to the first of `algorithms` that fits it.
    ///
    /// # Errors
    /// As `KeySet::from_pem`.
    pub fn from_pem(text: &str, algorithms: &[Algorithm]) -> Result<Self, BadKey> {
        let parts = formats::public_pem(text)?;
        Self::bind(&parts, pick(&parts, algorithms)?.0, None, false)
    }

    /// A shared secret, bound to the first of `algorithms` that fits it.
    ///
    /// # Errors
    /// As `KeySet::from_secret`.
    pub fn from_secret(secret: &Secret<Vec<u8>>, algorithms: &[Algorithm]) -> Result<Self, BadKey> {
        let parts = KeyParts::Secret(secret.clone());
        Self::bind(&parts, pick(&parts, algorithms)?.0, None, false)
    }
}

/// Chooses one algorithm for a key: the first of `allowed` that fits its type. A key that verifies
/// several algorithms invites confusion attacks (RFC 8725 §3.1).
fn pick(parts: &KeyParts, allowed: &[Algorithm]) -> Result<(Algorithm, Option<BadKey>), BadKey> {
    let mut fitting = allowed.iter().copied().filter(|algorithm| parts.fits(*algorithm));
    let first = fitting.next().ok_or(BadKey("none of the issuer's `algorithms` fits the key"))?;
    let note = fitting.next().map(|_| {
        BadKey("several of the issuer's `algorithms` fit the key: it verifies the first only")
    });
    Ok((first, note))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

    #[test]
    fn a_bad_key_of_a_set_costs_only_itself() {
        let text = format!(
            r#"{{"keys":[{{{EC},"kid":"good"}},7,{{{EC},"kid":5}},{{{EC},"kid":"enc","use":"enc"}},
            {{{EC},"kid":"ops","key_ops":["sign"]}},{{{EC},"kid":"alg","alg":"RS256"}},
            {{{EC},"kid":"private","d":"AAAA"}},{{"kty":"oct","kid":"short","k":"AAAA"}},
            {{{EC},"kid":"good"}},{{"kty":"EC","crv":"P-521","kid":"curve"}}]}}"#
        );

        let (set, remarks) =
            KeySet::from_jwks(&text, &[Algorithm::ES256, Algorithm::HS256], false).unwrap();

        assert_eq!(set.keys().len(), 1);
        let left_out: Vec<_> = remarks.iter().map(|remark| remark.key.as_str()).collect();
        let expected = ["[1]", "[2]", "enc", "ops", "alg", "private", "short", "good", "curve"];
        assert_eq!(left_out, expected);
    }

    #[test]
    fn a_key_is_found_by_its_exact_id_and_never_guessed() {
        let text = format!(r#"{{"keys":[{{{EC},"kid":"a"}},{{{EC},"kid":"b"}}]}}"#);
        let (set, _) = KeySet::from_jwks(&text, &[Algorithm::ES256], false).unwrap();

        assert!(set.find(Some("a"), Algorithm::ES256).is_some());
        for (kid, algorithm, why) in [
            (Some("A"), Algorithm::ES256, "ids are compared byte for byte"),
            (Some(""), Algorithm::ES256, "an empty id is an id"),
            (Some("a"), Algorithm::ES384, "another algorithm"),
            (Some("a"), Algorithm::HS256, "another family"),
            (None, Algorithm::ES256, "two keys could be meant"),
        ] {
            assert!(set.find(kid, algorithm).is_none(), "{why}");
        }
    }
}
