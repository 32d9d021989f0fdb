//! The closed list of `$placeholders`, and what each stands for.
//!
//! A template is compiled for one `Scope`: the answer of a login may name the tokens, the claims
//! of a token may not name the session's key, a fixed answer knows no user. Naming anything else
//! is a configuration problem, never a surprise at run time. `errors` are filled by `form`.

use serde_json::{Map, Value};

use super::spec::{Dialect, Facts, SessionFacts, TokenFacts, UserFacts};
use crate::clock::Timestamp;

/// What a placeholder stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    Named(Name),
    /// `$user.claims.NAME`, a path into the user's claims.
    UserClaim(Vec<String>),
    /// `$config.NAME`, a path into what the login's configuration says, or the dialect's default.
    Config(Vec<String>),
}

/// What a group of placeholders needs to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
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

/// The groups that a template may draw on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope(&'static [Group]);

impl Scope {
    /// Answers that give out tokens.
    pub(super) const TOKENS: Self = Self(&[
        Group::Common,
        Group::User,
        Group::Session,
        Group::SessionKey,
        Group::Access,
        Group::AccessToken,
        Group::Refresh,
        Group::RefreshToken,
    ]);
    /// Answers that tell about a session.
    pub(super) const SESSION: Self =
        Self(&[Group::Common, Group::User, Group::Session, Group::Access]);
    /// Answers that say that a second step is due.
    pub(super) const PENDING: Self = Self(&[Group::Common, Group::Pending]);
    /// Answers that know nobody yet.
    pub(super) const NOBODY: Self = Self(&[Group::Common]);
    /// Claims: what gives access (key, tokens) must not be readable in a token.
    pub(super) const CLAIMS: Self =
        Self(&[Group::Common, Group::User, Group::Session, Group::Access, Group::Refresh]);
    /// Error answers.
    pub(super) const ERROR: Self = Self(&[Group::Error]);

    fn has(self, group: Group) -> bool {
        self.0.contains(&group)
    }

    /// Every placeholder of the scope, for messages.
    pub(super) fn accepted(self) -> Vec<String> {
        let named = NAMES.iter().filter(|(_, _, group)| self.has(*group));
        let mut accepted: Vec<String> = named.map(|(name, ..)| format!("${name}")).collect();
        if self.has(Group::User) {
            accepted.push("$user.claims.NAME".to_owned());
        }
        if self.has(Group::Common) {
            accepted.push("$config.NAME".to_owned());
        }
        accepted
    }

    /// The placeholder of this name, if the scope has it.
    pub(super) fn find(self, name: &str) -> Option<Place> {
        let path = |rest: &str| -> Option<Vec<String>> {
            rest.split('.').map(|part| (!part.is_empty()).then(|| part.to_owned())).collect()
        };
        if let Some(rest) = name.strip_prefix("user.claims.") {
            return self.has(Group::User).then(|| path(rest))?.map(Place::UserClaim);
        }
        if let Some(rest) = name.strip_prefix("config.") {
            return self.has(Group::Common).then(|| path(rest))?.map(Place::Config);
        }
        let (_, found, _) =
            NAMES.iter().find(|(known, _, group)| *known == name && self.has(*group))?;
        Some(Place::Named(*found))
    }
}

macro_rules! names {
    ($($group:ident: $($variant:ident = $name:literal),+;)*) => {
        /// A placeholder without a free part.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Name { $($($variant,)+)* }

        const NAMES: &[(&str, Name, Group)] =
            &[$($(($name, Name::$variant, Group::$group),)+)*];
    };
}

// Times are seconds since 1970, `_ms` milliseconds; `ttl` is a token's whole life in seconds.
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

impl Place {
    /// The value in an answer or in claims; `None` where the facts do not have it.
    pub(super) fn value(&self, facts: &Facts, dialect: &Dialect) -> Option<Value> {
        match self {
            Self::UserClaim(path) => walk(&facts.user.as_ref()?.claims, path),
            Self::Config(path) => {
                walk(&facts.login.about, path).or_else(|| walk(&dialect.config, path))
            }
            Self::Named(name) => name.value(facts, dialect),
        }
    }
}

impl Name {
    fn value(self, facts: &Facts, dialect: &Dialect) -> Option<Value> {
        match self {
            Self::Now => Some(facts.now.secs().into()),
            Self::NowMs => Some(facts.now.millis().into()),
            Self::Dialect => Some(dialect.name.as_str().into()),
            Self::Login => Some(facts.login.name.as_str().into()),
            Self::LoginIssuer => Some(facts.login.issuer.as_str().into()),
            Self::LoginAudience => Some(facts.login.audience.clone().into()),
            Self::Ticket => facts.ticket.as_ref().map(|ticket| ticket.expose().as_str().into()),
            _ => facts
                .user
                .as_ref()
                .and_then(|user| self.of_user(user, dialect))
                .or_else(|| facts.session.as_ref().and_then(|session| self.of_session(session)))
                .or_else(|| facts.access.as_ref().and_then(|token| self.of_access(token)))
                .or_else(|| facts.refresh.as_ref().and_then(|token| self.of_refresh(token))),
        }
    }

    fn of_user(self, user: &UserFacts, dialect: &Dialect) -> Option<Value> {
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

    fn of_session(self, session: &SessionFacts) -> Option<Value> {
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

    fn of_access(self, token: &TokenFacts) -> Option<Value> {
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

    fn of_refresh(self, token: &TokenFacts) -> Option<Value> {
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

/// RFC 3339 in UTC with a numeric offset, as error bodies of Java services carry it.
pub(super) fn with_offset(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}+00:00", text.strip_suffix('Z').unwrap_or(&text))
}

/// The difference of what the token itself carries, which is whole seconds.
fn whole_life(token: &TokenFacts) -> u64 {
    token.expires.secs().saturating_sub(token.issued.secs())
}

fn walk(map: &Map<String, Value>, path: &[String]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(map.get(first)?, |value, part| value.get(part)).cloned()
}
