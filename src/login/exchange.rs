//! A token of another issuer, traded for a session and tokens of ours.
//!
//! Who he is the issuer has said: his `sub` is his name here, his id is made of issuer and `sub`,
//! his roles and scopes are what the issuer's claims map to. The session's source names the
//! issuer. There is nobody to ask about him later, so what is asked at each refresh and review is
//! whether the configuration still takes them. Therefore such a session has a shorter life of its own
//! (`exchange_ttl`), and it ends where the token is logged out that it was traded for.

use serde_json::{Map, Value};

use super::issue::Origin;
use super::{Call, Done, Login, Refused, Services};
use crate::authn::Verified;
use crate::clock::Timestamp;
use crate::config::{self, Audience, Issuer};
use crate::dialect::{Endpoint, Reason};
use crate::identity::{Claims, Subject, UserId};
use crate::secret::{Digest, SecretString};
use crate::session::{Revoke, Session};
use crate::telemetry::audit::AuditEvent;
use crate::telemetry::metrics::LoginResult;
use crate::users::User;

/// Before the issuer's name in a session's source. The name of no `[[users]]` has a colon.
const ISSUER: &str = "issuer:";

/// A login that trades the tokens of an issuer.
#[derive(Debug)]
pub(crate) struct Trade {
    login: String,
    issuer: Issuer,
}

impl Trade {
    /// Every pair of a login and an issuer that it trades with.
    pub(crate) fn all(config: &config::Config) -> Vec<Self> {
        let of_login = |login: &config::Login| {
            let named = config.issuers.iter().filter(|one| login.exchange.contains(&one.name));
            let pair = |issuer: &Issuer| Self { login: login.name.clone(), issuer: issuer.clone() };
            named.map(pair).collect::<Vec<_>>()
        };
        config.logins.iter().flat_map(of_login).collect()
    }

    /// Whether the session's user would still be taken.
    fn takes(&self, session: &Session, now: Timestamp) -> bool {
        let sub = session.username.as_str();
        self.issuer.until.is_none_or(|until| now < until)
            && self.issuer.takes_subject(sub)
            // Under the same name there may be another issuer now.
            && Subject::foreign(&self.issuer.issuer, sub) == session.subject
    }
}

impl Services {
    /// Whether a session that began with a foreign token may go on; `None` where it began with
    /// a password.
    pub(super) fn still_trades(&self, session: &Session, now: Timestamp) -> Option<bool> {
        let issuer = session.source.strip_prefix(ISSUER)?;
        let mut trades = self.trades.iter();
        Some(trades.any(|trade| {
            trade.login == session.login && trade.issuer.name == issuer && trade.takes(session, now)
        }))
    }
}

impl Login {
    /// A foreign token for a session.
    pub(super) async fn exchange(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        token: &SecretString,
    ) -> Result<Done, Refused> {
        let issuers = &self.config.exchange;
        if !self.verifier.may_be_of(token, issuers) {
            let cause = "no token of an issuer that is traded with here";
            return Err(Refused::new(Reason::CredentialMissing, cause));
        }
        let presenter = call.presenter();
        let verified = match self.verifier.prove_of(token, issuers, presenter, call.now).await {
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
        let longest = call.now.plus(self.config.exchange_ttl).whole_secs();
        let until = verified.until.map_or(longest, |until| until.min(longest));
        let origin = Origin::traded(call, verified.digest, until);
        let (session, facts) = self.open_session(call, &user, origin).await?;
        // Its logout, or its user's revocation, may have come while it was being traded.
        if let Err(refusal) = verified.check_ended(self.services.store.revocations(), call.now) {
            self.services.store.revoke(Revoke::Session(session.id), call.now).await?;
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
        Ok(self.answer(endpoint, &facts))
    }
}

/// Whom a foreign token is about, as a user.
fn user_of(verified: &Verified) -> User {
    let identity = &verified.identity;
    let texts = |names: &[std::sync::Arc<str>]| names.iter().map(ToString::to_string).collect();
    // Invariant: a token without `sub` does not verify.
    let sub = identity.claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    User {
        id: UserId::new(identity.subject.as_str()),
        name: sub.to_owned(),
        // An address is only what somebody typed there, and would find one of our own users.
        email: None,
        source: format!("{ISSUER}{}", identity.issuer),
        roles: texts(&identity.roles),
        scopes: texts(&identity.scopes),
        claims: Claims::new(),
        version: Digest::of(identity.subject.as_str().as_bytes()),
    }
}

/// What a login tells of itself: the dialect's `auths`, and one more for each issuer that it
/// trades with, unless the operator has said what to tell.
pub(crate) fn told(login: &config::Login, issuers: &[Issuer]) -> Map<String, Value> {
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
            Audience::OneOf(list) => list.first().map(String::as_str).unwrap_or_default(),
            Audience::Any => "",
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

/// The host of an issuer's address.
fn host_of(issuer: &str) -> &str {
    let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
