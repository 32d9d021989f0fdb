//! The one token of a request.
//!
//! Reads `Authorization: Bearer` (RFC 6750 §2.1), the pair `X-Access-Token` with `X-Key`, and the
//! pair in the query where a route takes it. Kinds that are not accepted are not counted. What
//! could be read in two ways is refused as ambiguous; nothing here says whether a token is good.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};

use super::jws::{Cause, MAX_TOKEN};
use crate::dialect::Reason;
use crate::secret::SecretString;

/// The token of the pair.
pub const X_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");

/// The key of the pair.
pub const X_KEY: HeaderName = HeaderName::from_static("x-key");

/// Longest key of a pair; ours are UUIDs.
const MAX_KEY: usize = 256;

/// Kinds of credentials that a route or endpoint takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    /// `Authorization: Bearer`.
    pub bearer: bool,
    /// `X-Access-Token` with `X-Key`.
    pub token_key: bool,
    /// `access_token` with `x_key` in the query, as the pair.
    pub query: bool,
    /// An API key.
    pub api_key: bool,
    /// `Authorization: Basic`.
    pub basic: bool,
    /// The client's certificate.
    pub certificate: bool,
}

impl Accept {
    /// No kind at all.
    pub const NOTHING: Self = Self {
        bearer: false,
        token_key: false,
        query: false,
        api_key: false,
        basic: false,
        certificate: false,
    };
}

/// A token that was presented, unproved.
#[derive(Clone, Debug, PartialEq)]
pub enum Credential {
    /// A token that stands alone.
    Bearer(SecretString),
    /// A token that its key must accompany.
    Pair { token: SecretString, key: SecretString },
}

/// Why no credential can be taken from a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// One field or parameter is there twice.
    #[error("`{0}` is given more than once")]
    Repeated(&'static str),

    /// Two kinds, or header and query, at once.
    #[error("more than one credential is presented")]
    Several,

    /// The token without its key, or the key without its token.
    #[error("half a pair is presented")]
    Half,

    /// Not a name and a password in Basic's form.
    #[error("a name and a password that cannot be read")]
    Unreadable,

    /// Not the form of a credential.
    #[error("{0}")]
    Malformed(Cause),
}

impl CredentialError {
    /// The reason for the client: ambiguity is a bad request, the rest is no good credential.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Repeated(_) | Self::Several => Reason::AmbiguousCredential,
            Self::Half | Self::Malformed(_) => Reason::TokenInvalid,
            Self::Unreadable => Reason::InvalidCredentials,
        }
    }
}

impl Credential {
    /// The credential of a request; `None` where none of an accepted kind is presented.
    pub fn extract(
        headers: &HeaderMap,
        query: Option<&str>,
        accept: Accept,
    ) -> Result<Option<Self>, CredentialError> {
        if !accept.bearer && !accept.token_key && !accept.query {
            return Ok(None);
        }
        let authorization = single(headers, &AUTHORIZATION, "Authorization")?;
        let bearer = authorization.filter(|_| accept.bearer).and_then(bearer);
        let header = if accept.token_key { Half::of(headers)? } else { None };
        let query = match query.filter(|_| accept.query) {
            Some(query) => query_pair(query)?,
            None => None,
        };
        match (bearer, header, query) {
            (None, None, None) => Ok(None),
            (Some(token), None, None) => Ok(Some(Self::Bearer(token68(token)?))),
            (None, Some(half), None) => half.pair().map(Some),
            (None, None, Some((token, key))) => {
                Half { token: token.as_deref(), key: key.as_deref() }.pair().map(Some)
            }
            _ => Err(CredentialError::Several),
        }
    }

    /// Every token, in the query only where it is accepted there, whatever is wrong with it or beside it: to
    /// find out whose it is before it is passed on unproved.
    pub fn tokens(headers: &HeaderMap, query: Option<&str>, accept: Accept) -> Vec<SecretString> {
        let text = |value: &[u8]| std::str::from_utf8(value).ok().map(SecretString::from);
        let authorization = headers.get_all(AUTHORIZATION).iter();
        let bearers = authorization.filter_map(|value| bearer(value.as_bytes())).filter_map(text);
        let token = headers.get_all(X_ACCESS_TOKEN).iter();
        let pairs = token.filter_map(|value| text(value.as_bytes()));
        let query = query.filter(|_| accept.query).unwrap_or_default();
        let in_query = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| name == "access_token")
            .map(|(_, value)| SecretString::new(value.into_owned()));
        bearers.chain(pairs).chain(in_query).collect()
    }

    /// The token.
    pub fn token(&self) -> &SecretString {
        match self {
            Self::Bearer(token) | Self::Pair { token, .. } => token,
        }
    }

    /// The key, if it is a pair.
    pub fn key(&self) -> Option<&SecretString> {
        match self {
            Self::Bearer(_) => None,
            Self::Pair { key, .. } => Some(key),
        }
    }
}

