//! The closed list of `$placeholders`.
//!
//! A template is compiled for one `PlaceholderScope`, a set of placeholder groups: the answer of a
//! login may contain the tokens, the claims of a token must not contain the session's key, and a
//! fixed answer knows no user. A placeholder outside the scope is a problem in the configuration
//! and therefore cannot happen while a request is served. Placeholders get their values in
//! `template_values`, those of errors in `error_format`.

use std::fmt;

use super::MemberPath;
use super::body::BodyFormat;
use super::carrier::Carrier;
use super::times::{self, TimeForm, TimeName};
use super::value_group::ValueGroup;
use tollhouse_core::clock::Timestamp;

/// The meaning of a placeholder.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Placeholder {
    Named(PlaceholderName),
    /// A time, in one of its forms.
    Time(TimeName, TimeForm),
    /// `$request.json.PATH` and the like: a value that the client sent.
    Request(Carrier),
    /// `$user.claims.NAME`: a path into the user's claims.
    UserClaim(Vec<String>),
    /// `$config.NAME`: a path into the values of the login's configuration, or of the dialect's
    /// defaults. The login's value wins, so an operator can change an answer without a dialect of
    /// their own.
    Config(Vec<String>),
}

/// The groups of placeholders that a template may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceholderScope(&'static [ValueGroup]);

impl PlaceholderScope {
    /// Answers that give out tokens.
    pub(super) const TOKENS: Self = Self(&[
        ValueGroup::Clock,
        ValueGroup::Common,
        ValueGroup::Config,
        ValueGroup::User,
        ValueGroup::RoleNumber,
        ValueGroup::Session,
        ValueGroup::SessionId,
        ValueGroup::SessionKey,
        ValueGroup::SessionCsrf,
        ValueGroup::Access,
        ValueGroup::AccessToken,
        ValueGroup::Refresh,
        ValueGroup::RefreshToken,
        ValueGroup::Request,
    ]);
    /// Answers with facts about a session.
    pub(super) const SESSION: Self = Self(&[
        ValueGroup::Clock,
        ValueGroup::Common,
        ValueGroup::Config,
        ValueGroup::User,
        ValueGroup::RoleNumber,
        ValueGroup::Session,
        ValueGroup::SessionId,
        ValueGroup::SessionCsrf,
        ValueGroup::Access,
        ValueGroup::Request,
    ]);
    /// Answers that announce a second step. They have no group about the user: the client has
    /// passed the first step only. They get the ticket, which the client needs for the second step.
    pub(super) const PENDING: Self = Self(&[
        ValueGroup::Clock,
        ValueGroup::Common,
        ValueGroup::Config,
        ValueGroup::Pending,
        ValueGroup::Request,
    ]);
    /// Answers before anyone is authenticated.
    pub(super) const NOBODY: Self =
        Self(&[ValueGroup::Clock, ValueGroup::Common, ValueGroup::Config, ValueGroup::Request]);
    /// Claims of tokens. They must not contain keys or tokens: a token is often decoded and logged
    /// by its receivers, and it is not encrypted.
    pub(super) const CLAIMS: Self = Self(&[
        ValueGroup::Clock,
        ValueGroup::Common,
        ValueGroup::Config,
        ValueGroup::User,
        ValueGroup::RoleNumber,
        ValueGroup::Session,
        ValueGroup::SessionId,
        ValueGroup::Access,
        ValueGroup::Refresh,
    ]);
    /// Claims of tokens for another system, which are made without a login and its dialect.
    pub(super) const MINTED: Self =
        Self(&[ValueGroup::Clock, ValueGroup::User, ValueGroup::Access]);
    /// Requests to another system that begin a session there.
    pub(super) const SENT: Self = Self(&[ValueGroup::Config]);
    /// Requests to another system about a session there.
    pub(super) const SENT_LATER: Self = Self(&[ValueGroup::Config, ValueGroup::SessionId]);
    /// Answers that report an error.
    pub(super) const ERROR: Self = Self(&[ValueGroup::Error, ValueGroup::Request]);

    fn has(self, group: ValueGroup) -> bool {
        self.0.contains(&group)
    }

