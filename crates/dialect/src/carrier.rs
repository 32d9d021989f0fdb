//! Carriers: the places in a request where a value can be, such as a token, a name or a password.
//!
//! A carrier is written as a table with one key: `{ scheme = "Bearer" }`, `{ field = "X-Auth-Token" }`,
//! `{ cookie = "SID" }`, `{ query = "token" }`, `{ path = "token" }` for a variable of the path, or
//! `{ json = PATH }`, `{ form = NAME }`, `{ multipart = NAME }`, `{ xml = PATH }` for a member of the
//! body. `server` reads values by it and `client` writes them.

use std::fmt;

use http::header::HeaderName;
use serde::Deserialize;

use crate::MemberPath;
use crate::body::BodyFormat;
use crate::octets::is_token_byte;
use crate::problem::DialectProblems;

/// A carrier as it is written: a table with exactly one of these keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawCarrier {
    scheme: Option<String>,
    field: Option<String>,
    cookie: Option<String>,
    query: Option<String>,
    path: Option<String>,
    json: Option<MemberPath>,
    form: Option<MemberPath>,
    multipart: Option<MemberPath>,
    xml: Option<MemberPath>,
}

/// A carrier of a token, or of a pair.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum RawTokenCarrier {
    Pair { pair: Box<RawPair> },
    Single(Box<RawCarrier>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPair {
    token: RawCarrier,
    key: RawCarrier,
    key_is: Option<String>,
}

/// The places of a token and of what must be presented with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairCarrier {
    pub token: Carrier,
    pub key: Carrier,
    /// The fact that the key must agree with; `None` where it is the session's secret key.
    pub fact: Option<SessionFact>,
}

/// A fact about a session that its clients repeat beside the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionFact {
    UserId,
    UserName,
    SessionId,
}

impl SessionFact {
    const ALL: [(&str, Self); 3] = [
        ("$user.id", Self::UserId),
        ("$user.name", Self::UserName),
        ("$session.id", Self::SessionId),
    ];
}

impl PairCarrier {
    /// `X-Access-Token` with `X-Key`.
    pub(crate) fn token_key() -> Self {
        Self {
            token: Carrier::Field(HeaderName::from_static("x-access-token")),
            key: Carrier::Field(HeaderName::from_static("x-key")),
            fact: None,
        }
    }
}

impl RawPair {
    /// Checks the pair; `None` if it is wrong, and then `problems` says what is.
    pub(crate) fn check(self, at: &str, problems: &mut DialectProblems) -> Option<PairCarrier> {
        let token = self.token.check(&format!("{at}.pair.token"), problems);
        let key = self.key.check(&format!("{at}.pair.key"), problems);
        let known = |name: &str| SessionFact::ALL.iter().find(|(known, _)| *known == name);
        let fact = match self.key_is {
            Some(name) => match known(&name) {
                Some((_, fact)) => Some(*fact),
                None => {
                    let names = SessionFact::ALL.map(|(name, _)| name).join(", ");
                    problems.add(
                        format!("{at}.pair.key_is"),
                        name,
                        format!("must be one of {names}"),
                    );
                    return None;
                }
            },
            None => None,
        };
        Some(PairCarrier { token: token?, key: key?, fact })
    }
}

/// The place of one value in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// `Authorization` with this scheme (RFC 9110, section 11.6.2); an empty one is the bare value.
    Scheme(String),
    Field(HeaderName),
    Cookie(String),
    /// A parameter of the query.
    Query(String),
    /// A variable of the path.
    Variable(String),
    /// A member of the body.
    Member(BodyFormat, MemberPath),
}

impl RawCarrier {
    /// Checks the carrier; `None` if it is wrong, and then `problems` says what is.
    pub(crate) fn check(self, at: &str, problems: &mut DialectProblems) -> Option<Carrier> {
        let texts = [
            self.scheme.map(Carrier::scheme),
            self.field.map(|name| Carrier::field(&name)),
            self.cookie.map(Carrier::cookie),
            self.query.map(Carrier::query),
            self.path.map(Carrier::variable),
        ];
        let members = [
            (BodyFormat::Json, self.json),
            (BodyFormat::Form, self.form),
            (BodyFormat::Multipart, self.multipart),
            (BodyFormat::Xml, self.xml),
        ];
        let members =
            members.into_iter().filter_map(|(kind, path)| Some(Ok(Carrier::Member(kind, path?))));
        let mut carriers = texts.into_iter().flatten().chain(members);
        match (carriers.next(), carriers.next()) {
            (Some(Ok(carrier)), None) => Some(carrier),
            (Some(Err(message)), None) => {
                problems.add(at, "", message);
                None
            }
            (None, _) => {
                problems.add(at, "", format!("must be a table with one of {KEYS}"));
                None
            }
            (Some(_), Some(_)) => {
                problems.add(at, "", format!("has several places; name one of {KEYS}"));
                None
            }
        }
    }
}

