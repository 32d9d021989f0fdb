//! Secret values, and the few cryptographic primitives that the whole crate uses.
//!
//! `Secret` prints as `***`; `Digest` is SHA-256; `random` is the one source of unpredictable
//! bytes; `equal` compares in constant time. All of them use aws-lc-rs. There is no encryption and
//! no signing here: `token` and `listener` do that with the same library.

use std::fmt;

use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A value that is never printed and is overwritten in memory when it is dropped. Its `==` does not
/// run in constant time: values that a client sent must be compared with `equal`.
#[derive(Clone, PartialEq, Eq, Default, Zeroize, ZeroizeOnDrop)]
pub struct Secret<T: Zeroize>(T);

/// A password, a token or a key as text. Converting it from a `&str` makes a copy; the original
/// text is not overwritten and must be short-lived.
pub type SecretString = Secret<String>;

impl<T: Zeroize> Secret<T> {
    /// Wraps `value`. The caller should not keep another copy, because only the wrapped value is
    /// overwritten when it is dropped.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the one call that needs it. It must never reach a log or an error
    /// message. Searching for calls of this function finds every place where a secret leaves its
    /// wrapper.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Written as `***`, so that a structure with a secret in it can be written out.
impl<T: Zeroize> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
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

/// A SHA-256 digest. Its debug output is shortened, because a complete digest of a token identifies
/// it in the store. A digest of a password is never a substitute for a password hash. Comparing two
/// digests with `==` is safe where the digested value is a random token, because an attacker cannot
/// choose the digest's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`. For several values use `of_list`: joining them first would make the
    /// digests of different lists equal.
    pub fn of(bytes: &[u8]) -> Self {
        // This form needs no context on the heap.
        Self::from_aws(&digest::digest(&digest::SHA256, bytes))
    }

    /// The digest of a list. Each part is preceded by its length, so two different lists never have
    /// the same input: bytes cannot move from one part to the next. The first part usually names
    /// the purpose, which separates digests of different kinds.
    pub fn of_list(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self::from_aws(&context.finish())
    }

    /// The digest of a list of texts, as `of_list`.
    pub fn of_texts(texts: &[String]) -> Self {
        Self::of_list(&texts.iter().map(String::as_bytes).collect::<Vec<_>>())
    }

    fn from_aws(digest: &digest::Digest) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// Base64url without padding (RFC 4648, section 5), as in the claim `kh` of a token. This is
    /// also the form in which digests are stored in JSON.
    pub fn base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// All 64 hexadecimal digits, in lower case.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The digest with these 64 hexadecimal digits, in upper or lower case; `None` for any other
    /// text.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
        let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
        bytes.try_into().ok().map(Self)
    }

    /// The first eight hexadecimal digits: enough to tell log lines apart, too few to recognise or
    /// guess the digested value. Two digests may have the same short form, so it is no key.
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

/// `N` bytes from the cryptographic random generator. Keys, salts, ids of tokens and one-time codes
/// come from here and from nowhere else; a caller that needs few bytes often uses `RandomPool`.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Invariant: this never fails, because the library itself ends the process if the system has no
    // random bytes. Going on with zeros would be worse than a panic: keys and ids would be
    // predictable.
    #[allow(clippy::expect_used)]
    rand::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// A stock of random bytes. It draws many bytes at once, because a request for a few bytes costs a
/// hundred times more than the bytes themselves. Invariant: each byte is given out once. Workers
/// have one each, so they do not wait for each other.
#[derive(Debug)]
pub struct RandomPool(Mutex<RandomBuffer>);

struct RandomBuffer {
    bytes: [u8; 1024],
    left: usize,
}

impl fmt::Debug for RandomBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Default for RandomPool {
    fn default() -> Self {
        Self(Mutex::new(RandomBuffer { bytes: [0; 1024], left: 0 }))
    }
}

impl RandomPool {
    /// `N` unpredictable bytes that nobody else gets. It is cheap for a few bytes, which makes it
    /// fit for values needed with each request, such as request ids.
    pub fn draw<const N: usize>(&self) -> [u8; N] {
        // One lock for drawing and counting: if two callers read `left` at the same time, both
        // would get the same bytes.
        let mut stock = self.0.lock();
        if stock.left < N {
            *stock = RandomBuffer { bytes: random(), left: 1024 };
        }
        let rest = stock.left.saturating_sub(N);
        let drawn = stock.bytes.get(rest..).and_then(|bytes| bytes.first_chunk()).copied();
        stock.left = rest;
        // A request for more bytes than the stock can hold is drawn separately.
        drawn.unwrap_or_else(random)
    }
}

/// True if both slices are equal. The time depends on their lengths only, so it does not tell an
/// attacker how many leading bytes are right. Slices of different length are unequal at once.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_random_byte_is_given_out_twice() {
        let randomness = RandomPool::default();
        let drawn: Vec<[u8; 16]> = (0..1000).map(|_| randomness.draw()).collect();

        let distinct: std::collections::HashSet<_> = drawn.iter().collect();

        assert_eq!(distinct.len(), drawn.len());
        assert_ne!(randomness.draw::<2000>(), randomness.draw::<2000>(), "larger than the stock");
    }

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = SecretString::from("hunter2");

        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
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
