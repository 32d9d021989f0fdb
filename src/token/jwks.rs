//! The published key set (JWKS, RFC 7517 §5).
//!
//! It has the public halves of key pairs only, including keys that wait for their turn or have
//! retired: a client that caches the document knows a key before its first token. A shared secret
//! is never in it. `ring` renders the document when its keys change.

use bytes::Bytes;
use serde_json::{Value, json};

use super::KeySet;

/// Renders the document for `keys`.
pub(super) fn document(keys: &KeySet) -> Bytes {
    let published: Vec<Value> = keys.keys().iter().filter_map(|key| key.published()).collect();
    Bytes::from(json!({ "keys": published }).to_string())
}
