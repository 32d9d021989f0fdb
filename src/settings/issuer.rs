//! `[[issuer]]`: external issuers whose tokens are accepted. `authn` verifies them.

use std::time::Duration;

use serde::Serialize;

use super::issuer_keys::IssuerKeys;
use super::legacy_sessions::SessionKind;
use super::written;
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::dialect::CallCarrier;

/// An external issuer whose tokens the gateway accepts, in addition to its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IssuerSettings {
    pub name: String,
    /// Compared byte for byte with the claim `iss` (RFC 7519, section 4.1.1).
    pub issuer: String,
    pub audience: AudienceRule,
    pub algorithms: Vec<Algorithm>,
    #[serde(flatten)]
    pub keys: IssuerKeys,
    /// PEM text of the CA to trust when the issuer is asked, instead of the public CAs.
    #[serde(serialize_with = "written::maybe_hidden")]
    pub ca: Option<String>,
    /// The shared secret may be shorter than the hash that it is used with. It is only permitted
    /// with `until`, so it is written only where it is given.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_weak_secret: bool,
    /// The issuer may be asked over plain HTTP.
    pub allow_http: bool,
    /// How long fetched keys are used while the issuer cannot be reached.
    #[serde(serialize_with = "written::duration")]
    pub max_stale: Duration,
    /// The client id that clients use at this issuer. Dialects that tell clients where to log in
    /// publish it.
    pub client_id: Option<String>,
    /// The values of `sub` that are accepted; empty: all.
    pub subjects: Vec<String>,
    pub username_claim: Vec<String>,
    /// Path into the claims: each element is a member of the one before.
    pub roles_claim: Vec<String>,
    pub scopes_claim: Vec<String>,
    /// Accepted values of `typ`, in lower case, without `application/`.
    pub types: Vec<String>,
    /// A token without `typ` is accepted.
    pub type_optional: bool,
    /// Claims that a token must have; `exp` and `sub` are always among them.
    pub required: Vec<String>,
    #[serde(serialize_with = "written::duration")]
    pub leeway: Duration,
    /// The longest accepted lifetime, `exp - iat`.
    #[serde(serialize_with = "written::maybe_duration")]
    pub max_lifetime: Option<Duration>,
    /// Tokens of this issuer are refused from this instant on; `None`: never.
    #[serde(serialize_with = "written::maybe_last_day")]
    pub until: Option<Timestamp>,
    /// Accept ID tokens (recognised by `nonce`, `at_hash` or `token_use = "id"`) and event tokens.
    /// They are made for a client and not for an API, so they are refused by default. An ID token
    /// proves a login to the client that asked for it; whoever runs that client could use it here
    /// as the user.
    pub allow_id_tokens: bool,
}

/// The audience that a foreign token must be issued for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum AudienceRule {
    /// Any audience is accepted, tokens for other services included. Reported with a warning.
    #[serde(rename = "any")]
    Any,
    /// The claim `aud` must contain one of these.
    #[serde(untagged)]
    OneOf(Vec<String>),
}

impl IssuerSettings {
    /// The place of the legacy system's tokens, where they are proved by asking it (`kind =
    /// "sessions"`).
    pub fn sessions_carrier(&self) -> Option<&CallCarrier> {
        match &self.keys {
            IssuerKeys::Sessions(sessions) => match &sessions.kind {
                SessionKind::Sessions { carrier } => Some(carrier),
                SessionKind::WebitelSessions => None,
            },
            _ => None,
        }
    }

    /// True if tokens with this `sub` are accepted.
    pub fn takes_subject(&self, subject: &str) -> bool {
        self.subjects.is_empty() || self.subjects.iter().any(|one| one == subject)
    }
}
