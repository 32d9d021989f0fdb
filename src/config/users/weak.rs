//! `allow_weak`: fast password hashes that a source takes nevertheless, until they are replaced.

use crate::config::reader::Table;
use crate::config::warnings::WarningName;

/// A way to store passwords that is as fast to guess as to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WeakScheme {
    /// LDAP's `{SSHA}`: SHA-1 of password and salt.
    Ssha,
    Ssha256,
    Ssha512,
    /// MD5 of `user:domain:password`.
    WebitelMd5,
}

impl WeakScheme {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Ssha, Self::Ssha256, Self::Ssha512, Self::WebitelMd5];

    /// The name in the configuration and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ssha => "ssha",
            Self::Ssha256 => "ssha256",
            Self::Ssha512 => "ssha512",
            Self::WebitelMd5 => "webitel-md5",
        }
    }
}

/// The weak schemes that a source takes; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowWeak(Vec<WeakScheme>);

impl AllowWeak {
    /// Every scheme: for looking at users without letting anybody in.
    pub fn all() -> Self {
        Self(WeakScheme::ALL.to_vec())
    }

    /// Whether hashes of this scheme are taken.
    pub fn allows(&self, scheme: WeakScheme) -> bool {
        self.0.contains(&scheme)
    }

    /// The key `allow_weak` of a `[[users]]` section.
    pub(super) fn read(table: &mut Table<'_>) -> Self {
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

    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|scheme| scheme.as_str().to_owned()).collect()
    }
}