/// A pair, or what there is of it.
struct Half<'r> {
    token: Option<&'r [u8]>,
    key: Option<&'r [u8]>,
}

impl<'r> Half<'r> {
    /// What the fields have of one, if anything.
    fn of(headers: &'r HeaderMap) -> Result<Option<Self>, CredentialError> {
        let token = single(headers, &X_ACCESS_TOKEN, "X-Access-Token")?;
        let key = single(headers, &X_KEY, "X-Key")?;
        Ok((token.is_some() || key.is_some()).then_some(Self { token, key }))
    }

    fn pair(self) -> Result<Credential, CredentialError> {
        let (Some(token), Some(key)) = (self.token, self.key) else {
            return Err(CredentialError::Half);
        };
        if key.is_empty() || key.len() > MAX_KEY || !key.iter().all(u8::is_ascii_graphic) {
            return Err(CredentialError::Malformed(
                "the key is no visible ASCII of bounded length",
            ));
        }
        Ok(Credential::Pair { token: token68(token)?, key: ascii(key).into() })
    }
}

pub(super) fn single<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    shown: &'static str,
) -> Result<Option<&'h [u8]>, CredentialError> {
    let repeated = || headers.get_all(name).iter().nth(1).is_some();
    // As many lines as names: nothing is repeated, whatever the name.
    if headers.len() != headers.keys_len() && repeated() {
        return Err(CredentialError::Repeated(shown));
    }
    Ok(headers.get(name).map(|value| value.as_bytes()))
}

/// What follows `Bearer` and one space; `None` for another scheme, which is not ours to judge.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    scheme.eq_ignore_ascii_case(b"bearer").then(|| rest.get(1..).unwrap_or_default())
}

/// Whether all are characters of RFC 9110 §11.2. Without an early end, and without a table, the
/// compiler looks at many bytes at once; every byte of every token is looked at.
fn is_token68(value: &[u8]) -> bool {
    value.iter().fold(true, |all, byte| {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        // `-`, `.` and `/` stand before the digits.
        let digit_or_mark = byte.wrapping_sub(b'-') <= b'9' - b'-';
        let mark = (*byte == b'_') | (*byte == b'~') | (*byte == b'+') | (*byte == b'=');
        all & (letter | digit_or_mark | mark)
    })
}

/// As many of these characters as a token may have.
fn token68(value: &[u8]) -> Result<SecretString, CredentialError> {
    if value.len() > MAX_TOKEN {
        return Err(CredentialError::Malformed("the token is too long"));
    }
    if value.is_empty() || !is_token68(value) {
        return Err(CredentialError::Malformed("the token is empty or has other characters"));
    }
    Ok(ascii(value).into())
}

/// Text of bytes that were found to be ASCII.
fn ascii(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or_default()
}

type QueryPair = (Option<Vec<u8>>, Option<Vec<u8>>);

fn query_pair(query: &str) -> Result<Option<QueryPair>, CredentialError> {
    let (mut token, mut key) = (None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let (place, shown) = match name.as_ref() {
            "access_token" => (&mut token, "access_token"),
            "x_key" => (&mut key, "x_key"),
            _ => continue,
        };
        if place.replace(value.into_owned().into_bytes()).is_some() {
            return Err(CredentialError::Repeated(shown));
        }
    }
    Ok((token.is_some() || key.is_some()).then_some((token, key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_characters_of_the_grammar_and_no_others() {
        for byte in 0..=u8::MAX {
            let allowed = byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
            assert_eq!(is_token68(&[byte]), allowed, "{byte:#04x}");
            let amid = [[b'a'; 40].as_slice(), &[byte], &[b'9'; 40]].concat();
            assert_eq!(is_token68(&amid), allowed, "{byte:#04x} amid others");
        }
    }
}
