//! The dialects that come with the gateway.

use std::sync::Arc;

use super::{Dialect, RawDialect};

const NAMES: &[&str] = &["webitel", "datarhei", "aviate", "nomic", "avenia", "native"];

impl Dialect {
    /// The built-in dialect of this name.
    pub fn builtin(name: &str) -> Option<Arc<Self>> {
        // A test holds every one of them to be free of problems.
        let raw: RawDialect = toml::from_str(Self::builtin_text(name)?).ok()?;
        Self::check(raw).ok().map(Arc::new)
    }

    /// The names of the built-in dialects.
    pub fn builtin_names() -> &'static [&'static str] {
        NAMES
    }

    /// The file of a built-in dialect, as it may be copied into `gateway.toml`.
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
