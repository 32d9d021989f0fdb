//! The sealed parts of an export file.
//!
//! Each part is sealed with AES-256-GCM (NIST SP 800-38D) under a nonce made of its number and of
//! whether it is the last one, and bound to the head of the file. A part that was changed, moved,
//! repeated or taken from another file cannot be opened, and a file that was cut has no last part.
//! The key is of one file only, so that no nonce is used twice with it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::key::ExportKey;

/// A part that cannot be sealed or opened.
pub(super) struct ChunkError;

/// Seals or opens the parts of one file, in their order.
pub(super) struct ChunkCipher {
    key: LessSafeKey,
    head: Vec<u8>,
    number: u64,
}

impl ChunkCipher {
    /// The cipher of the file that begins with `head`.
    pub(super) fn new(key: &ExportKey, head: Vec<u8>) -> Result<Self, ChunkError> {
        let key = UnboundKey::new(&AES_256_GCM, key.key.expose()).map_err(|_| ChunkError)?;
        Ok(Self { key: LessSafeKey::new(key), head, number: 0 })
    }

    /// The number of the next part, from 1.
    pub(super) fn next_number(&self) -> u64 {
        self.number.saturating_add(1)
    }

    pub(super) fn seal(&mut self, mut part: Vec<u8>, is_last: bool) -> Result<Vec<u8>, ChunkError> {
        let nonce = self.nonce(is_last);
        let head = Aad::from(self.head.as_slice());
        self.key.seal_in_place_append_tag(nonce, head, &mut part).map_err(|_| ChunkError)?;
        Ok(part)
    }

    pub(super) fn open(&mut self, mut part: Vec<u8>, is_last: bool) -> Result<Vec<u8>, ChunkError> {
        let nonce = self.nonce(is_last);
        let head = Aad::from(self.head.as_slice());
        let opened = self.key.open_in_place(nonce, head, &mut part).map_err(|_| ChunkError)?;
        let length = opened.len();
        part.truncate(length);
        Ok(part)
    }

    fn nonce(&mut self, is_last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        if let Some((first, number)) = nonce.split_first_mut() {
            *first = u8::from(is_last);
            if let Some(number) = number.last_chunk_mut() {
                *number = self.number.to_be_bytes();
            }
        }
        self.number = self.number.saturating_add(1);
        Nonce::assume_unique_for_key(nonce)
    }
}

impl std::fmt::Debug for ChunkCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkCipher").field("number", &self.number).finish_non_exhaustive()
    }
}
