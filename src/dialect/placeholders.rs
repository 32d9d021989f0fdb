//! The closed list of `$placeholders` and their values.
//!
//! A template is compiled for one `PlaceholderScope`, a set of placeholder groups: the answer of a
//! login may contain the tokens, the claims of a token must not contain the session's key, and a
//! fixed answer knows no user. A placeholder outside the scope is a problem in the configuration
//! and therefore cannot happen while a request is served. Placeholders of errors get their values
//! in `form`.

use serde_json::{Map, Value};

use super::definition::{Dialect, SessionValues, TemplateValues, TokenValues, UserValues};
use crate::clock::Timestamp;

/// The meaning of a placeholder.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Placeholder {
    Named(PlaceholderName),
    /// `$user.claims.NAME`: a path into the user's claims.
    UserClaim(Vec<String>),
    /// `$config.NAME`: a path into the values of the login's configuration, or of the dialect's
    /// defaults. The login's value wins, so an operator can change an answer without a dialect of
    /// their own.
    Config(Vec<String>),
}

/// A group of placeholders that are known under the same condition. Keys and tokens are groups of
/// their own, because they give access and must not appear everywhere. See `PlaceholderScope` for
/// where each group may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueGroup {
    Common,
    User,
    Session,
    SessionKey,
    Access,
    AccessToken,
    Refresh,
    RefreshToken,
    Pending,
    Error,
}

/// The groups of placeholders that a template may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceholderScope(&'static [ValueGroup]);

impl PlaceholderScope {
    /// Answers that give out tokens.
    pub(super) const TOKENS: Self = Self(&[
        ValueGroup::Common,
        ValueGroup::User,
        ValueGroup::Session,
        ValueGroup::SessionKey,
        ValueGroup::Access,
        ValueGroup::AccessToken,
        ValueGroup::Refresh,
        ValueGroup::RefreshToken,
    ]);
    /// Answers with facts about a session.
    pub(super) const SESSION: Self =
        Self(&[ValueGroup::Common, ValueGroup::User, ValueGroup::Session, ValueGroup::Access]);
    /// Answers that announce a second step. They have no group about the user: the client has
    /// passed the first step only. They get the ticket, which the client needs for the second step.
    pub(super) const PENDING: Self = Self(&[ValueGroup::Common, ValueGroup::Pending]);
    /// Answers before anyone is authenticated.
    pub(super) const NOBODY: Self = Self(&[ValueGroup::Common]);
    /// Claims of tokens. They must not contain keys or tokens: a token is often decoded and logged
    /// by its receivers, and it is not encrypted.
    pub(super) const CLAIMS: Self = Self(&[
        ValueGroup::Common,
        ValueGroup::User,
        ValueGroup::Session,
        ValueGroup::Access,
        ValueGroup::Refresh,
    ]);
    /// Answers that report an error.
    pub(super) const ERROR: Self = Self(&[ValueGroup::Error]);

    fn has(self, group: ValueGroup) -> bool {
        self.0.contains(&group)
    }

    /// All placeholders of the scope, for messages to the operator.
    pub(super) fn accepted(self) -> Vec<String> {
        let named = NAMES.iter().filter(|(_, _, group)| self.has(*group));
        let mut accepted: Vec<String> = named.map(|(name, ..)| format!("${name}")).collect();
        if self.has(ValueGroup::User) {
            accepted.push("$user.claims.NAME".to_owned());
        }
        if self.has(ValueGroup::Common) {
            accepted.push("$config.NAME".to_owned());
        }
        accepted
    }

    /// The placeholder with this name, if the scope has it.
    pub(super) fn find(self, name: &str) -> Option<Placeholder> {
        let path = |rest: &str| -> Option<Vec<String>> {
            rest.split('.').map(|part| (!part.is_empty()).then(|| part.to_owned())).collect()
        };
        if let Some(rest) = name.strip_prefix("user.claims.") {
            return self.has(ValueGroup::User).then(|| path(rest))?.map(Placeholder::UserClaim);
        }
        if let Some(rest) = name.strip_prefix("config.") {
            return self.has(ValueGroup::Common).then(|| path(rest))?.map(Placeholder::Config);
        }
        // The scope is part of the look-up: a placeholder outside the scope is reported like one
        // that does not exist, with the list of those that do.
        let (_, found, _) =
            NAMES.iter().find(|(known, _, group)| *known == name && self.has(*group))?;
        Some(Placeholder::Named(*found))
    }
}

macro_rules! names {
    ($($group:ident: $($variant:ident = $name:literal),+;)*) => {
        /// A placeholder with a fixed name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum PlaceholderName { $($($variant,)+)* }

        const NAMES: &[(&str, PlaceholderName, ValueGroup)] =
            &[$($(($name, PlaceholderName::$variant, ValueGroup::$group),)+)*];
    };
}

