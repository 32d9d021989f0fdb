//! Parses a signed token in compact form (JWS, RFC 7515 §7.1), strictly.
//!
//! It requires three parts of unpadded base64url, a header of bounded size without repeated
//! members, and a known algorithm. It refuses `crit` and `b64`. It ignores `jku`, `x5u`, `jwk` and
//! `x5c`, so that a token cannot supply its own key (RFC 8725 §3.10). The key set chooses the key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::strict_json;
use crate::algorithm::Algorithm;
use crate::token::{KeySet, MAX_KID};

/// Longest token in bytes. It is checked before any other work on the token.
pub const MAX_TOKEN: usize = 8 * 1024;

/// Longest encoded header in bytes: enough for one or two certificate thumbprints.
const MAX_HEADER: usize = 2 * 1024;

/// Names the failed check for the log. It is never sent to the client.
pub type RefusalCause = &'static str;

/// A parsed token. Invariant: nothing in it may be trusted before `verify` has succeeded.
#[derive(Clone, Debug)]
pub struct CompactJws<'t> {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    /// Header and payload with the dot between them: the bytes that are signed.
    signed: &'t str,
    /// The decoded payload, not parsed as JSON yet.
    payload: Vec<u8>,
    signature: &'t str,
}

impl<'t> CompactJws<'t> {
    /// Parses a token. The error is the cause for the log.
    ///
    /// # Errors
    /// A token or header that is too long, a wrong number of parts, wrong encoding, a header that
    /// is not a JSON object, an unknown algorithm, and a critical extension.
    pub fn parse(token: &'t str) -> Result<Self, RefusalCause> {
        if token.len() > MAX_TOKEN {
            return Err("the token is too long");
        }
        // The parts are split from the end. The signed part is then one slice of the token, as the
        // signature needs it, without a copy.
        let (signed, signature) = token.rsplit_once('.').ok_or("the token is not in parts")?;
        let (header, payload) = signed.split_once('.').ok_or("the token has too few parts")?;
        if payload.contains('.') {
            return Err("the token has too many parts");
        }
        let payload = decode(payload).ok_or("the token's claims are not base64url")?;
        if header.len() > MAX_HEADER {
            return Err("the token's header is too long");
        }
        let header = decode(header).ok_or("the token's header is not base64url")?;
        let header =
            strict_json::object(&header).ok_or("the token's header is not a JSON object")?;
        let mut algorithm = None;
        let mut kid = None;
        let mut typ = None;
        // One pass over the members is cheaper than a search for each known name. A member that is
        // a duplicate was refused by `strict_json::object`, so the order does not matter. This
        // parse runs for every token that is not cached.
        for (name, value) in header {
            match name.as_str() {
                "alg" => algorithm = Some(text(value)?),
                "kid" => kid = Some(text(value)?),
                "typ" => typ = Some(text(value)?),
                // RFC 7515 §4.1.11: a token with a critical extension must be refused by a
                // recipient that does not implement it. `b64` (RFC 7797) changes which bytes are
                // signed.
                "crit" | "b64" => {
                    return Err("the token's header has an extension that must be understood");
                }
                _ => {}
            }
        }
        let algorithm = algorithm.ok_or("the token names no algorithm")?;
        let algorithm = Algorithm::parse(&algorithm).ok_or("the token's algorithm is not taken")?;
        if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
            return Err("the token's key id is too long");
        }
        Ok(Self { algorithm, kid, typ, signed, payload, signature })
    }

    /// Verifies the signature with the key of the set that has this id and this algorithm.
    ///
    /// The algorithm must be the key's own (RFC 8725 §3.1). Otherwise a public RSA key could be
    /// misused as an HMAC secret.
    pub fn verify(&self, keys: &KeySet) -> Result<(), RefusalCause> {
        let key = keys
            .find(self.kid.as_deref(), self.algorithm)
            .ok_or("no key has this id and algorithm")?;
        if key.verify(self.signed.as_bytes(), self.signature) {
            Ok(())
        } else {
            Err("the signature is not the key's")
        }
    }

    /// The algorithm in the token's header.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The id of the key in the token's header.
    pub(super) fn key_id(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// True if the token could be signed with a key that is not in the set yet. That is so if it
    /// names an unknown key, or if it was checked with a nameless key: when an issuer replaces a
    /// nameless key, the new one has no name either.
    pub(super) fn may_have_newer_key(&self, keys: &KeySet) -> bool {
        match keys.find(self.kid.as_deref(), self.algorithm) {
            Some(key) => key.kid().is_none(),
            None => self.kid.is_some(),
        }
    }

    /// The claims: one JSON object without repeated members.
    ///
    /// # Errors
    /// A payload that is not one JSON object. Repeated members are refused, because two parsers
    /// could use different ones.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, RefusalCause> {
        strict_json::object(&self.payload).ok_or("the token's claims are not a JSON object")
    }

    /// The `typ` of the header in lower case and without `application/` (RFC 7515 §4.1.9).
    pub(super) fn typ(&self) -> Option<String> {
        self.typ.as_ref().map(|typ| {
            let lower = typ.to_ascii_lowercase();
            lower.strip_prefix("application/").map_or(lower.clone(), str::to_owned)
        })
    }

    /// The signed bytes. They identify the token even if its signature can be written in several
    /// ways.
    pub(super) fn signed(&self) -> &'t str {
        self.signed
    }
}

