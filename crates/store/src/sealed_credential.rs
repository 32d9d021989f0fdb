//! What another system gave a user at a login, sealed for the one session that it belongs to.
//!
//! The store keeps it as it is and cannot open it: the seal is not in the store. Whoever copies a
//! credential to another session, or reads the store, has nothing.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::shared::{Seal, UnsealError};
use tollhouse_core::identity::SessionId;
use tollhouse_core::secret::{Digest, Secret};

/// Longest credential that is kept, in bytes before it is sealed. Tokens that fill a header field
/// several times over fit.
pub const LONGEST_CREDENTIAL: usize = 24 * 1024;

/// A sealed credential. It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedCredential(Vec<u8>);

/// The place that a credential is sealed for; it opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub enum CredentialPlace {
    Session(SessionId),
    /// A login that waits for a code, by the key of that code.
    Code(Digest),
}

impl CredentialPlace {
    fn sealed<T>(self, run: impl FnOnce(&[&[u8]]) -> T) -> T {
        match self {
            Self::Session(id) => run(&[b"credential of a session", id.0.as_bytes()]),
            Self::Code(key) => run(&[b"credential of a code", &key.0]),
        }
    }
}

impl SealedCredential {
    /// Seals a credential for one place; `None` if it is too long to be kept.
    pub fn seal(seal: &Seal, place: CredentialPlace, credential: &[u8]) -> Option<Self> {
        let fits = credential.len() <= LONGEST_CREDENTIAL;
        fits.then(|| Self(place.sealed(|at| seal.seal(at, credential))))
    }

    /// The credential, if it was sealed for this place.
    ///
    /// # Errors
    /// It was sealed for another place or with another key, or changed since.
    pub fn open(
        &self,
        seal: &Seal,
        place: CredentialPlace,
    ) -> Result<Secret<Vec<u8>>, UnsealError> {
        place.sealed(|at| seal.open(at, &self.0)).map(Secret::new)
    }
}

impl fmt::Debug for SealedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedCredential(***)")
    }
}

impl Serialize for SealedCredential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for SealedCredential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tollhouse_core::clock::Timestamp;

    use super::*;

    #[test]
    fn a_credential_opens_for_its_own_session_alone() {
        let seal = Seal::new(&Secret::new([1; 32]));
        let [one, other] = [1, 2].map(|time| SessionId::new(Timestamp::from_secs(time)));
        let place = CredentialPlace::Session(one);
        let sealed = SealedCredential::seal(&seal, place, b"token").unwrap();

        let stored = serde_json::to_string(&sealed).unwrap();
        let read: SealedCredential = serde_json::from_str(&stored).unwrap();

        assert_eq!(read.open(&seal, place).unwrap().expose(), b"token");
        assert!(read.open(&seal, CredentialPlace::Session(other)).is_err());
        let code = CredentialPlace::Code(Digest::of(one.0.as_bytes()));
        assert!(read.open(&seal, code).is_err());
        let other_seal = Seal::new(&Secret::new([2; 32]));
        assert!(read.open(&other_seal, place).is_err());
        assert!(!stored.contains("token") && !format!("{read:?}").contains(&stored));
        let long = vec![b'a'; LONGEST_CREDENTIAL + 1];
        assert_eq!(SealedCredential::seal(&seal, place, &long), None);
    }
}
