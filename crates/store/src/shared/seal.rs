//! The seal: encrypts what the shared database keeps, so that whoever reads or copies the database
//! learns no name, no address and no secret, and whoever writes into it can forge nothing.
//!
//! Each record has a key of its own, derived from the seal and the record's address (HMAC as a
//! key derivation function, NIST SP 800-108). A value that is moved to another place cannot be opened there. Few values are sealed with
//! one key, so random nonces are safe: with one key for everything, AES-GCM (NIST SP 800-38D)
//! allows 2^32 values, which a busy gateway writes in days.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;

use tollhouse_core::secret::{Digest, Secret, random};

/// Number of bytes of a seal.
pub const SEAL_LEN: usize = 32;

/// A value that cannot be opened: it was sealed with another key, or changed since.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it was sealed with another key, or changed since")]
pub struct UnsealError;

/// The key of a shared store. All nodes have the same; the database never sees it.
#[derive(Clone)]
pub struct Seal {
    root: hmac::Key,
    names: hmac::Key,
}

impl Seal {
    /// The seal with these bytes.
    pub fn new(key: &Secret<[u8; SEAL_LEN]>) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
        let names = hmac::Key::new(hmac::HMAC_SHA256, &keyed(&root, &[b"names"]));
        Self { root, names }
    }

    /// Bytes for another purpose, for example session tickets. Different parts give unrelated
    /// bytes, which say nothing about the seal.
    pub fn derive(&self, parts: &[&[u8]]) -> Secret<[u8; SEAL_LEN]> {
        Secret::new(keyed(&self.root, &[&[b"derived".as_slice()], parts].concat()))
    }

    /// The id under which something is found. Without the seal it tells nothing, not even to
    /// somebody who tries all names.
    pub(super) fn name(&self, parts: &[&[u8]]) -> Digest {
        Digest(keyed(&self.names, parts))
    }

    /// Seals a value for the place `at`: a nonce, the encrypted value, and its tag.
    pub(crate) fn seal(&self, at: &[&[u8]], value: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = random();
        let mut sealed = nonce.to_vec();
        let mut body = value.to_vec();
        let sealing = self.key(at).and_then(|key| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            key.seal_in_place_append_tag(nonce, Aad::empty(), &mut body).map_err(|_| UnsealError)
        });
        // Sealing fails only for a value of 64 GiB. An empty value is stored then, which opens
        // nowhere: the record is lost, and nothing is written in clear.
        if sealing.is_ok() {
            sealed.append(&mut body);
        }
        sealed
    }

    /// Opens a value that was sealed for the place `at`.
    pub(crate) fn open(&self, at: &[&[u8]], sealed: &[u8]) -> Result<Vec<u8>, UnsealError> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(UnsealError)?;
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key(at)?.open_in_place(nonce, Aad::empty(), &mut body);
        let length = opened.map_err(|_| UnsealError)?.len();
        body.truncate(length);
        Ok(body)
    }

    fn key(&self, at: &[&[u8]]) -> Result<LessSafeKey, UnsealError> {
        let key = keyed(&self.root, &[&[b"record".as_slice()], at].concat());
        UnboundKey::new(&AES_256_GCM, &key).map(LessSafeKey::new).map_err(|_| UnsealError)
    }
}

/// 32 bytes that only the holder of the key can compute. Each part is preceded by its length, so
/// that different lists never mean the same.
fn keyed(key: &hmac::Key, parts: &[&[u8]]) -> [u8; SEAL_LEN] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut bytes = [0; SEAL_LEN];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(***)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn seal(byte: u8) -> Seal {
        Seal::new(&Secret::new([byte; SEAL_LEN]))
    }

    #[test]
    fn a_value_opens_where_it_was_sealed_and_nowhere_else() {
        let sealed = seal(1).seal(&[b"sessions", b"1"], b"value");

        assert_eq!(seal(1).open(&[b"sessions", b"1"], &sealed).unwrap(), b"value");
        assert!(seal(1).open(&[b"sessions", b"2"], &sealed).is_err());
        assert!(seal(1).open(&[b"session", b"s1"], &sealed).is_err());
        assert!(seal(2).open(&[b"sessions", b"1"], &sealed).is_err());
        assert!(!sealed.windows(5).any(|part| part == b"value"));
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(seal(1).open(&[b"sessions", b"1"], &changed).is_err());
            assert!(seal(1).open(&[b"sessions", b"1"], &sealed[..place]).is_err());
        }
    }

    #[test]
    fn names_and_derived_bytes_depend_on_the_seal_and_every_part() {
        let name = seal(1).name(&[b"a", b"b"]);

        assert_eq!(name, seal(1).name(&[b"a", b"b"]));
        assert_ne!(name, seal(2).name(&[b"a", b"b"]));
        assert_ne!(name, seal(1).name(&[b"ab", b""]));
        assert_ne!(name.0, *seal(1).derive(&[b"a", b"b"]).expose());
    }
}
