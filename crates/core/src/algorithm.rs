//! The signature algorithms that the gateway knows, by their names in RFC 7518, RFC 8037 and RFC
//! 9864.
//!
//! Tokens are signed and verified with these and no others; `none` is not among them. This file
//! knows names and properties only, the cryptography is in `token`.

use serde::Serialize;

/// A signature algorithm (RFC 7518, section 3.1; RFC 8037, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// Every algorithm, in the order of the enumeration.
    pub const ALL: &'static [Self] = &[
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The name in the `alg` of a token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The name that RFC 9864, section 2.2, gives to EdDSA with the curve Ed25519, the only one
    /// whose keys are accepted here. The gateway's own tokens keep the older name, which every
    /// verifier knows.
    pub const OTHER_EDDSA: &'static str = "Ed25519";

    /// The algorithm of exactly this name; `None` for `none` in any spelling.
    pub fn parse(name: &str) -> Option<Self> {
        if name == Self::OTHER_EDDSA {
            return Some(Self::EdDSA);
        }
        Self::ALL.iter().copied().find(|algorithm| algorithm.as_str() == name)
    }

    /// The keys that it works with, in the words of messages. Each key is of one type.
    pub const fn key_type(self) -> &'static str {
        match self {
            Self::HS256 | Self::HS384 | Self::HS512 => "secrets",
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => {
                "RSA keys"
            }
            Self::ES256 => "keys on P-256",
            Self::ES384 => "keys on P-384",
            Self::EdDSA => "Ed25519 keys",
        }
    }

    /// True for the HMAC algorithms: the same key signs and verifies.
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }

    /// The least length of a secret in bytes (RFC 7518, section 3.2: the length of the hash); 0 for
    /// key pairs.
    pub const fn min_secret(self) -> usize {
        match self {
            Self::HS256 => 32,
            Self::HS384 => 48,
            Self::HS512 => 64,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_is_written_and_ed25519_is_eddsa() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::parse(algorithm.as_str()), Some(*algorithm));
        }
        assert_eq!(Algorithm::parse("Ed25519"), Some(Algorithm::EdDSA));
        for name in ["none", "ed25519", "Ed448", "ESP256", "HS256 ", ""] {
            assert_eq!(Algorithm::parse(name), None, "{name}");
        }
    }
}
