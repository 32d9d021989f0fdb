//! Webitel's password hash: MD5 of `user:domain:password`, the HA1 of SIP (RFC 2617, section
//! 3.2.2.2).
//!
//! The digest alone does not say which user it belongs to, and both names are needed to verify a
//! password. It is therefore stored as `{webitel-md5:user@domain}0123…cdef`; a query can put that
//! text together. The scheme is weak: it is accepted only where `allow_weak` names it.

use md5::{Digest, Md5};

use super::{BadHash, HashCost, HashFormat, ParsedHash, fields};
use crate::secret;
use crate::settings::WeakScheme;

const MAX_ACCOUNT: usize = 254;

#[derive(Clone, PartialEq, Eq)]
pub(super) struct WebitelHash {
    user: String,
    domain: String,
    output: Vec<u8>,
}

pub(super) fn read(account: &str, output: &str) -> ParsedHash {
    let malformed = BadHash::Malformed { scheme: WeakScheme::WebitelMd5.as_str() };
    let (user, domain) = account.rsplit_once('@').ok_or(malformed)?;
    let named = !user.is_empty() && !domain.is_empty() && account.len() <= MAX_ACCOUNT;
    // A colon in a name would make the input of the digest ambiguous: `a:b` in domain `c` and `a`
    // in domain `b:c` would be the same account.
    if !named || account.contains(':') {
        return Err(malformed);
    }
    let output = fields::hex(output).filter(|output| output.len() == 16).ok_or(malformed)?;
    let stored = WebitelHash { user: user.to_owned(), domain: domain.to_owned(), output };
    Ok((HashFormat::Webitel(stored), HashCost::Digest { scheme: WeakScheme::WebitelMd5 }))
}

impl WebitelHash {
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let mut md5 = Md5::new();
        for part in [self.user.as_bytes(), b":", self.domain.as_bytes(), b":", password] {
            md5.update(part);
        }
        // Compared in constant time, so that the time does not tell how many bytes of the digest
        // are right.
        secret::equal(&md5.finalize(), &self.output)
    }
}

pub(super) fn dummy() -> (String, HashFormat) {
    let output = secret::random::<16>().to_vec();
    let hex: String = output.iter().map(|byte| format!("{byte:02x}")).collect();
    let user = "nobody".to_owned();
    let domain = "nowhere".to_owned();
    let text = format!("{{webitel-md5:{user}@{domain}}}{hex}");
    (text, HashFormat::Webitel(WebitelHash { user, domain, output }))
}