    /// All placeholders of the scope, for messages to the operator.
    pub(super) fn accepted(self) -> Vec<String> {
        let named = NAMES.iter().filter(|(name, _, group)| self.has(*group) && *name != "null");
        let mut accepted: Vec<String> = named.map(|(name, ..)| format!("${name}")).collect();
        let times = times::all().filter(|(_, group)| self.has(*group));
        accepted.extend(times.map(|(name, _)| format!("${name}")));
        accepted.sort_unstable();
        if self.has(ValueGroup::Request) {
            accepted.push("$request.json.PATH".to_owned());
            accepted.push("$null".to_owned());
        }
        if self.has(ValueGroup::User) {
            accepted.push("$user.claims.NAME".to_owned());
        }
        if self.has(ValueGroup::Config) {
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
            return self.has(ValueGroup::Config).then(|| path(rest))?.map(Placeholder::Config);
        }
        if let Some(rest) = name.strip_prefix("request.") {
            return self
                .has(ValueGroup::Request)
                .then(|| request_place(rest))?
                .map(Placeholder::Request);
        }
        // JSON null is a value everywhere.
        if name == "null" {
            return Some(Placeholder::Named(PlaceholderName::Null));
        }
        if let Some((time, form, group)) = times::find(name) {
            return self.has(group).then_some(Placeholder::Time(time, form));
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

/// The placeholder as it is written, for messages about values that are missing. Times are always
/// there, and values of requests are optional.
impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserClaim(path) => write!(f, "$user.claims.{}", path.join(".")),
            Self::Config(path) => write!(f, "$config.{}", path.join(".")),
            Self::Named(wanted) => {
                let name = NAMES.iter().find(|(_, found, _)| found == wanted);
                write!(f, "${}", name.map_or("?", |(name, ..)| name))
            }
            Self::Time(..) => f.write_str("a time"),
            Self::Request(at) => write!(f, "{at}"),
        }
    }
}

/// The place of a value that the client sent.
fn request_place(name: &str) -> Option<Carrier> {
    let (place, rest) = name.split_once('.')?;
    let member = |kind, path: Option<MemberPath>| Some(Carrier::Member(kind, path?));
    let one_name = || MemberPath::new(vec![rest.to_owned()]);
    match place {
        "json" => member(BodyFormat::Json, MemberPath::parse(rest)),
        "xml" => member(BodyFormat::Xml, MemberPath::parse(rest)),
        "form" => member(BodyFormat::Form, one_name()),
        "multipart" => member(BodyFormat::Multipart, one_name()),
        "query" => Carrier::query(rest.to_owned()).ok(),
        "path" => Carrier::variable(rest.to_owned()).ok(),
        _ => None,
    }
}

// Times are in `times`. `ttl` is a token's lifetime in seconds, from its issue to its end.
names! {
    Common: Dialect = "dialect", Login = "login.name", LoginIssuer = "login.issuer",
        LoginAudience = "login.audience", LoginUrl = "login.url";
    User: UserId = "user.id", Username = "user.name", UserEmail = "user.email",
        UserRoles = "user.roles", UserScopes = "user.scopes";
    RoleNumber: UserRoleNumber = "user.role_number";
    SessionId: SessionId = "session.id";
    SessionKey: SessionKey = "session.key";
    SessionCsrf: SessionCsrf = "session.csrf";
    Access: AccessId = "access.id", AccessTtl = "access.ttl", AccessTtlMs = "access.ttl_ms";
    AccessToken: AccessToken = "access.token";
    Refresh: RefreshId = "refresh.id", RefreshTtl = "refresh.ttl", RefreshTtlMs = "refresh.ttl_ms";
    RefreshToken: RefreshToken = "refresh.token";
    Pending: Ticket = "pending.ticket";
    Request: Null = "null";
    Error: Status = "status", Phrase = "phrase", Title = "title", Detail = "detail", Code = "code",
        Slug = "slug", Path = "path", RequestId = "request_id", Timestamp = "timestamp",
        TimestampMs = "timestamp_ms";
}

/// The time in RFC 3339 form, in UTC, with a numeric offset instead of `Z`: error bodies of Java
/// services have that form, and some clients parse no other.
pub(super) fn with_offset(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}+00:00", text.strip_suffix('Z').unwrap_or(&text))
}
