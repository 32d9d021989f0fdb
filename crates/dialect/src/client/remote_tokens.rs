//! A session at another system: what a login there gave, and how later requests show it.

use std::fmt;

use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::answer_head::leads_alike;
use super::values::{ResponseValues, is_token};
use crate::Reason;
use crate::calls::CallCarrier;
use crate::carrier::Carrier;
use crate::definition::Dialect;
use crate::octets::is_cookie_octet;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::SecretString;

/// The tokens of a session at another system. They cannot be printed.
#[derive(Clone, PartialEq)]
pub struct RemoteTokens {
    pub access: SecretString,
    /// What stands beside the access token, where the dialect has pairs: its key, or a fact.
    pub key: Option<SecretString>,
    pub refresh: Option<SecretString>,
    /// The system's own name for the session, where an answer has it.
    pub session: Option<String>,
    /// The end of the access token, if it is known.
    pub expires: Option<Timestamp>,
    /// The end of the refresh token, if it is known.
    pub refresh_expires: Option<Timestamp>,
}

/// The parts of a request that show an access token. They cannot be printed.
#[derive(Clone, Default)]
pub struct CallCredential {
    /// The values are marked as sensitive.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    pub cookies: Vec<(String, SecretString)>,
    pub query: Vec<(String, SecretString)>,
}

/// What the head of an answer to a call says about the credential that came with the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallRefusal {
    /// The credential has ended.
    Ended,
    /// It has ended, or it does not permit this call: the dialect answers both with one status.
    Unclear,
}

impl CallRefusal {
    /// Reads the head of an answer; `None` if it is no refusal of the credential. A dialect that
    /// refuses in a body, under a status of success or failure, cannot be understood here.
    pub fn of(dialect: &Dialect, status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        if status == StatusCode::UNAUTHORIZED {
            return Some(Self::Ended);
        }
        if status != dialect.errors.status(Reason::TokenExpired) {
            return None;
        }
        if status.is_redirection() {
            let fields = dialect.errors.fields(Reason::TokenExpired);
            return leads_alike(fields, headers).then_some(Self::Ended);
        }
        status.is_client_error().then_some(Self::Unclear)
    }
}

impl fmt::Debug for RemoteTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteTokens").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl fmt::Debug for CallCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallCredential").finish_non_exhaustive()
    }
}

impl RemoteTokens {
    /// The tokens that an answer gave at `now`; `None` if it has no access token.
    pub fn of(values: &ResponseValues, now: Timestamp) -> Option<Self> {
        Some(Self {
            access: values.access_token.clone()?,
            key: values.key.clone(),
            refresh: values.refresh_token.clone(),
            session: values.session.clone(),
            expires: values.expires(now),
            refresh_expires: values.refresh_expires(now),
        })
    }

    /// The tokens after a refresh. What the answer does not have stays: most systems keep a refresh
    /// token for a whole session. `None` if the answer has no access token.
    pub fn renewed(&self, values: &ResponseValues, now: Timestamp) -> Option<Self> {
        let mut renewed = Self::of(values, now)?;
        if renewed.refresh.is_none() {
            renewed.refresh.clone_from(&self.refresh);
            renewed.refresh_expires = self.refresh_expires;
        }
        renewed.key = renewed.key.or_else(|| self.key.clone());
        renewed.session = renewed.session.or_else(|| self.session.clone());
        Some(renewed)
    }

    /// The credential of a call: in the first place that the dialect names and that can carry it.
    /// Where there is a key, a pair comes before any other. `None` if no place can carry it.
    pub fn call(&self, dialect: &Dialect) -> Option<CallCredential> {
        let pairs = dialect.call.iter().filter(|it| matches!(it, CallCarrier::Pair(_)));
        let others = dialect.call.iter().filter(|it| matches!(it, CallCarrier::Token(_)));
        pairs.chain(others).find_map(|carrier| {
            let mut credential = CallCredential::default();
            match carrier {
                CallCarrier::Token(at) => credential.put(at, &self.access)?,
                CallCarrier::Pair(pair) => {
                    credential.put(&pair.token, &self.access)?;
                    credential.put(&pair.key, self.key.as_ref()?)?;
                }
            }
            Some(credential)
        })
    }
}

impl CallCredential {
    fn put(&mut self, at: &Carrier, value: &SecretString) -> Option<()> {
        match at {
            Carrier::Scheme(scheme) => {
                self.field(AUTHORIZATION, &authorization(scheme, value.expose())?)
            }
            Carrier::Field(name) => self.field(name.clone(), value),
            Carrier::Cookie(name) => is_cookie_value(value.expose()).then(|| {
                self.cookies.push((name.clone(), value.clone()));
            }),
            Carrier::Query(name) => {
                self.query.push((name.clone(), value.clone()));
                Some(())
            }
            // `[call]` has none of these.
            Carrier::Variable(_) | Carrier::Member(..) => None,
        }
    }

    fn field(&mut self, name: HeaderName, value: &SecretString) -> Option<()> {
        let mut value = HeaderValue::from_str(value.expose()).ok()?;
        value.set_sensitive(true);
        self.fields.push((name, value));
        Some(())
    }
}

/// The value of `Authorization` with this scheme; `None` if it is no token.
pub(super) fn authorization(scheme: &str, token: &str) -> Option<SecretString> {
    let separator = if scheme.is_empty() { "" } else { " " };
    is_token(token).then(|| SecretString::new(format!("{scheme}{separator}{token}")))
}

/// True if a cookie can have this value. Quotes around it are a part of it (RFC 6265, section 4.1.1).
pub(super) fn is_cookie_value(value: &str) -> bool {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    !inner.is_empty() && inner.bytes().all(is_cookie_octet)
}
