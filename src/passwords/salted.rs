//! The salted digests of LDAP directories: `{SSHA}`, `{SSHA256}` and `{SSHA512}`.
//!
//! One pass of a digest is fast to compute, so guessing is fast as well. These hashes are weak:
//! they are accepted only where `allow_weak` names them.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::fields::{self, MAX_SALT};
use super::{BadHash, HashCost, HashFormat, ParsedHash};
use crate::secret;
use crate::settings::WeakScheme;

/// Shortest salt in bytes: `slappasswd` of OpenLDAP made salts of four bytes for a long time.
const MIN_SALT: usize = 4;

#[derive(Clone, PartialEq, Eq)]
pub(super) struct SaltedHash {
    scheme: WeakScheme,
    output: Vec<u8>,
    salt: Vec<u8>,
}

fn algorithm(scheme: WeakScheme) -> &'static digest::Algorithm {
    match scheme {
        WeakScheme::Ssha => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        WeakScheme::Ssha512 => &digest::SHA512,
        WeakScheme::Ssha256 | WeakScheme::WebitelMd5 => &digest::SHA256,
    }
}

pub(super) fn read(text: &str, scheme: WeakScheme) -> ParsedHash {
    let malformed = BadHash::Malformed { scheme: scheme.as_str() };
    let mut output = fields::base64(text).ok_or(malformed)?;
    let length = algorithm(scheme).output_len();
    if !(length + MIN_SALT..=length + MAX_SALT).contains(&output.len()) {
        return Err(malformed);
    }
    let salt = output.split_off(length);
    Ok((HashFormat::Salted(SaltedHash { scheme, output, salt }), HashCost::Digest { scheme }))
}

impl SaltedHash {
    pub(super) fn scheme(&self) -> WeakScheme {
        self.scheme
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let mut context = digest::Context::new(algorithm(self.scheme));
        context.update(password);
        context.update(&self.salt);
        // Compared in constant time, like all outputs here: the time must not tell how many bytes
        // are right.
        secret::equal(context.finish().as_ref(), &self.output)
    }
}

pub(super) fn dummy(scheme: WeakScheme) -> (String, HashFormat) {
    let mut output = secret::random::<64>().to_vec();
    let salt = secret::random::<8>().to_vec();
    output.truncate(algorithm(scheme).output_len());
    let name = scheme.as_str().to_ascii_uppercase();
    let text = format!("{{{name}}}{}", STANDARD.encode([output.as_slice(), &salt].concat()));
    (text, HashFormat::Salted(SaltedHash { scheme, output, salt }))
}
