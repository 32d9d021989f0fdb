//! The steps of a login (password, code, exchange, refresh, logout, and questions about them),
//! whatever the format.
//!
//! A dialect says how requests and answers look; this module does the work once. Every step runs
//! whole in the back room, on a body that was already read. Nothing here knows of routes, and
//! nothing is answered before the store has made it durable.

mod attempts;
mod basic;
mod code;
mod exchange;
mod introspect;
mod issue;
mod logout;
mod mail;
mod password;
mod proofs;
mod refresh;
mod review;
mod second_step;
mod totp;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;

use crate::admission::{Attempts, NoPlace};
use crate::authn::{ApiKeys, Presenter, Refusal, Verifier};
use crate::client::{Client, address_group};
use crate::clock::Timestamp;
use crate::config;
use crate::dialect::{
    Answer, BearerUse, Endpoint, ErrorForm, Facts, LoginFacts, Presented, Reason, Step, serve,
};
use crate::identity::{SessionId, Subject};
use crate::runtime::Work;
use crate::session::{SessionStore, StoreError, Streams};
use crate::telemetry::audit::{Actor, AuditEvent, AuditLog};
use crate::telemetry::metrics::{LoginResult, Metrics, RefreshResult};
use crate::throttle::Counters;
use crate::token::KeyRing;
use crate::users::{SourceError, User, Users};

pub(crate) use self::basic::BasicCall;
pub(crate) use self::exchange::{Trade, told};
pub(crate) use self::mail::{MailError, Mailer};
pub(crate) use self::proofs::Proofs;
pub(crate) use self::review::{Reviewed, review_sessions};
pub(crate) use self::totp::{new_totp, totp_address};

/// What every login of a gateway works with.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) users: Arc<Users>,
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) streams: Streams,
    pub(crate) audit: AuditLog,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: config::LoginLimits,
    /// What addresses have failed lately.
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) mailer: Option<Mailer>,
    pub(crate) trades: Vec<Trade>,
    /// Passwords that were right a moment ago.
    pub(crate) proofs: Arc<Proofs>,
    pub(crate) api_keys: Arc<ApiKeys>,
    /// Sessions that users have begun.
    pub(crate) begun: Counters,
}

/// One `[[login]]` at work.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) config: config::Login,
    pub(crate) services: Arc<Services>,
    pub(crate) verifier: Arc<Verifier>,
}

/// A request for one of a login's endpoints, its body read.
#[derive(Debug)]
pub(crate) struct Call {
    /// Number of the endpoint in the dialect.
    pub(crate) endpoint: usize,
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    pub(crate) client: Arc<Client>,
    pub(crate) request_id: String,
    /// Peers that many clients share are not counted by address.
    pub(crate) shared_address: bool,
    pub(crate) now: Timestamp,
}

/// A step did not succeed.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    pub(crate) cause: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
}

/// What a step did, for the access log.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) answer: Answer,
    pub(crate) subject: Option<String>,
    pub(crate) session: Option<SessionId>,
}

impl Refused {
    fn new(reason: Reason, cause: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, cause: cause.into(), retry_after: None }
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::new(reason, reason.code())
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        // A store that is full or being opened anew is back soon; one that was given up is at
        // work in the next gateway already.
        let retry_after = Some(Duration::from_secs(1));
        Self { retry_after, ..Self::new(Reason::Unavailable, error.to_string()) }
    }
}

impl From<MailError> for Refused {
    fn from(error: MailError) -> Self {
        let cause = std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        Self::new(Reason::Unavailable, cause)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.reason, refusal.cause)
    }
}

impl From<SourceError> for Refused {
    fn from(error: SourceError) -> Self {
        match &error {
            SourceError::Unavailable { .. } => Self::new(Reason::Unavailable, error.to_string()),
            // The queue is as long as it may be; a second is more than a hash takes.
            SourceError::Busy { .. } => Self {
                retry_after: Some(Duration::from_secs(1)),
                ..Self::new(Reason::TooManyAttempts, error.to_string())
            },
            SourceError::NoPlace { none, .. } => {
                let reason = match none {
                    NoPlace::Share { .. } => Reason::TooManyAttempts,
                    NoPlace::Full { .. } => Reason::Unavailable,
                };
                let retry_after = Some(Duration::from_secs(1));
                Self { retry_after, ..Self::new(reason, error.to_string()) }
            }
        }
    }
}

impl Services {
    /// Who a user is to everybody but the user's source.
    pub(crate) fn subject(&self, user: &User) -> Subject {
        self.users.subject(&user.source, &user.id)
    }
}

