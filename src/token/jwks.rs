//! The published key set (RFC 7517 §5).
//!
//! Public halves of key pairs only, waiting and retired ones too: whoever caches the document
//! knows a key before it signs. A shared secret is never in it.

use bytes::Bytes;
use serde_json::{Value, json};

use super::KeySet;

/// The document for `keys`.
pub(super) fn document(keys: &KeySet) -> Bytes {
    let published: Vec<Value> = keys.keys().iter().filter_map(|key| key.published()).collect();
    Bytes::from(json!({ "keys": published }).to_string())
}