// Times are whole seconds since 1970; those with `_ms` are milliseconds. `ttl` is a token's
// lifetime in seconds, from its issue to its end.
names! {
    Common: Now = "now", NowMs = "now_ms", Dialect = "dialect", Login = "login.name",
        LoginIssuer = "login.issuer", LoginAudience = "login.audience";
    User: UserId = "user.id", Username = "user.name", UserEmail = "user.email",
        UserRoles = "user.roles", UserScopes = "user.scopes", UserRoleNumber = "user.role_number";
    Session: SessionId = "session.id", SessionCreated = "session.created",
        SessionCreatedMs = "session.created_ms", SessionExpires = "session.expires",
        SessionExpiresMs = "session.expires_ms";
    SessionKey: SessionKey = "session.key";
    Access: AccessId = "access.id", AccessIssued = "access.issued",
        AccessIssuedMs = "access.issued_ms", AccessExpires = "access.expires",
        AccessExpiresMs = "access.expires_ms", AccessTtl = "access.ttl";
    AccessToken: AccessToken = "access.token";
    Refresh: RefreshId = "refresh.id", RefreshIssued = "refresh.issued",
        RefreshIssuedMs = "refresh.issued_ms", RefreshExpires = "refresh.expires",
        RefreshExpiresMs = "refresh.expires_ms", RefreshTtl = "refresh.ttl";
    RefreshToken: RefreshToken = "refresh.token";
    Pending: Ticket = "pending.ticket";
    Error: Status = "status", Phrase = "phrase", Title = "title", Detail = "detail", Code = "code",
        Slug = "slug", Path = "path", RequestId = "request_id", Timestamp = "timestamp",
        TimestampMs = "timestamp_ms";
}

impl Placeholder {
    /// The value of the placeholder in an answer or in claims; `None` if the facts do not have it.
    pub(super) fn value(&self, facts: &TemplateValues, dialect: &Dialect) -> Option<Value> {
        match self {
            Self::UserClaim(path) => walk(&facts.user.as_ref()?.claims, path),
            Self::Config(path) => {
                walk(&facts.login.about, path).or_else(|| walk(&dialect.config, path))
            }
            Self::Named(name) => name.value(facts, dialect),
        }
    }
}

impl PlaceholderName {
    fn value(self, facts: &TemplateValues, dialect: &Dialect) -> Option<Value> {
        match self {
            Self::Now => Some(facts.now.secs().into()),
            Self::NowMs => Some(facts.now.millis().into()),
            Self::Dialect => Some(dialect.name.as_str().into()),
            Self::Login => Some(facts.login.name.as_str().into()),
            Self::LoginIssuer => Some(facts.login.issuer.as_str().into()),
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

    fn of_user(self, user: &UserValues, dialect: &Dialect) -> Option<Value> {
        match self {
            Self::UserId => Some(user.id.as_str().into()),
            Self::Username => Some(user.name.as_str().into()),
            Self::UserEmail => user.email.as_deref().map(Value::from),
            Self::UserRoles => Some(user.roles.clone().into()),
            Self::UserScopes => Some(user.scopes.clone().into()),
            Self::UserRoleNumber => Some(dialect.role_number(&user.roles).into()),
            _ => None,
        }
    }

    fn of_session(self, session: &SessionValues) -> Option<Value> {
        match self {
            Self::SessionId => Some(session.id.as_str().into()),
            Self::SessionKey => session.key.as_ref().map(|key| key.expose().as_str().into()),
            Self::SessionCreated => Some(session.created.secs().into()),
            Self::SessionCreatedMs => Some(session.created.millis().into()),
            Self::SessionExpires => Some(session.expires.secs().into()),
            Self::SessionExpiresMs => Some(session.expires.millis().into()),
            _ => None,
        }
    }

    fn of_access(self, token: &TokenValues) -> Option<Value> {
        match self {
            Self::AccessToken => Some(token.token.expose().as_str().into()),
            Self::AccessId => Some(token.id.as_str().into()),
            Self::AccessIssued => Some(token.issued.secs().into()),
            Self::AccessIssuedMs => Some(token.issued.millis().into()),
            Self::AccessExpires => Some(token.expires.secs().into()),
            Self::AccessExpiresMs => Some(token.expires.millis().into()),
            Self::AccessTtl => Some(whole_life(token).into()),
            _ => None,
        }
    }

    fn of_refresh(self, token: &TokenValues) -> Option<Value> {
        match self {
            Self::RefreshToken => Some(token.token.expose().as_str().into()),
            Self::RefreshId => Some(token.id.as_str().into()),
            Self::RefreshIssued => Some(token.issued.secs().into()),
            Self::RefreshIssuedMs => Some(token.issued.millis().into()),
            Self::RefreshExpires => Some(token.expires.secs().into()),
            Self::RefreshExpiresMs => Some(token.expires.millis().into()),
            Self::RefreshTtl => Some(whole_life(token).into()),
            _ => None,
        }
    }
}

/// The time in RFC 3339 form, in UTC, with a numeric offset instead of `Z`: error bodies of Java
/// services have that form, and some clients parse no other.
pub(super) fn with_offset(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}+00:00", text.strip_suffix('Z').unwrap_or(&text))
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
