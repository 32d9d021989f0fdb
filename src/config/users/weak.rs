//! `allow_weak`: fast password hashes that a source accepts until they have been replaced.
//!
//! Such hashes come from older systems. They can be guessed at billions per second after a theft,
//! so none is accepted by default, and accepting one is warned of.

use crate::config::reader::TableReader;
use crate::config::warnings::WarningName;
use crate::settings::{AllowWeak, WeakScheme};

impl AllowWeak {
    /// Reads the key `allow_weak` of a `[[users]]` section.
    pub(super) fn read(table: &mut TableReader<'_>) -> Self {
        table.default_is("allow_weak", Vec::<String>::new());
        let Some(item) = table.get("allow_weak") else { return Self::default() };
        let choices = WeakScheme::ALL.map(|scheme| (scheme.as_str(), scheme));
        let list = item.list().unwrap_or_default();
        let mut allowed: Vec<_> = list.iter().filter_map(|item| item.choice(&choices)).collect();
        allowed.sort_unstable();
        allowed.dedup();
        if !allowed.is_empty() {
            item.warn(
                WarningName::WeakHashes,
                "takes hashes that are as fast to guess as to check: until all are replaced",
            );
        }
        Self(allowed)
    }
}
