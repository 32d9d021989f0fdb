//! Values that must not be shown, and the few primitives that deal with them.
//!
//! `Secret` prints as `***`; `Digest` is SHA-256; `random` is the one source of unpredictable
//! bytes; `equal` compares in constant time. All of it is aws-lc-rs.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A value that is never printed and is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Default, Zeroize, ZeroizeOnDrop)]
pub struct Secret<T: Zeroize>(T);

/// A password, token or key as text.
pub type SecretString = Secret<String>;

impl<T: Zeroize> Secret<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself: for the one call that needs it, never for a log.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl From<&str> for SecretString {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        // In one step, without a context on the heap.
        Self::from_aws(&digest::digest(&digest::SHA256, bytes))
    }

    /// The digest of the parts, each preceded by its length, so that no two lists collide by
    /// moving bytes from one part to the next.
    pub fn of_list(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self::from_aws(&context.finish())
    }

    fn from_aws(digest: &digest::Digest) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// Unpadded base64url, as a token's `kh` carries it.
    pub fn base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// All hex digits, in lower case.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The digest of these 64 hex digits, in either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
        let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
        bytes.try_into().ok().map(Self)
    }

    /// The first eight hex digits: enough to tell log lines apart, too few to matter.
    pub fn short(&self) -> String {
        self.0.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.base64url())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(de::Error::custom)?;
        bytes.try_into().map(Self).map_err(|_| de::Error::custom("a digest has 32 bytes"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// `N` bytes that nobody can guess.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Invariant: the provider ends the process itself when the kernel has no randomness to give,
    // so this never fails; going on with zeroes would be worse than a panic.
    #[allow(clippy::expect_used)]
    rand::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// A stock of random bytes, drawn from the one source many at a time: asked for a few, it costs
/// a hundred times what they do. Each byte is given out once.
#[derive(Debug)]
pub struct Randomness(Mutex<Stock>);

struct Stock {
    bytes: [u8; 1024],
    left: usize,
}

impl fmt::Debug for Stock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Default for Randomness {
    fn default() -> Self {
        Self(Mutex::new(Stock { bytes: [0; 1024], left: 0 }))
    }
}

impl Randomness {
    /// `N` bytes that nobody can guess.
    pub fn draw<const N: usize>(&self) -> [u8; N] {
        let mut stock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stock.left < N {
            *stock = Stock { bytes: random(), left: 1024 };
        }
        let rest = stock.left.saturating_sub(N);
        let drawn = stock.bytes.get(rest..).and_then(|bytes| bytes.first_chunk()).copied();
        stock.left = rest;
        // More than the stock holds is drawn by itself.
        drawn.unwrap_or_else(random)
    }
}

/// True if both are the same, in a time that depends on their length only.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_random_byte_is_given_out_twice() {
        let randomness = Randomness::default();
        let drawn: Vec<[u8; 16]> = (0..1000).map(|_| randomness.draw()).collect();

        let distinct: std::collections::HashSet<_> = drawn.iter().collect();

        assert_eq!(distinct.len(), drawn.len());
        assert_ne!(randomness.draw::<2000>(), randomness.draw::<2000>(), "larger than the stock");
    }

    #[test]
    fn a_secret_prints_as_stars() {
        assert_eq!(format!("{:?}", SecretString::from("hunter2")), "***");
    }

    #[test]
    fn a_digest_reads_as_it_is_written() {
        let digest = Digest::of(b"a");
        let hex = digest.hex();

        assert_eq!(Digest::from_hex(&hex), Some(digest));
        assert_eq!(Digest::from_hex(&hex.to_uppercase()), Some(digest));
        for wrong in ["", &hex[1..], &hex[2..], &format!("{hex}00"), &hex.replace('c', "g")] {
            assert_eq!(Digest::from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lists_do_not_collide_when_a_byte_moves() {
        assert_ne!(Digest::of_list(&[b"ab", b"c"]), Digest::of_list(&[b"a", b"bc"]));
    }
}
