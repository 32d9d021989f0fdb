//! `credential` of an `[[upstream]]`: the credential that the gateway itself presents to the
//! upstream, in place of the client's own.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use http::header::{AUTHORIZATION, HeaderName};
use serde::Serialize;

use super::mint::MintSettings;
use super::users::{SourceKind, SourceSettings};
use super::written;
use crate::dialect::client::ProgramCredential;
use crate::dialect::{CallCarrier, Carrier, Dialect};
use crate::secret::{Secret, SecretString};

/// A credential of the gateway, sent with every request to an upstream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamCredential {
    /// `Authorization: Basic` (RFC 7617).
    Basic { username: String, password: SecretString },
    /// `Authorization: Bearer` (RFC 6750).
    Bearer(SecretString),
    /// Header fields of the operator's choice.
    Headers(#[serde(serialize_with = "written::entries")] Vec<(HeaderName, SecretString)>),
    /// The token that a login of the gateway obtains.
    Login(UpstreamLogin),
    /// A token in the upstream's own form for each user.
    Mint(Box<MintSettings>),
    /// What the legacy system gave each user at the login, for the requests of that session alone.
    Session(SessionCredential),
}

/// The users whose own credentials an upstream gets.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct SessionCredential {
    /// The source that they are from: what another system gave its users is not for this upstream.
    pub source: String,
    /// The places in which a request carries the credential of any of them.
    #[serde(skip)]
    pub places: Vec<Carrier>,
}

impl SessionCredential {
    /// The credentials of the users of `source`; `None` if they are not kept.
    pub fn of(source: &SourceSettings) -> Option<Self> {
        let SourceKind::Http(users) = &source.kind else { return None };
        let places = users.dialect.call.iter().flat_map(CallCarrier::places).cloned();
        let source = source.name.clone();
        users.keep.then(|| Self { source, places: places.collect() })
    }
}

/// A login that the gateway performs as a client of the upstream.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamLogin {
    pub username: String,
    pub password: SecretString,
    #[serde(serialize_with = "written::dialect")]
    pub dialect: Arc<Dialect>,
    /// The gateway's own id and secret as a program, where the upstream asks for them.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "written::program")]
    pub client: Option<ProgramCredential>,
    /// The address that the dialect's paths are appended to: `http://host:port`, or with a path.
    #[serde(serialize_with = "written::text")]
    pub url: Uri,
}

impl PartialEq for UpstreamLogin {
    /// True if a login under one configuration is still right under the other, so that a reload
    /// keeps its token. Dialects of the configuration are compared by identity, because their
    /// contents may have changed under the same name; the built-in ones never change.
    fn eq(&self, other: &Self) -> bool {
        let same_dialect = self.dialect.name == other.dialect.name
            && (Dialect::builtin_names().any(|name| name == self.dialect.name)
                || Arc::ptr_eq(&self.dialect, &other.dialect));
        same_dialect
            && self.url == other.url
            && self.username == other.username
            && self.password == other.password
            && self.client == other.client
    }
}

impl UpstreamCredential {
    /// The names of the fields that carry it and nothing else. For a login and
    /// for sessions they follow from the dialect. A cookie has none, because its field has other cookies.
    pub fn names(&self) -> Vec<HeaderName> {
        match self {
            Self::Basic { .. } | Self::Bearer(_) => vec![AUTHORIZATION],
            Self::Headers(fields) => fields.iter().map(|(name, _)| name.clone()).collect(),
            Self::Login(login) => {
                fields_of(login.dialect.call.iter().flat_map(CallCarrier::places))
            }
            Self::Session(session) => fields_of(&session.places),
            Self::Mint(mint) => fields_of([&mint.carrier]),
        }
    }

    /// The places of a credential that may be elsewhere than in fields of its own.
    pub fn places(&self) -> &[Carrier] {
        match self {
            Self::Mint(mint) => std::slice::from_ref(&mint.carrier),
            Self::Session(session) => &session.places,
            _ => &[],
        }
    }
}

/// The fields among these places, each once.
fn fields_of<'p>(places: impl IntoIterator<Item = &'p Carrier>) -> Vec<HeaderName> {
    let mut names: Vec<HeaderName> = Vec::new();
    for place in places {
        let name = match place {
            Carrier::Scheme(_) => AUTHORIZATION,
            Carrier::Field(name) => name.clone(),
            _ => continue,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

impl UpstreamCredential {
    /// The fields of a fixed credential; `None` for one whose tokens change.
    pub fn fields(&self) -> Option<Vec<(HeaderName, SecretString)>> {
        match self {
            Self::Basic { username, password } => {
                // The pair is a secret of its own while it is encoded, so that no copy of the
                // password stays in memory.
                let pair = Secret::new(format!("{username}:{}", password.expose()));
                let value = format!("Basic {}", STANDARD.encode(pair.expose()));
                Some(vec![(AUTHORIZATION, value.into())])
            }
            Self::Bearer(token) => {
                Some(vec![(AUTHORIZATION, format!("Bearer {}", token.expose()).into())])
            }
            Self::Headers(fields) => Some(fields.clone()),
            Self::Login(_) | Self::Mint(_) | Self::Session(_) => None,
        }
    }
}
