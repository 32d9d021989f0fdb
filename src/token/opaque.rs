//! Opaque access tokens: how they are made, and the claims that one stands for.
//!
//! An opaque token is random. The session store knows its session by the token's digest, and `authn`
//! makes of the session the claims that a signed token of it would have. Routes, headers and upstreams
//! therefore see no difference between both forms.

use std::iter::repeat_with;

use super::issue::{AccessGrant, access_claims};
use super::session_facts::{rendered_claims, session_facts};
use crate::dialect::{OpaqueFormat, TokenShape, TokenValues};
use crate::identity::Claims;
use crate::secret::{Digest, SecretString, random};
use crate::session::{OpaqueToken, Session};
use crate::settings::LoginSettings;

const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// A new token of this form.
pub fn new_opaque_token(format: &OpaqueFormat) -> SecretString {
    let random = match format.shape {
        TokenShape::Uuid => uuid::Builder::from_random_bytes(random()).into_uuid().to_string(),
        TokenShape::Hex(count) => digits(16, count),
        TokenShape::Base62(count) => digits(62, count),
    };
    SecretString::new([format.prefix.as_str(), &random].concat())
}

/// So many random digits of this base, all of them equally likely.
fn digits(base: u8, count: usize) -> String {
    // A byte beyond the last whole multiple of the base is dropped: with it, the first digits would
    // be more likely than the others.
    let usable = u8::MAX - u8::MAX % base;
    let bytes = repeat_with(random::<32>).flatten().filter(|byte| *byte < usable);
    let digits = bytes.filter_map(|byte| DIGITS.get(usize::from(byte % base)).copied());
    digits.take(count).map(char::from).collect()
}

/// The `jti` of an opaque token. It is derived from the digest and not the digest itself, which is
/// what the session store is asked by.
pub fn opaque_token_id(digest: &Digest) -> String {
    Digest::of_list(&[b"id of opaque token", &digest.0]).base64url()
}

/// The claims that a signed access token would have in the place of `token`.
pub fn opaque_claims(session: &Session, login: &LoginSettings, token: &OpaqueToken) -> Claims {
    let id = opaque_token_id(&token.digest);
    let mut facts = session_facts(session, login, token.issued);
    facts.access = Some(TokenValues {
        token: SecretString::default(),
        id: id.clone(),
        issued: token.issued,
        expires: token.expires,
    });
    access_claims(&AccessGrant {
        session,
        login,
        claims: rendered_claims(&login.dialect.access_claims, session, &login.dialect, &facts),
        jti: &id,
        issued: token.issued,
        expires: token.expires,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_new_token_has_its_form_and_no_two_are_alike() {
        for shape in [TokenShape::Uuid, TokenShape::Hex(31), TokenShape::Base62(128)] {
            let format = OpaqueFormat { prefix: "AUTH_tk".to_owned(), shape };
            let made: Vec<SecretString> = (0..100).map(|_| new_opaque_token(&format)).collect();

            assert!(made.iter().all(|token| format.fits(token.expose())), "{shape:?}");
            let mut texts: Vec<&String> = made.iter().map(|token| token.expose()).collect();
            texts.sort_unstable();
            texts.dedup();
            assert_eq!(texts.len(), 100, "{shape:?}");
        }
    }

    #[test]
    fn no_digit_is_more_likely_than_another() {
        for base in [16_u8, 62] {
            let mut counts = BTreeMap::new();
            let each = 2_000;
            for digit in digits(base, each * usize::from(base)).bytes() {
                *counts.entry(digit).or_insert(0_usize) += 1;
            }
            assert_eq!(counts.len(), usize::from(base), "every digit comes");
            // Eight standard deviations: without the drop of the last bytes, the first eight of 62
            // digits would come a quarter more often than the others.
            let range = each - 360..each + 360;
            assert!(counts.values().all(|count| range.contains(count)), "{base}: {counts:?}");
        }
    }
}
