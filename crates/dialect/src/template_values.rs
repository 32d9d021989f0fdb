//! The values that the templates of answers and claims are filled with, and the placeholders that
//! stand for them.
//!
//! `login` fills the values in, step by step. Placeholders of errors get their values in
//! `error_format`.

use serde_json::{Map, Value};

use super::Template;
use super::definition::Dialect;
use super::placeholders::{Placeholder, PlaceholderName};
use super::request_values::RequestValues;
use super::times::TimeName;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::UserProfile;
use tollhouse_core::secret::SecretString;

/// The values that templates may refer to. A value that is missing is rendered as `null` where the
/// placeholder is the whole value, and as nothing inside a text. Each step fills in the values that
/// it knows; the scope of the template was checked before.
#[derive(Clone, Debug, Default)]
pub struct TemplateValues {
    pub now: Timestamp,
    pub login: LoginValues,
    pub user: Option<UserValues>,
    pub session: Option<SessionValues>,
    pub access: Option<TokenValues>,
    pub refresh: Option<TokenValues>,
    /// Values of the client's request, for `$request.…`.
    pub request: RequestValues,
    /// `$pending.ticket`: the ticket that the second step has to bring.
    pub ticket: Option<SecretString>,
}

/// Values for `$login.…` and `$config.…`.
#[derive(Clone, Debug, Default)]
pub struct LoginValues {
    pub name: String,
    pub issuer: String,
    pub audience: Vec<String>,
    /// The URL by which clients reach the login, from its configuration alone.
    pub url: Option<String>,
    pub about: Map<String, Value>,
}

/// Values for `$user.…`.
#[derive(Clone, Debug, Default)]
pub struct UserValues {
    pub id: String,
    pub profile: UserProfile,
}

/// Values for `$session.…`.
#[derive(Clone, Debug, Default)]
pub struct SessionValues {
    pub id: String,
    pub key: Option<SecretString>,
    /// The value that requests by cookie repeat, against forged ones.
    pub csrf: Option<SecretString>,
    pub created: Timestamp,
    pub expires: Timestamp,
}

/// Values for `$access.…` and `$refresh.…`.
#[derive(Clone, Debug, Default)]
pub struct TokenValues {
    /// Empty while the claims of the token itself are rendered, because the token does not exist
    /// yet. No template of claims can refer to it.
    pub token: SecretString,
    pub id: String,
    pub issued: Timestamp,
    pub expires: Timestamp,
}

impl Dialect {
    /// Renders one of the dialect's templates with these values.
    pub fn render(&self, template: &Template, values: &TemplateValues) -> Value {
        template.render(&|place| place.value(values, Some(self)))
    }
}

impl Placeholder {
    /// The value of the placeholder in an answer or in claims; `None` if the facts do not have it.
    /// Tokens for other systems are of no dialect.
    pub(super) fn value(&self, facts: &TemplateValues, dialect: Option<&Dialect>) -> Option<Value> {
        match self {
            Self::UserClaim(path) => walk(&facts.user.as_ref()?.profile.claims, path),
            Self::Config(path) => {
                walk(&facts.login.about, path).or_else(|| walk(&dialect?.config, path))
            }
            Self::Named(name) => name.value(facts, dialect),
            Self::Time(name, form) => name.of(facts).map(|at| form.write(at)),
            Self::Request(at) => facts.request.find(at),
        }
    }
}

impl TimeName {
    fn of(self, facts: &TemplateValues) -> Option<Timestamp> {
        match self {
            Self::Now => Some(facts.now),
            Self::SessionCreated => facts.session.as_ref().map(|session| session.created),
            Self::SessionExpires => facts.session.as_ref().map(|session| session.expires),
            Self::AccessIssued => facts.access.as_ref().map(|token| token.issued),
            Self::AccessExpires => facts.access.as_ref().map(|token| token.expires),
            Self::RefreshIssued => facts.refresh.as_ref().map(|token| token.issued),
            Self::RefreshExpires => facts.refresh.as_ref().map(|token| token.expires),
        }
    }
}

impl PlaceholderName {
    fn value(self, facts: &TemplateValues, dialect: Option<&Dialect>) -> Option<Value> {
        match self {
            Self::Null => Some(Value::Null),
            Self::Dialect => Some(dialect?.name.as_str().into()),
            Self::Login => Some(facts.login.name.as_str().into()),
            Self::LoginIssuer => Some(facts.login.issuer.as_str().into()),
            Self::LoginUrl => facts.login.url.as_deref().map(Value::from),
            Self::LoginAudience => Some(facts.login.audience.clone().into()),
            Self::Ticket => facts.ticket.as_ref().map(|ticket| ticket.expose().as_str().into()),
            // Each name belongs to one group only, so at most one of these can have a value.
            _ => facts
                .user
                .as_ref()
                .and_then(|user| self.of_user(user, dialect))
                .or_else(|| facts.session.as_ref().and_then(|session| self.of_session(session)))
                .or_else(|| facts.access.as_ref().and_then(|token| self.of_access(token)))
                .or_else(|| facts.refresh.as_ref().and_then(|token| self.of_refresh(token))),
        }
    }

    fn of_user(self, user: &UserValues, dialect: Option<&Dialect>) -> Option<Value> {
        let UserValues { id, profile } = user;
        match self {
            Self::UserId => Some(id.as_str().into()),
            Self::Username => Some(profile.name.as_str().into()),
            Self::UserEmail => profile.email.as_deref().map(Value::from),
            Self::UserRoles => Some(profile.roles.clone().into()),
            Self::UserScopes => Some(profile.scopes.clone().into()),
            Self::UserRoleNumber => Some(dialect?.role_number(&profile.roles).into()),
            _ => None,
        }
    }

    fn of_session(self, session: &SessionValues) -> Option<Value> {
        match self {
            Self::SessionId => Some(session.id.as_str().into()),
            Self::SessionKey => session.key.as_ref().map(|key| key.expose().as_str().into()),
            Self::SessionCsrf => session.csrf.as_ref().map(|csrf| csrf.expose().as_str().into()),
            _ => None,
        }
    }

    fn of_access(self, token: &TokenValues) -> Option<Value> {
        match self {
            Self::AccessToken => Some(token.token.expose().as_str().into()),
            Self::AccessId => Some(token.id.as_str().into()),
            Self::AccessTtl => Some(whole_life(token).into()),
            Self::AccessTtlMs => Some(whole_life(token).saturating_mul(1000).into()),
            _ => None,
        }
    }

    fn of_refresh(self, token: &TokenValues) -> Option<Value> {
        match self {
            Self::RefreshToken => Some(token.token.expose().as_str().into()),
            Self::RefreshId => Some(token.id.as_str().into()),
            Self::RefreshTtl => Some(whole_life(token).into()),
            Self::RefreshTtlMs => Some(whole_life(token).saturating_mul(1000).into()),
            _ => None,
        }
    }
}

/// The lifetime of a token in whole seconds, computed from the times in the token, so that it
/// agrees with them. Rounding the duration itself could differ from them by one second.
fn whole_life(token: &TokenValues) -> u64 {
    token.expires.secs().saturating_sub(token.issued.secs())
}

/// A path that leads through a missing member, or through a value that is not an object, has no
/// value.
fn walk(map: &Map<String, Value>, path: &[String]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(map.get(first)?, |value, part| value.get(part)).cloned()
}
