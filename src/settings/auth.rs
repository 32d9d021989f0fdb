//! `auth` of a route: the kinds of credentials that the route accepts.

use serde::Serialize;

/// A kind of credential that a route accepts. A route with several kinds is satisfied by a
/// credential of any one of them; a route without any is open to everybody. Which of them is used,
/// if a request has several, is decided by `authn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// `Authorization: Bearer` (RFC 6750, section 2.1).
    Bearer,
    /// The pair of `X-Access-Token` and `X-Key`, which Webitel clients send.
    TokenKey,
    /// A token of a login, where the dialect of that login has it (`[call]`).
    Login,
    /// A signature of the request with an `[[api_key]]`, as a `[[signature]]` says.
    Signature,
    /// The key of an `[[api_key]]`, in the field that `[api_keys]` names.
    ApiKey,
    /// `Authorization: Basic` (RFC 7617): a user's name and password on every request.
    Basic,
    /// The certificate that the client presented in the TLS handshake.
    Certificate,
}

impl CredentialKind {
    /// Every kind with its name in the configuration.
    pub(crate) const ALL: [(&str, Self); 7] = [
        ("bearer", Self::Bearer),
        ("token_key", Self::TokenKey),
        ("login", Self::Login),
        ("api_key", Self::ApiKey),
        ("signature", Self::Signature),
        ("basic", Self::Basic),
        ("certificate", Self::Certificate),
    ];

    /// The name of the kind in `auth`.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// True for tokens, which were issued at a login or by an issuer.
    pub fn is_token(self) -> bool {
        matches!(self, Self::Bearer | Self::TokenKey | Self::Login)
    }
}