/// Decodes unpadded base64url. Other alphabets, padding and stray bits are refused.
fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// The text of a header member that must be a string.
fn text(value: Value) -> Result<String, RefusalCause> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err("a member of the token's header has the wrong type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_tokens_are_refused_before_any_key_is_looked_for() {
        let token = |header: &str| format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header));
        for (header, why) in [
            (r#"{"alg":"none"}"#, "no signature"),
            (r#"{"alg":"None"}"#, "no signature"),
            (r#"{"alg":"nOnE"}"#, "no signature"),
            (r#"{"alg":"NONE"}"#, "no signature"),
            (r#"{"alg":""}"#, "no signature"),
            (r#"{}"#, "no algorithm"),
            (r#"{"alg":null}"#, "no algorithm"),
            (r#"{"alg":["HS256"]}"#, "wrong type"),
            (r#"{"alg":"hs256"}"#, "names are case-sensitive"),
            (r#"{"alg":"HS256 "}"#, "names are exact"),
            (r#"{"alg":"HS256","alg":"none"}"#, "named twice"),
            (r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, "critical extension"),
            (r#"{"alg":"HS256","crit":[]}"#, "critical extension"),
            (r#"{"alg":"HS256","b64":false}"#, "unencoded payload"),
            (r#"{"alg":"HS256","kid":7}"#, "wrong type"),
            (r#"{"alg":"HS256","typ":{}}"#, "wrong type"),
            (r#"["HS256"]"#, "not an object"),
            ("", "empty"),
        ] {
            assert!(CompactJws::parse(&token(header)).is_err(), "{header}: {why}");
        }
        let long = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(257));
        assert!(CompactJws::parse(&token(&long)).is_err(), "unbounded key id");
    }

    #[test]
    fn a_token_has_exactly_three_parts_of_strict_base64url() {
        let good = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln";
        assert!(CompactJws::parse(good).is_ok());
        for (token, why) in [
            ("", "nothing"),
            ("eyJhbGciOiJIUzI1NiJ9", "one part"),
            ("eyJhbGciOiJIUzI1NiJ9.e30", "two parts"),
            ("eyJhbGciOiJIUzI1NiJ9.e30.c2ln.c2ln", "four parts"),
            ("eyJhbGciOiJIUzI1NiJ9.e30..c2ln", "an extra dot"),
            ("eyJhbGciOiJIUzI1NiJ9.e30.c2ln.a.b", "five parts"),
            (".e30.c2ln", "an empty header"),
            ("eyJhbGciOiJIUzI1NiJ9=.e30.c2ln", "padding"),
            ("eyJhbGciOiJIUzI1NiJ9.e3 0.c2ln", "white space in the claims"),
            ("eyJhbGciOiJIUzI1NiJ9.e31.c2ln", "unused bits that are set"),
            ("eyJhbGciOiJIUzI1NiJ9 .e30.c2ln", "white space"),
            ("eyJhbGciOiJIUzI1NiJ+.e30.c2ln", "the standard alphabet"),
        ] {
            assert!(CompactJws::parse(token).is_err(), "{why}");
        }
        let long = format!("{good}{}", "A".repeat(MAX_TOKEN));
        assert_eq!(CompactJws::parse(&long).unwrap_err(), "the token is too long");
    }
}
