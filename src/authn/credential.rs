//! Extracts the one token of a request, without verifying it.
//!
//! It reads `Authorization: Bearer` (RFC 6750 §2.1), the pair `X-Access-Token` with `X-Key`, and
//! the pair in the query on routes that allow it. Kinds that the route does not accept are ignored.
//! A request that can be read in two ways is refused as ambiguous, because gateway and upstream
//! could each use another token. `presented` and the login endpoints call it.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};

use super::jws::{MAX_TOKEN, RefusalCause};
use crate::dialect::Reason;
use crate::secret::SecretString;

/// The header field of a pair's token.
pub const X_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");

/// The header field of a pair's key.
pub const X_KEY: HeaderName = HeaderName::from_static("x-key");

/// Longest key of a pair in bytes. Keys of the gateway are UUIDs.
const MAX_KEY: usize = 256;

/// The kinds of credentials that a route or endpoint accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptedKinds {
    /// `Authorization: Bearer`.
    pub bearer: bool,
    /// `X-Access-Token` with `X-Key`.
    pub token_key: bool,
    /// `access_token` with `x_key` in the query, read as a pair.
    pub query: bool,
    /// An API key in its configured field.
    pub api_key: bool,
    /// `Authorization: Basic`.
    pub basic: bool,
    /// The client certificate of the connection.
    pub certificate: bool,
}

impl AcceptedKinds {
    /// Accepts no credential of any kind.
    pub const NOTHING: Self = Self {
        bearer: false,
        token_key: false,
        query: false,
        api_key: false,
        basic: false,
        certificate: false,
    };
}

/// A token that was presented and is not verified yet.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenCredential {
    /// A token that is presented without a key.
    Bearer(SecretString),
    /// A token that is valid only together with its key.
    Pair { token: SecretString, key: SecretString },
}

/// The reasons for which no credential can be extracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A field or parameter occurs twice.
    #[error("`{0}` is given more than once")]
    Repeated(&'static str),

    /// Credentials of two kinds, or in a header and in the query.
    #[error("more than one credential is presented")]
    Several,

    /// A token without its key, or a key without its token.
    #[error("a token without its key, or a key without its token")]
    Half,

    /// A Basic credential that is not a readable name and password.
    #[error("a name and a password that cannot be read")]
    Unreadable,

    /// The value does not have the form of a credential.
    #[error("{0}")]
    Malformed(RefusalCause),
}

impl CredentialError {
    /// The reason for the client. Ambiguity is a bad request (400); everything else is an invalid
    /// credential (401). An unreadable Basic credential is answered like a wrong password.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Repeated(_) | Self::Several => Reason::AmbiguousCredential,
            Self::Half | Self::Malformed(_) => Reason::TokenInvalid,
            Self::Unreadable => Reason::InvalidCredentials,
        }
    }
}

impl TokenCredential {
    /// Extracts the token; `None` if the request has none of an accepted kind.
    ///
    /// # Errors
    /// A repeated field or parameter, credentials of two accepted kinds, half a pair, and a value
    /// with other characters or of excessive length.
    pub fn extract(
        headers: &HeaderMap,
        query: Option<&str>,
        accept: AcceptedKinds,
    ) -> Result<Option<Self>, CredentialError> {
        if !accept.bearer && !accept.token_key && !accept.query {
            return Ok(None);
        }
        // A repeated `Authorization` is refused even if `bearer` is not accepted here: the caller
        // may accept `Basic` in the same field, and the upstream could read the other line.
        let authorization = single(headers, &AUTHORIZATION, "Authorization")?;
        let bearer = authorization.filter(|_| accept.bearer).and_then(bearer);
        let header = if accept.token_key { PartialPair::of(headers)? } else { None };
        let query = match query.filter(|_| accept.query) {
            Some(query) => query_pair(query)?,
            None => None,
        };
        match (bearer, header, query) {
            (None, None, None) => Ok(None),
            (Some(token), None, None) => Ok(Some(Self::Bearer(token68(token)?))),
            (None, Some(half), None) => half.pair().map(Some),
            (None, None, Some((token, key))) => {
                PartialPair { token: token.as_deref(), key: key.as_deref() }.pair().map(Some)
            }
            _ => Err(CredentialError::Several),
        }
    }

