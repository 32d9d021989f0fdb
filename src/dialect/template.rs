//! Templates: JSON with `$placeholders`.

/// A JSON object (or any value) with placeholders, compiled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template(pub(super) serde_json::Value);
