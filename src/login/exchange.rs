//! Token exchange: a token of another issuer is traded for a session and tokens of this gateway.
//!
//! The foreign issuer has authenticated the user. The user's name here is the token's `sub`, the id
//! is made of issuer and `sub`, and roles and scopes come from the issuer's claims as configured.
//! The session's source names the issuer.
//!
//! Nobody can be asked about such a user later. Refreshes and reviews therefore only check that the
//! configuration still accepts the issuer and the user. For the same reason the session has a
//! shorter life (`exchange_ttl`), and it ends when the foreign token is logged out.

use serde_json::{Map, Value};

use super::issue::SessionOrigin;
use super::{Login, LoginError, LoginRequest, LoginResponse, LoginServices};
use crate::authn::VerifiedCredential;
use crate::clock::Timestamp;
use crate::dialect::{Endpoint, Reason};
use crate::identity::{Claims, Subject, UserId, UserProfile};
use crate::secret::{Digest, SecretString};
use crate::session::{RevocationTarget, Session};
use crate::settings::{self, AudienceRule, IssuerSettings};
use crate::telemetry::audit::AuditEvent;
use crate::telemetry::metrics::LoginResult;
use crate::users::UserRecord;

/// The prefix of the issuer's name in `Session::source`. It cannot be confused with a `[[users]]`
/// section, whose name never has a colon.
const ISSUER: &str = "issuer:";

/// One login that accepts tokens of one issuer in exchange for a session.
#[derive(Debug)]
pub(crate) struct ExchangeRule {
    login: String,
    issuer: IssuerSettings,
}

impl ExchangeRule {
    /// All pairs of a login and an issuer whose tokens the login exchanges.
    pub(crate) fn all(config: &settings::Config) -> Vec<Self> {
        let of_login = |login: &settings::LoginSettings| {
            let named = config.issuers.iter().filter(|one| login.exchange.contains(&one.name));
            let pair = |issuer: &IssuerSettings| Self {
                login: login.name.clone(),
                issuer: issuer.clone(),
            };
            named.map(pair).collect::<Vec<_>>()
        };
        config.logins.iter().flat_map(of_login).collect()
    }

    /// True if the user of this session would still be accepted under the present configuration.
    fn takes(&self, session: &Session, now: Timestamp) -> bool {
        let sub = session.username.as_str();
        self.issuer.until.is_none_or(|until| now < until)
            && self.issuer.takes_subject(sub)
            // The section may have the same name but another issuer now. The subject is made of
            // both issuer and `sub`, so it shows whether it is still the same issuer.
            && Subject::foreign(&self.issuer.issuer, sub) == session.subject
    }
}

impl LoginServices {
    /// Whether a session that began with a foreign token may go on; `None` for a session that began
    /// with a password.
    pub(super) fn exchange_still_allowed(&self, session: &Session, now: Timestamp) -> Option<bool> {
        let issuer = session.source.strip_prefix(ISSUER)?;
        let mut exchange_rules = self.exchange_rules.iter();
        Some(exchange_rules.any(|trade| {
            trade.login == session.login && trade.issuer.name == issuer && trade.takes(session, now)
        }))
    }
}

impl Login {
    /// Exchanges a foreign token for a session. The token is verified like one on a route, with a
    /// remote check where its issuer demands one.
    pub(super) async fn exchange(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        token: &SecretString,
    ) -> Result<LoginResponse, LoginError> {
        let issuers = &self.config.exchange;
        if !self.verifier.may_be_of(token, issuers) {
            let cause = "no token of an issuer whose tokens this login exchanges";
            return Err(LoginError::new(Reason::CredentialMissing, cause));
        }
        let presenter = call.presenter();
        let verified =
            match self.verifier.verify_for_exchange(token, issuers, presenter, call.now).await {
                Ok(verified) => verified,
                Err(refusal) if refusal.reason == Reason::Unavailable => {
                    self.count_login(LoginResult::Unavailable);
                    return Err(refusal.into());
                }
                Err(refusal) => {
                    self.count_login(LoginResult::Failed);
                    self.audit(call, AuditEvent::LoginFailed { name: "-", cause: refusal.cause });
                    return Err(refusal.into());
                }
            };
        let user = user_of(&verified);
        // The session ends after `exchange_ttl`, and no later than the configuration stops to
        // accept the issuer (`until`). It may outlive the foreign token itself.
        let longest = call.now.plus(self.config.exchange_ttl).whole_secs();
        let until = verified.until().map_or(longest, |until| until.min(longest));
        let origin = SessionOrigin::traded(call, verified.digest, until);
        let (session, facts) = self.open_session(call, &user.into(), origin).await?;
        // A logout of the foreign token, or a revocation of its user, may have happened while it
        // was exchanged. If it happened before the session was stored, it did not find the session;
        // therefore the revocations are read again, after the session is stored.
        if let Err(refusal) = verified.check_ended(self.services.store.revocations(), call.now) {
            self.services.store.revoke(RevocationTarget::Session(session.id), call.now).await?;
            return Err(refusal.into());
        }
        self.audit(
            call,
            AuditEvent::Exchanged {
                subject: &session.subject,
                name: &session.username,
                issuer: &verified.identity.issuer,
                session: session.id,
            },
        );
        Ok(self.answer(endpoint, call, facts))
    }
}

/// The user that a foreign token describes.
fn user_of(verified: &VerifiedCredential) -> UserRecord {
    let identity = &verified.identity;
    let texts = |names: &[std::sync::Arc<str>]| names.iter().map(ToString::to_string).collect();
    // Invariant: a token without `sub` is not accepted by the verifier.
    let sub = identity.claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    UserRecord {
        id: UserId::new(identity.subject.as_str()),
        source: format!("{ISSUER}{}", identity.issuer),
        profile: UserProfile {
            name: sub.to_owned(),
            // An e-mail address in a foreign token is whatever somebody entered at that issuer. It
            // must not lead to one of our own users.
            email: None,
            roles: texts(&identity.roles),
            scopes: texts(&identity.scopes),
            claims: Claims::new(),
        },
        version: Digest::of(identity.subject.as_str().as_bytes()),
    }
}

/// The facts that a login tells about itself: the dialect's `auths`, with one entry more for each
/// issuer whose tokens it exchanges. Where the operator has set `auths`, that value is told
/// instead.
pub(crate) fn exchange_values(
    login: &settings::LoginSettings,
    issuers: &[IssuerSettings],
) -> Map<String, Value> {
    let mut about = login.about.clone();
    let defaults = &login.dialect.config;
    let (Some(form), Some(Value::Array(auths)), false) = (
        defaults.get("auth_of_issuer").and_then(Value::as_str),
        defaults.get("auths"),
        about.contains_key("auths"),
    ) else {
        return about;
    };
    let named =
        login.exchange.iter().filter_map(|name| issuers.iter().find(|one| one.name == *name));
    let more = named.map(|issuer| {
        let audience = match &issuer.audience {
            AudienceRule::OneOf(list) => list.first().map(String::as_str).unwrap_or_default(),
            AudienceRule::Any => "",
        };
        let entry = form
            .replace("$domain", host_of(&issuer.issuer))
            .replace("$audience", audience)
            .replace("$client_id", issuer.client_id.as_deref().unwrap_or_default());
        Value::from(entry)
    });
    let auths = auths.iter().cloned().chain(more).collect();
    about.insert("auths".to_owned(), Value::Array(auths));
    about
}

/// The host part of an issuer's URL.
fn host_of(issuer: &str) -> &str {
    let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