impl Login {
    /// Carries out the endpoint's step.
    pub(crate) async fn handle(self: Arc<Self>, call: Call) -> Result<Done, Refused> {
        let endpoint = self.endpoint(call.endpoint)?;
        if endpoint.step == Step::Answer {
            return Ok(self.answer(endpoint, &self.facts(call.now)));
        }
        self.check_tenant(&call)?;
        match endpoint.step {
            Step::Introspect => return self.introspect(endpoint, &call).await,
            Step::Revoke => return self.revoke_token(endpoint, &call).await,
            _ => {}
        }
        let presented = serve::read(endpoint, &call.head, &call.body)?;
        match (endpoint.step, presented) {
            (Step::Login, Presented::Password { name, password }) => {
                self.log_in(endpoint, &call, &name, &password).await
            }
            (Step::Login, Presented::Token { token, purpose: BearerUse::Renew }) => {
                self.renew(endpoint, &call, &token).await
            }
            (Step::VerifyCode, Presented::Code { name, code, ticket }) => {
                self.verify_code(endpoint, &call, &name, (&code, ticket.as_ref())).await
            }
            (Step::Refresh, Presented::Token { token, purpose: BearerUse::Refresh }) => {
                self.refresh(endpoint, &call, &token).await
            }
            (Step::Logout | Step::LogoutAll, presented) => {
                self.log_out(endpoint, &call, presented).await
            }
            (Step::Session, presented) => self.tell_session(endpoint, &call, presented).await,
            (Step::Login, Presented::Token { token, purpose: BearerUse::Exchange }) => {
                self.exchange(endpoint, &call, &token).await
            }
            (_, _) => Err(Refused::new(Reason::MalformedRequest, "credential of another step")),
        }
    }

    /// What kind of work the request is, as far as its head tells.
    ///
    /// A step that may turn out to look at a password is one that does: else a token beside a
    /// password in the body would let guesses in by the door of those who are in already.
    pub(crate) fn work(&self, endpoint: usize, head: &Parts) -> Work {
        let Some(endpoint) = self.config.dialect.endpoints.get(endpoint) else {
            return Work::Token;
        };
        match endpoint.step {
            Step::Login if !serve::renews(endpoint, head) => Work::Password,
            Step::VerifyCode => Work::Password,
            _ => Work::Token,
        }
    }

    /// The form of this endpoint's errors.
    pub(crate) fn errors(&self, endpoint: usize) -> &Arc<ErrorForm> {
        self.config
            .dialect
            .endpoints
            .get(endpoint)
            .map_or(&self.config.dialect.errors, |e| &e.errors)
    }

    fn endpoint(&self, number: usize) -> Result<&Endpoint, Refused> {
        self.config
            .dialect
            .endpoints
            .get(number)
            .ok_or_else(|| Refused::new(Reason::Internal, "no such endpoint"))
    }

    /// Where the login lists tenants, the two headers must be one of its pairs.
    fn check_tenant(&self, call: &Call) -> Result<(), Refused> {
        if self.config.tenants.is_empty() {
            return Ok(());
        }
        let header = |name: &str| call.head.headers.get(name).map_or(&b""[..], |v| v.as_bytes());
        let (key, secret) = (header("x-killbill-apikey"), header("x-killbill-apisecret"));
        // Every pair is compared, so that the time does not tell which key exists.
        let known = self.config.tenants.iter().fold(false, |known, tenant| {
            let key = crate::secret::equal(key, tenant.api_key.as_bytes());
            let secret = crate::secret::equal(secret, tenant.api_secret.expose().as_bytes());
            known | (key & secret)
        });
        known
            .then_some(())
            .ok_or_else(|| Refused::new(Reason::InvalidCredentials, "unknown tenant"))
    }

    fn facts(&self, now: Timestamp) -> Facts {
        Facts {
            now,
            login: LoginFacts {
                name: self.config.name.clone(),
                issuer: self.config.issuer.clone(),
                audience: self.config.audience.clone(),
                about: self.config.about.clone(),
            },
            ..Facts::default()
        }
    }

    fn answer(&self, endpoint: &Endpoint, facts: &Facts) -> Done {
        Done {
            answer: serve::render(&endpoint.reply, facts, &self.config.dialect),
            subject: facts.user.as_ref().map(|user| user.id.clone()),
            session: facts.session.as_ref().and_then(|session| SessionId::parse(&session.id)),
        }
    }

    fn actor<'a>(&'a self, call: &'a Call) -> Actor<'a> {
        Actor {
            address: call.client.address,
            request_id: &call.request_id,
            login: &self.config.name,
        }
    }

    fn audit(&self, call: &Call, event: AuditEvent<'_>) {
        self.services.audit.write(call.now, &self.actor(call), &event);
    }

    /// A session ended: nothing of it stays open.
    fn end_streams(&self, ended: &[SessionId]) {
        for session in ended {
            self.services.streams.end(*session);
        }
    }

    fn count_login(&self, result: LoginResult) {
        self.services.metrics.login(&self.config.name, result);
    }

    fn count_refresh(&self, result: RefreshResult) {
        self.services.metrics.refresh(result);
    }
}

impl Call {
    fn presenter(&self) -> Presenter<'_> {
        let certificate = self.client.certificate_print(self.now);
        Presenter { certificate, origin: self.address_group() }
    }

    /// The group of addresses that attempts from here are counted for.
    fn address_group(&self) -> Option<std::net::IpAddr> {
        if self.shared_address { None } else { self.client.address.map(address_group) }
    }
}
