//! `allow_weak`: fast password hashes that a source accepts until they have been replaced.

use serde::Serialize;

/// A password hash that is as fast to guess as it is to verify, because it has no cost parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeakScheme {
    /// LDAP's `{SSHA}`: SHA-1 of password and salt.
    Ssha,
    Ssha256,
    Ssha512,
    /// MD5 of `user:domain:password`, as Webitel stores it.
    WebitelMd5,
}

impl WeakScheme {
    /// All weak schemes.
    pub const ALL: [Self; 4] = [Self::Ssha, Self::Ssha256, Self::Ssha512, Self::WebitelMd5];

    /// The name of the scheme in the configuration and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ssha => "ssha",
            Self::Ssha256 => "ssha256",
            Self::Ssha512 => "ssha512",
            Self::WebitelMd5 => "webitel-md5",
        }
    }
}

/// The weak schemes that a source accepts; empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AllowWeak(pub Vec<WeakScheme>);

impl AllowWeak {
    /// Accepts every scheme. Only for listing users: nobody is let in with it.
    pub fn all() -> Self {
        Self(WeakScheme::ALL.to_vec())
    }

    /// True if hashes of this scheme are accepted.
    pub fn allows(&self, scheme: WeakScheme) -> bool {
        self.0.contains(&scheme)
    }
}
