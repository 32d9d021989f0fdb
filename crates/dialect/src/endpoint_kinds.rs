//! The kinds that an endpoint of a dialect is made of: its step, the purpose of a token, the
//! name by which users are looked up, and the second step.
//!
//! `raw` reads them as they are written in a dialect's file, and `definition` keeps them unchanged.

use serde::Deserialize;

/// The work that an endpoint does. `login` implements each step once, for all dialects; the dialect
/// only decides where the values are in the request and how the answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointStep {
    /// Takes a password, or a token to exchange or renew; gives a session.
    Login,
    /// Takes a code; gives the session that the login prepared.
    VerifyCode,
    /// Takes a refresh token; gives a new access token.
    Refresh,
    /// Ends the session of the presented token.
    Logout,
    /// Ends all sessions of the user.
    LogoutAll,
    /// Answers with facts about the session of the presented access token.
    Session,
    /// Answers whether a token of ours is active (RFC 7662). The caller is a program with an API
    /// key.
    Introspect,
    /// Ends the session of a token of ours (RFC 7009). The caller is a program with an API key.
    Revoke,
    /// Gives a fixed answer.
    Answer,
}

/// The purpose of a token at a login endpoint. Its place is often the same in all cases, so the
/// dialect has to say which kind of token the endpoint takes. A token of another kind is refused
/// there, even if it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenUse {
    /// An access token of ours: for logout and questions about the session.
    Access,
    /// An access token of ours, in exchange for a newer one of the same session.
    Renew,
    /// An opaque access token of ours, whose end is moved. The client keeps the same token.
    Extend,
    /// A refresh token of ours.
    Refresh,
    /// A token of another issuer, in exchange for tokens of ours.
    Exchange,
    /// The token that the request is about. It is no credential of the caller, who authenticates
    /// with an API key (RFC 7662, section 2.1).
    About,
}

/// The kind of name by which a login looks a user up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountLookup {
    #[default]
    Username,
    Email,
}

/// The second step that a login demands after the password. A user's own authenticator is demanded
/// by the login's configuration, not here. If both apply, the code of the authenticator is asked
/// for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondStep {
    #[default]
    None,
    /// A code sent by mail.
    Mail,
}

impl EndpointStep {
    /// The step's name in a dialect's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::VerifyCode => "verify_code",
            Self::Refresh => "refresh",
            Self::Logout => "logout",
            Self::LogoutAll => "logout_all",
            Self::Session => "session",
            Self::Introspect => "introspect",
            Self::Revoke => "revoke",
            Self::Answer => "answer",
        }
    }

    /// The forms of credential that go with the step, for a message to the operator.
    pub(super) fn credentials(self) -> &'static str {
        match self {
            Self::Login => {
                "`username` with `password` in json, form, multipart, xml, fields, query or path, \
                 basic, bearer = \"renew\", \"extend\" or \"exchange\", token with such a use"
            }
            Self::VerifyCode => "`username` with `code` in json, form, multipart, xml or fields",
            Self::Refresh => "json_refresh, bearer = \"refresh\", token with use = \"refresh\"",
            Self::Logout | Self::LogoutAll | Self::Session => {
                "bearer = \"access\", token_key, token with use = \"access\""
            }
            Self::Introspect | Self::Revoke => "form = NAME, token with use = \"about\"",
            Self::Answer => "",
        }
    }

    /// True if the step takes an access token of ours.
    pub(super) fn takes_access_token(self) -> bool {
        matches!(self, Self::Logout | Self::LogoutAll | Self::Session)
    }

    /// True if the step begins, renews or ends a session.
    pub fn changes_session(self) -> bool {
        !matches!(self, Self::Answer | Self::Session | Self::Introspect)
    }

    /// True if the step is about a token that the request names.
    pub(super) fn asks_about_tokens(self) -> bool {
        matches!(self, Self::Introspect | Self::Revoke)
    }

    /// True if the calling program can be demanded beside the user.
    pub(super) fn takes_programs(self) -> bool {
        matches!(self, Self::Login | Self::VerifyCode | Self::Refresh | Self::Logout)
    }

    /// Only these steps look a user up by name, so only they have a use for the key `account`.
    pub(super) fn asks_for_name(self) -> bool {
        matches!(self, Self::Login | Self::VerifyCode)
    }
}

impl TokenUse {
    /// All names, for messages.
    pub(super) const NAMES: &str = "access, renew, extend, refresh, exchange, about";

    /// The purpose's name in a dialect's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Renew => "renew",
            Self::Extend => "extend",
            Self::Refresh => "refresh",
            Self::Exchange => "exchange",
            Self::About => "about",
        }
    }
}
