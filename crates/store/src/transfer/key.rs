//! The key of one export file.
//!
//! It is derived from a seal and from a random id that the file shows. The key opens this file
//! alone, so that a running gateway can be given it without learning the seal.

use std::fmt;

use crate::shared::{SEAL_LEN, Seal};
use tollhouse_core::secret::{Secret, random};

/// Number of bytes of the id of a file.
pub(super) const ID_LEN: usize = 16;
const TEXT_LEN: usize = ID_LEN + 2 * SEAL_LEN;

/// The key of one file.
#[derive(Clone)]
pub struct ExportKey {
    pub(super) id: [u8; ID_LEN],
    pub(super) key: Secret<[u8; SEAL_LEN]>,
    /// Tells a wrong seal from a damaged file, and says nothing about the key.
    pub(super) check: [u8; SEAL_LEN],
}

impl ExportKey {
    /// The key of a new file.
    pub fn new(seal: &Seal) -> Self {
        Self::of(seal, random())
    }

    /// The key of the file with this id.
    pub(super) fn of(seal: &Seal, id: [u8; ID_LEN]) -> Self {
        let key = seal.derive(&[b"store export", &id]);
        let check = *seal.derive(&[b"check of a store export", &id]).expose();
        Self { id, key, check }
    }

    /// The key as bytes, to be passed on to a running gateway.
    pub fn to_bytes(&self) -> Secret<Vec<u8>> {
        Secret::new([&self.id[..], self.key.expose(), &self.check].concat())
    }

    /// The key with these bytes; `None` if they are not those of a key.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; TEXT_LEN] = bytes.try_into().ok()?;
        let (id, rest) = bytes.split_first_chunk::<ID_LEN>()?;
        let (key, check) = rest.split_first_chunk::<SEAL_LEN>()?;
        let check = check.try_into().ok()?;
        Some(Self { id: *id, key: Secret::new(*key), check })
    }
}

impl fmt::Debug for ExportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExportKey(***)")
    }
}