    /// All tokens of a request, however malformed or repeated. Those in the query are included only
    /// if `accept` allows the query. A route without authentication calls this to find tokens that
    /// belong to the gateway and must not reach its upstream.
    pub fn tokens(
        headers: &HeaderMap,
        query: Option<&str>,
        accept: AcceptedKinds,
    ) -> Vec<SecretString> {
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

    /// A token that is presented in a carrier of a login or a legacy system. Such tokens are of
    /// any form.
    ///
    /// # Errors
    /// A value that is not visible ASCII of bounded length.
    pub(super) fn carried(token: &[u8]) -> Result<Self, CredentialError> {
        Ok(Self::Bearer(visible(token, MAX_TOKEN)?))
    }

    /// The token of either kind.
    pub fn token(&self) -> &SecretString {
        match self {
            Self::Bearer(token) | Self::Pair { token, .. } => token,
        }
    }

    /// The key of a pair; `None` for a bearer token.
    pub fn key(&self) -> Option<&SecretString> {
        match self {
            Self::Bearer(_) => None,
            Self::Pair { key, .. } => Some(key),
        }
    }
}

/// A pair of which either part may be missing.
pub(super) struct PartialPair<'r> {
    pub(super) token: Option<&'r [u8]>,
    pub(super) key: Option<&'r [u8]>,
}

impl<'r> PartialPair<'r> {
    /// The parts that are in the header fields; `None` if both are missing.
    fn of(headers: &'r HeaderMap) -> Result<Option<Self>, CredentialError> {
        let token = single(headers, &X_ACCESS_TOKEN, "X-Access-Token")?;
        let key = single(headers, &X_KEY, "X-Key")?;
        Ok((token.is_some() || key.is_some()).then_some(Self { token, key }))
    }

    /// The complete pair. Half a pair is refused instead of ignored: the client meant to
    /// authenticate.
    pub(super) fn pair(self) -> Result<TokenCredential, CredentialError> {
        let (Some(token), Some(key)) = (self.token, self.key) else {
            return Err(CredentialError::Half);
        };
        Ok(TokenCredential::Pair { token: token68(token)?, key: visible(key, MAX_KEY)? })
    }

    /// The complete pair in a carrier of a login or a legacy system.
    pub(super) fn carried(self) -> Result<TokenCredential, CredentialError> {
        let (Some(token), Some(key)) = (self.token, self.key) else {
            return Err(CredentialError::Half);
        };
        let (token, key) = (visible(token, MAX_TOKEN)?, visible(key, MAX_KEY)?);
        Ok(TokenCredential::Pair { token, key })
    }
}

/// The value of a field; `None` if the field is absent, an error if it occurs more than once.
pub(super) fn single<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    shown: &'static str,
) -> Result<Option<&'h [u8]>, CredentialError> {
    let repeated = || headers.get_all(name).iter().nth(1).is_some();
    // `keys_len` counts distinct names and `len` counts lines. If both are equal, then no field is
    // repeated, and the usual request needs no search.
    if headers.len() != headers.keys_len() && repeated() {
        return Err(CredentialError::Repeated(shown));
    }
    Ok(headers.get(name).map(|value| value.as_bytes()))
}

/// The text after `Bearer` and one space. `None` for another scheme, which other code may handle.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    scheme.eq_ignore_ascii_case(b"bearer").then(|| rest.get(1..).unwrap_or_default())
}

/// True if all bytes are characters of token68 (RFC 9110 §11.2). The loop has no early exit and no
/// table, so that the compiler can use vector instructions: it runs over every byte of every token.
fn is_token68(value: &[u8]) -> bool {
    value.iter().fold(true, |all, byte| {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        // In ASCII the marks `-`, `.` and `/` stand directly before the digits.
        let digit_or_mark = byte.wrapping_sub(b'-') <= b'9' - b'-';
        let mark = (*byte == b'_') | (*byte == b'~') | (*byte == b'+') | (*byte == b'=');
        all & (letter | digit_or_mark | mark)
    })
}

/// Checks length and characters of a token.
///
/// # Errors
/// An empty value, one above `MAX_TOKEN`, and characters that no token has.
fn token68(value: &[u8]) -> Result<SecretString, CredentialError> {
    if value.len() > MAX_TOKEN {
        return Err(CredentialError::Malformed("the token is too long"));
    }
    if value.is_empty() || !is_token68(value) {
        return Err(CredentialError::Malformed("the token is empty or has other characters"));
    }
    Ok(ascii(value).into())
}

/// Checks that a value is visible ASCII of bounded length.
fn visible(value: &[u8], longest: usize) -> Result<SecretString, CredentialError> {
    if value.is_empty() || value.len() > longest || !value.iter().all(u8::is_ascii_graphic) {
        return Err(CredentialError::Malformed("the value is no visible ASCII of bounded length"));
    }
    Ok(ascii(value).into())
}

/// The text of bytes that were checked to be ASCII.
fn ascii(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or_default()
}

type QueryPair = (Option<Vec<u8>>, Option<Vec<u8>>);

/// The parts of a pair in the query; `None` if both are missing. A repeated parameter is refused.
fn query_pair(query: &str) -> Result<Option<QueryPair>, CredentialError> {
    let mut token = None;
    let mut key = None;
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