const KEYS: &str = "scheme, field, cookie, query, path, json, form, multipart, xml";

impl Carrier {
    /// `Authorization: Bearer` (RFC 6750).
    pub fn bearer() -> Self {
        Self::Scheme("Bearer".to_owned())
    }

    /// `Authorization` with this scheme.
    ///
    /// # Errors
    /// A message for the operator: it is no scheme that tokens have.
    pub fn scheme(scheme: String) -> Result<Self, &'static str> {
        let is_scheme = scheme.bytes().all(is_token_byte) && !scheme.eq_ignore_ascii_case("basic");
        is_scheme
            .then_some(Self::Scheme(scheme))
            .ok_or("must be a scheme of Authorization for tokens, for example \"Bearer\" (Basic has names and passwords)")
    }

    /// A header field.
    ///
    /// # Errors
    /// A message for the operator: it is no name of a field, or the field has a meaning of its own.
    pub fn field(name: &str) -> Result<Self, &'static str> {
        // Fields that frame a request, or name its host, its cookies or its scheme, are read elsewhere.
        const OTHERS: &[&str] = &[
            "authorization",
            "connection",
            "content-encoding",
            "content-length",
            "content-type",
            "cookie",
            "expect",
            "host",
            "keep-alive",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ];
        HeaderName::try_from(name)
            .ok()
            .filter(|name| !OTHERS.contains(&name.as_str()))
            .map(Self::Field)
            .ok_or("must be the name of a header field that carries nothing else, for example \"X-Auth-Token\"")
    }

    /// A cookie.
    ///
    /// # Errors
    /// A message for the operator: no cookie can have this name.
    pub fn cookie(name: String) -> Result<Self, &'static str> {
        let is_name = !name.is_empty() && name.bytes().all(is_token_byte);
        is_name
            .then_some(Self::Cookie(name))
            .ok_or("must be the name of a cookie, for example \"SID\"")
    }

    /// A parameter of the query.
    ///
    /// # Errors
    /// A message for the operator: the name is empty.
    pub fn query(name: String) -> Result<Self, &'static str> {
        (!name.is_empty())
            .then_some(Self::Query(name))
            .ok_or("must be the name of a parameter of the query")
    }

    pub(crate) fn variable(name: String) -> Result<Self, &'static str> {
        (!name.is_empty())
            .then_some(Self::Variable(name))
            .ok_or("must be the name of a variable of the path, as in \"/sessions/{token}\"")
    }

    /// The same place in one spelling. Schemes are compared without regard to case (RFC 9110,
    /// section 11.1).
    #[must_use]
    pub fn folded(&self) -> Self {
        match self {
            Self::Scheme(scheme) => Self::Scheme(scheme.to_ascii_lowercase()),
            other => other.clone(),
        }
    }

    /// The kind of body that has it; `None` for a place in the head.
    pub fn body_kind(&self) -> Option<BodyFormat> {
        match self {
            Self::Member(kind, _) => Some(*kind),
            _ => None,
        }
    }

    /// True if a browser sends it by itself, so that requests can be forged.
    pub fn is_ambient(&self) -> bool {
        matches!(self, Self::Cookie(_))
    }

    /// True if no request can have both: one is a member on the way to the other.
    pub(crate) fn clashes(&self, other: &Self) -> bool {
        match (self, other) {
            // An XML element has attributes beside its text.
            (Self::Member(BodyFormat::Xml, path), Self::Member(BodyFormat::Xml, other)) => {
                let is_attribute = |path: &MemberPath| {
                    path.names().last().is_some_and(|name| name.starts_with('@'))
                };
                path == other || path.clashes(other) && !is_attribute(path) && !is_attribute(other)
            }
            (Self::Member(kind, path), Self::Member(other_kind, other)) => {
                kind == other_kind && path.clashes(other)
            }
            (one, other) => one == other,
        }
    }
}

/// The carrier as it is written, for messages.
impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(scheme) => write!(f, "{{ scheme = \"{scheme}\" }}"),
            Self::Field(name) => write!(f, "{{ field = \"{name}\" }}"),
            Self::Cookie(name) => write!(f, "{{ cookie = \"{name}\" }}"),
            Self::Query(name) => write!(f, "{{ query = \"{name}\" }}"),
            Self::Variable(name) => write!(f, "{{ path = \"{name}\" }}"),
            Self::Member(kind, path) => write!(f, "{{ {kind} = \"{}\" }}", path.names().join(".")),
        }
    }
}
