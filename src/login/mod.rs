//! The steps of a login (password, code, exchange, refresh, logout, and questions about tokens),
//! whatever the wire format is.
//!
//! A dialect describes how requests and answers look; this module does the work, once for all
//! dialects. Each step runs from start to end on the background runtime, with a body that was read
//! before. `pipeline` calls `Login::handle` and `Services`; `server` and `admin` call the reviews
//! and `mint`.
//!
//! Nothing here knows of routes, and no step is answered before the store has made its result
//! durable.

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

/// The services that all logins of a gateway share. They live as long as one generation of the
/// configuration; `users` and `store` may outlive it.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) users: Arc<Users>,
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) streams: Streams,
    pub(crate) audit: AuditLog,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: config::LoginLimits,
    /// Failed attempts by client address, in memory. The store has the counts by account.
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) mailer: Option<Mailer>,
    pub(crate) trades: Vec<Trade>,
    /// Passwords that were verified within the last minute, for Basic authentication.
    pub(crate) proofs: Arc<Proofs>,
    pub(crate) api_keys: Arc<ApiKeys>,
    /// Counts the sessions that each user begins, for the limit of new sessions.
    pub(crate) begun: Counters,
}

/// One `[[login]]` section of the configuration, ready to handle requests. Made by `gateway`; a
/// reload makes a new one.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) config: config::Login,
    pub(crate) services: Arc<Services>,
    pub(crate) verifier: Arc<Verifier>,
}

/// A request for one of a login's endpoints. Its body has been read and bounded before, so that a
/// slow client does not occupy the background runtime.
#[derive(Debug)]
pub(crate) struct Call {
    /// Index of the endpoint in the dialect.
    pub(crate) endpoint: usize,
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    pub(crate) client: Arc<Client>,
    pub(crate) request_id: String,
    /// True for a peer whose address many clients share. Its attempts are not counted by address,
    /// because a limit would hit all of those clients.
    pub(crate) shared_address: bool,
    pub(crate) now: Timestamp,
}

/// A refused step. `reason` decides the answer to the client, `cause` goes to the log only: it may
/// say more than the client should learn.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    pub(crate) cause: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
}

/// A step that succeeded: the answer, and the user and session for the access log.
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
        // A store whose queue is full or that is being opened again is back soon. A store that was
        // closed belongs to a gateway that was replaced; the next request reaches the new one.
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
            // The queue of passwords to be hashed is full. One second is longer than a hash takes,
            // so there will be room then.
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
    /// The user's subject: the id under which everything but the user source knows the user.
    pub(crate) fn subject(&self, user: &User) -> Subject {
        self.users.subject(&user.source, &user.id)
    }
}

impl Login {
    /// Carries out the step of the endpoint.
    ///
    /// The order matters: the tenant is checked before the credential is read, so that an unknown
    /// tenant learns nothing about users. Introspection and revocation authenticate their caller
    /// first, and only then read the token in question.
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

    /// The kind of work that the request means for the background runtime, judged by its head.
    ///
    /// Each kind has its own bound on parallel requests. A step that may turn out to verify a
    /// password counts as password work: else a client could send a token in the head and a
    /// password in the body, and its guesses would take the places of clients that are logged in
    /// already.
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

    /// The form of this endpoint's error answers. An endpoint that the dialect does not have gets
    /// the dialect's common form.
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

    /// Checks the headers `x-killbill-apikey` and `x-killbill-apisecret`, where the login lists
    /// tenants: they must be the pair of one tenant.
    fn check_tenant(&self, call: &Call) -> Result<(), Refused> {
        if self.config.tenants.is_empty() {
            return Ok(());
        }
        let header = |name: &str| call.head.headers.get(name).map_or(&b""[..], |v| v.as_bytes());
        let (key, secret) = (header("x-killbill-apikey"), header("x-killbill-apisecret"));
        // Every pair is compared, and in constant time: the time of the answer must not tell which
        // key exists.
        let known = self.config.tenants.iter().fold(false, |known, tenant| {
            let key = crate::secret::equal(key, tenant.api_key.as_bytes());
            let secret = crate::secret::equal(secret, tenant.api_secret.expose().as_bytes());
            // `|` and `&` evaluate both sides; `||` and `&&` would stop early and take less time.
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
            operator: None,
        }
    }

    fn audit(&self, call: &Call, event: AuditEvent<'_>) {
        self.services.audit.write(call.now, &self.actor(call), &event);
    }

    /// Ends the streams of sessions that have ended: tunnels and long responses. The sessions are
    /// revoked in the store before, see `session::Streams`.
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

    /// The address group that attempts of this client are counted for; `None` where addresses are
    /// not counted.
    fn address_group(&self) -> Option<std::net::IpAddr> {
        if self.shared_address { None } else { self.client.address.map(address_group) }
    }
}
