//! The credentials that an endpoint takes, checked.

use crate::body::BodyFormat;
use crate::carrier::{Carrier, PairCarrier};
use crate::endpoint_kinds::{EndpointStep, TokenUse};

/// The place of a credential in a request. `server` reads it there, and `client` writes it there
/// when it asks another system.
#[derive(Clone, Debug, PartialEq)]
pub enum CredentialForm {
    /// The code of a second step may stand beside the password.
    Password {
        name: NameSource,
        password: Carrier,
        code: Option<Carrier>,
    },
    /// `Authorization: Basic` (RFC 7617).
    BasicPassword,
    /// The `ticket`, where the dialect has one, proves that the client is the one that passed the
    /// first step.
    Code {
        name: NameSource,
        code: Carrier,
        ticket: Option<Carrier>,
    },
    Token {
        at: Carrier,
        purpose: TokenUse,
    },
    /// An access token, and the key of its session or a fact about it.
    Pair(PairCarrier),
}

/// Where a user's name comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct NameSource {
    pub from: NameOrigin,
    /// The text before the name and the text behind it, for example `@` and `:example.org`. A name
    /// without both stays as it is.
    pub frame: Option<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum NameOrigin {
    Carrier(Carrier),
    /// The request has no name: it is always this one.
    Fixed(String),
}

impl NameSource {
    /// The name without its frame.
    pub(crate) fn strip<'t>(&self, name: &'t str) -> &'t str {
        let Some((before, behind)) = &self.frame else { return name };
        let inner =
            name.strip_prefix(before.as_str()).and_then(|rest| rest.strip_suffix(behind.as_str()));
        inner.filter(|inner| !inner.is_empty()).unwrap_or(name)
    }

    /// The name with its frame, as a client sends it.
    pub(crate) fn framed(&self, name: &str) -> String {
        match &self.frame {
            Some((before, behind)) => format!("{before}{name}{behind}"),
            None => name.to_owned(),
        }
    }

    /// True if the name is always the same one.
    pub(crate) fn is_fixed(&self) -> bool {
        matches!(self.from, NameOrigin::Fixed(_))
    }

    fn carrier(&self) -> Option<&Carrier> {
        match &self.from {
            NameOrigin::Carrier(carrier) => Some(carrier),
            NameOrigin::Fixed(_) => None,
        }
    }
}

impl CredentialForm {
    /// A Bearer token (RFC 6750).
    pub fn bearer(purpose: TokenUse) -> Self {
        Self::Token { at: Carrier::bearer(), purpose }
    }

    /// `X-Access-Token` with `X-Key`.
    pub fn token_key() -> Self {
        Self::Pair(PairCarrier::token_key())
    }

    /// All places of the form.
    pub fn carriers(&self) -> Vec<&Carrier> {
        match self {
            Self::Password { name, password, code } => {
                name.carrier().into_iter().chain([password]).chain(code).collect()
            }
            Self::BasicPassword => Vec::new(),
            Self::Code { name, code, ticket } => {
                name.carrier().into_iter().chain([code]).chain(ticket).collect()
            }
            Self::Token { at, .. } => vec![at],
            Self::Pair(pair) => vec![&pair.token, &pair.key],
        }
    }

    /// The places of what must never be shown: all but the name.
    pub(crate) fn secrets(&self) -> Vec<&Carrier> {
        match self {
            Self::Password { password, code, .. } => [password].into_iter().chain(code).collect(),
            Self::Code { code, ticket, .. } => [code].into_iter().chain(ticket).collect(),
            other => other.carriers(),
        }
    }

    /// The kind of body that has a part of it; `None` if the head has all.
    pub fn body_kind(&self) -> Option<BodyFormat> {
        self.carriers().into_iter().find_map(Carrier::body_kind)
    }

    /// True if a part of it is in the body.
    pub fn is_in_body(&self) -> bool {
        self.body_kind().is_some()
    }

    pub(crate) fn fits(&self, step: EndpointStep) -> bool {
        match self {
            Self::Password { .. } | Self::BasicPassword => step == EndpointStep::Login,
            Self::Code { .. } => step == EndpointStep::VerifyCode,
            Self::Pair(_) => step.takes_access_token(),
            Self::Token { purpose, .. } => match purpose {
                TokenUse::Renew | TokenUse::Extend | TokenUse::Exchange => {
                    step == EndpointStep::Login
                }
                TokenUse::Refresh => matches!(step, EndpointStep::Refresh | EndpointStep::Logout),
                TokenUse::Access => step.takes_access_token(),
                TokenUse::About => step.asks_about_tokens(),
            },
        }
    }
}
