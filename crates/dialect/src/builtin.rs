//! The dialects that come with the gateway, as TOML files in the binary.
//!
//! They are checked by the same code as an operator's own dialects, and an operator may copy one
//! into `gateway.toml` and change it. `config` looks them up by name.

use std::sync::Arc;

use super::{Dialect, RawDialect};

const NAMES: &[&str] = &["webitel", "datarhei", "aviate", "nomic", "avenia", "native"];

impl Dialect {
    /// The built-in dialect with this name; `None` if there is none.
    pub fn builtin(name: &str) -> Option<Arc<Self>> {
        // A test makes sure that each built-in dialect is free of problems, so an error here cannot
        // happen.
        let raw: RawDialect = toml::from_str(Self::builtin_text(name)?).ok()?;
        Self::check(raw).ok().map(Arc::new)
    }

    /// The names of all built-in dialects.
    pub fn builtin_names() -> &'static [&'static str] {
        NAMES
    }

    /// The file of a built-in dialect, in a form that can be copied into `gateway.toml`.
    pub fn builtin_text(name: &str) -> Option<&'static str> {
        match name {
            "webitel" => Some(include_str!("builtin/webitel.toml")),
            "datarhei" => Some(include_str!("builtin/datarhei.toml")),
            "aviate" => Some(include_str!("builtin/aviate.toml")),
            "nomic" => Some(include_str!("builtin/nomic.toml")),
            "avenia" => Some(include_str!("builtin/avenia.toml")),
            "native" => Some(include_str!("builtin/native.toml")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
