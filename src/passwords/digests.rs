//! The digests that PBKDF2 and SHA-crypt iterate. A hash names its digest, and the digest decides
//! the cost of a round.

use aws_lc_rs::pbkdf2::{self, Algorithm};

/// The digest that PBKDF2 iterates in HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HmacDigest {
    Sha1,
    Sha256,
    Sha512,
}

impl HmacDigest {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "sha1" => Some(Self::Sha1),
            "sha256" => Some(Self::Sha256),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    /// Bytes in one block of output. Each block costs all iterations.
    pub(super) fn block(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// The digest that SHA-crypt iterates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShaVariant {
    Sha256,
    Sha512,
}

impl ShaVariant {
    /// Number of characters in the output, and number of values that the last character can have.
    pub(super) fn output(self) -> (usize, usize) {
        match self {
            Self::Sha256 => (43, 16),
            Self::Sha512 => (86, 4),
        }
    }
}
