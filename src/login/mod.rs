//! The steps of a login (password, code, exchange, refresh, logout, and questions about tokens),
//! whatever the wire format is.
//!
//! A dialect describes how requests and answers look; this module does the work, once for all
//! dialects. Each step runs from start to end on the background runtime, with a body that was read
//! before. `pipeline` calls `Login::handle` and `LoginServices`; `server` and `admin` call the
//! reviews and `mint`.
//!
//! Nothing here knows of routes, and no step is answered before the store has made its result
//! durable.

mod account;
mod attempts;
mod basic;
mod code;
mod csrf;
mod exchange;
mod in_effect;
mod introspect;
mod issue;
mod logout;
#[cfg(feature = "mail")]
mod mail;
mod password;
mod password_cache;
mod program;
mod refresh;
mod revalidation;
mod second_step;
mod totp;
#[cfg(not(feature = "mail"))]
mod without_mail;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::request::Parts;

use crate::admission::{FailedAttempts, WorkLimitError};
use crate::authn::{ApiKeyVerifier, OwnEndpoint, RequestClient, TokenError, Verifier};
use crate::client::{Client, address_group};
use crate::clock::Timestamp;
use crate::dialect::client::RemoteTokens;
use crate::dialect::{
    Endpoint, EndpointStep, ErrorFormat, LocalResponse, PresentedCredential, Reason, RequestValues,
    TemplateValues, TokenUse, server,
};
use crate::identity::{SessionId, Subject};
use crate::runtime::WorkKind;
use crate::session::{OpenStreams, Store, StoreError};
use crate::settings;
use crate::telemetry::audit::{AuditActor, AuditEvent, AuditLog};
use crate::telemetry::metrics::{LoginResult, Metrics, RefreshResult};
use crate::throttle::RateCounters;
use crate::token::{self, KeyRing};
use crate::users::{LegacySessions, SourceError, UserRecord, UserSources};

pub(crate) use self::basic::BasicCall;
pub(crate) use self::exchange::{ExchangeRule, exchange_values};
pub(crate) use self::in_effect::ServicesInEffect;
#[cfg(feature = "mail")]
pub(crate) use self::mail::{CodeMailer, MailError};
pub(crate) use self::password_cache::PasswordCache;
pub(crate) use self::revalidation::{RevalidationReport, review_sessions};
pub(crate) use self::totp::{new_totp, totp_address};
#[cfg(not(feature = "mail"))]
pub(crate) use self::without_mail::{CodeMailer, MailError};

/// The services that all logins of a gateway share. They live as long as one generation of the
/// configuration; `users` and `store` may outlive it.
#[derive(Debug)]
pub(crate) struct LoginServices {
    pub(crate) users: Arc<UserSources>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) streams: OpenStreams,
    pub(crate) audit: AuditLog,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: settings::LoginLimits,
    /// Failed attempts by client address, in memory. The store has the counts by account.
    pub(crate) attempts: Arc<FailedAttempts>,
    /// Wrong secrets of calling programs by client address. Apart from `attempts`: users who mistype
    /// their passwords must not keep a program behind their address from refreshing its tokens.
    pub(crate) program_attempts: Arc<FailedAttempts>,
    pub(crate) mailer: Option<CodeMailer>,
    pub(crate) exchange_rules: Vec<ExchangeRule>,
    /// Passwords that were verified within the last minute, for Basic authentication.
    pub(crate) password_cache: Arc<PasswordCache>,
    pub(crate) api_keys: Arc<ApiKeyVerifier>,
    /// The number of this generation. No other of this process has it.
    pub(crate) number: u64,
    pub(crate) in_effect: Arc<ServicesInEffect>,
    /// Counts the sessions that each user begins, for the limit of new sessions.
    /// Handed on by a reload if the limit stays the same.
    pub(crate) begun: Arc<RateCounters>,
    /// The users' sessions at legacy systems; `None` if no source keeps any.
    pub(crate) legacy: Option<Arc<LegacySessions>>,
}

/// One `[[login]]` section of the configuration, ready to handle requests. Made by `gateway`; a
/// reload makes a new one.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) config: settings::LoginSettings,
    pub(crate) services: Arc<LoginServices>,
    pub(crate) verifier: Arc<Verifier>,
}

/// A request for one of a login's endpoints. Its body has been read and bounded before, so that a
/// slow client does not occupy the background runtime.
#[derive(Debug)]
pub(crate) struct LoginRequest {
    /// Index of the endpoint in the dialect.
    pub(crate) endpoint: usize,
    /// The variables of its path with their values.
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    pub(crate) client: Arc<Client>,
    pub(crate) request_id: String,
    /// The id of the calling program, once it has proved itself; `None` where none is demanded.
    pub(crate) program: Option<String>,
    /// True for a peer whose address many clients share. Its attempts are not counted by address,
    /// because a limit would hit all of those clients.
    pub(crate) shared_address: bool,
    pub(crate) now: Timestamp,
}

/// A refused step. `reason` decides the answer to the client, `cause` goes to the log only: it may
/// say more than the client should learn.
#[derive(Clone, Debug)]
pub(crate) struct LoginError {
    pub(crate) reason: Reason,
    pub(crate) cause: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
}

/// A user who has proved who they are, and what the legacy system gave for their password.
#[derive(Debug)]
pub(crate) struct ProvenUser {
    pub(crate) user: UserRecord,
    /// `None` if nothing is kept.
    pub(crate) legacy: Option<Box<RemoteTokens>>,
}

impl From<UserRecord> for ProvenUser {
    fn from(user: UserRecord) -> Self {
        Self { user, legacy: None }
    }
}

/// A step that succeeded: the answer, and the user and session for the access log.
#[derive(Debug)]
pub(crate) struct LoginResponse {
    pub(crate) answer: LocalResponse,
    pub(crate) subject: Option<String>,
    pub(crate) session: Option<SessionId>,
}

impl LoginError {
    fn new(reason: Reason, cause: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, cause: cause.into(), retry_after: None }
    }
}

impl From<Reason> for LoginError {
    fn from(reason: Reason) -> Self {
        Self::new(reason, reason.code())
    }
}

impl From<StoreError> for LoginError {
    fn from(error: StoreError) -> Self {
        // A store whose queue is full or that is being opened again is back soon. A store that was
        // closed belongs to a gateway that was replaced; the next request reaches the new one.
        let retry_after = Some(Duration::from_secs(1));
        Self { retry_after, ..Self::new(Reason::Unavailable, error.to_string()) }
    }
}

impl From<MailError> for LoginError {
    fn from(error: MailError) -> Self {
        let cause = std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        Self::new(Reason::Unavailable, cause)
    }
}

impl From<TokenError> for LoginError {
    fn from(refusal: TokenError) -> Self {
        Self::new(refusal.reason, refusal.cause)
    }
}

impl From<SourceError> for LoginError {
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
                    WorkLimitError::Share { .. } => Reason::TooManyAttempts,
                    WorkLimitError::Full { .. } => Reason::Unavailable,
                };
                let retry_after = Some(Duration::from_secs(1));
                Self { retry_after, ..Self::new(reason, error.to_string()) }
            }
        }
    }
}

impl LoginServices {
    /// The user's subject: the id under which everything but the user source knows the user.
    pub(crate) fn subject(&self, user: &UserRecord) -> Subject {
        self.users.subject(&user.source, &user.id)
    }
}

impl Login {
    /// Carries out the step of the endpoint.
    ///
    /// The order matters: the tenant is checked before the credential is read, so that an unknown
    /// tenant learns nothing about users. Introspection and revocation authenticate their caller
    /// first, and only then read the token in question.
    pub(crate) async fn handle(
        self: Arc<Self>,
        mut call: LoginRequest,
    ) -> Result<LoginResponse, LoginError> {
        let endpoint = self.endpoint(call.endpoint)?;
        if endpoint.step == EndpointStep::Answer {
            return Ok(self.answer(endpoint, &call, self.facts(call.now)));
        }
        self.check_tenant(&call)?;
        match endpoint.step {
            EndpointStep::Introspect => return self.introspect(endpoint, &call).await,
            EndpointStep::Revoke => return self.revoke_token(endpoint, &call).await,
            _ => {}
        }
        call.program = self.verified_program(endpoint, &call)?;
        let presented = server::read(endpoint, &call.head, &call.variables, &call.body)?;
        match (endpoint.step, presented) {
            (EndpointStep::Login, PresentedCredential::Password { name, password, code }) => {
                self.log_in(endpoint, &call, &name, &password, code.as_ref()).await
            }
            (
                EndpointStep::Login,
                PresentedCredential::Token { token, purpose: TokenUse::Renew },
            ) => self.renew(endpoint, &call, &token).await,
            (
                EndpointStep::Login,
                PresentedCredential::Token { token, purpose: TokenUse::Extend },
            ) => self.extend(endpoint, &call, &token).await,
            (EndpointStep::VerifyCode, PresentedCredential::Code { name, code, ticket }) => {
                self.verify_code(endpoint, &call, &name, &code, ticket.as_ref()).await
            }
            (
                EndpointStep::Refresh,
                PresentedCredential::Token { token, purpose: TokenUse::Refresh },
            ) => self.refresh(endpoint, &call, &token).await,
            (EndpointStep::Logout | EndpointStep::LogoutAll, presented) => {
                self.log_out(endpoint, &call, presented).await
            }
            (EndpointStep::Session, presented) => {
                self.session_info(endpoint, &call, presented).await
            }
            (
                EndpointStep::Login,
                PresentedCredential::Token { token, purpose: TokenUse::Exchange },
            ) => self.exchange(endpoint, &call, &token).await,
            (_, _) => Err(LoginError::new(Reason::MalformedRequest, "credential of another step")),
        }
    }

    /// The kind of work that the request means for the background runtime, judged by its head.
    ///
    /// Each kind has its own bound on parallel requests. A step that may turn out to verify a
    /// password counts as password work: else a client could send a token in the head and a
    /// password in the body, and its guesses would take the places of clients that are logged in
    /// already.
    pub(crate) fn work(&self, endpoint: usize, head: &Parts) -> WorkKind {
        // Which of several endpoints with one path it is, only the body tells. Until it is read,
        // nothing is worked at.
        if self.is_chosen_by_body(endpoint) {
            return WorkKind::Token;
        }
        self.work_at(endpoint, head)
    }

    /// The kind of work that this very endpoint means; see `work`.
    pub(crate) fn work_at(&self, endpoint: usize, head: &Parts) -> WorkKind {
        let Some(endpoint) = self.config.dialect.endpoints.get(endpoint) else {
            return WorkKind::Token;
        };
        match endpoint.step {
            EndpointStep::Login if !server::renews(endpoint, head) => WorkKind::Password,
            EndpointStep::VerifyCode => WorkKind::Password,
            _ => WorkKind::Token,
        }
    }

    /// True if the path of this endpoint has several.
    pub(crate) fn is_chosen_by_body(&self, endpoint: usize) -> bool {
        let mut siblings = self.config.dialect.siblings(endpoint);
        let first = siblings.next();
        first.is_some_and(|(_, one)| one.hands_on) || siblings.next().is_some()
    }

    /// The path of an endpoint for logs, where requests have a secret in it.
    pub(crate) fn masked_path(&self, endpoint: usize) -> Option<Uri> {
        let secret = self.config.dialect.siblings(endpoint).find_map(|(_, one)| one.masked_path());
        format!("{}{}", self.config.prefix, secret?).parse().ok()
    }

    /// True if this endpoint answers only requests without a valid token.
    pub(crate) fn answers_strangers(&self, endpoint: usize) -> bool {
        self.config.dialect.endpoints.get(endpoint).is_some_and(Endpoint::answers_strangers)
    }

    /// The values that the variables in the path of an endpoint have in a request with this path.
    pub(crate) fn variables(&self, endpoint: usize, path: &str) -> Vec<(String, String)> {
        let Some(endpoint) = self.config.dialect.endpoints.get(endpoint) else { return Vec::new() };
        if endpoint.path.is_fixed() {
            return Vec::new();
        }
        let below = path.strip_prefix(self.config.prefix.as_str()).unwrap_or(path);
        endpoint.path.matches(below).unwrap_or_default()
    }

    /// Of the endpoints with the path of this one, the one that the request is for; `None` if it is
    /// for a route.
    ///
    /// # Errors
    /// None of them takes such a request.
    pub(crate) fn choose(&self, call: &LoginRequest) -> Result<Option<usize>, Reason> {
        let dialect = &self.config.dialect;
        server::choose(dialect, call.endpoint, &call.head, &call.variables, &call.body)
    }

    /// The form of this endpoint's error answers. An endpoint that the dialect does not have gets
    /// the dialect's common form.
    pub(crate) fn errors(&self, endpoint: usize) -> &Arc<ErrorFormat> {
        self.config
            .dialect
            .endpoints
            .get(endpoint)
            .map_or(&self.config.dialect.errors, |e| &e.errors)
    }

    fn endpoint(&self, number: usize) -> Result<&Endpoint, LoginError> {
        self.config
            .dialect
            .endpoints
            .get(number)
            .ok_or_else(|| LoginError::new(Reason::Internal, "no such endpoint"))
    }

    /// Checks the headers `x-killbill-apikey` and `x-killbill-apisecret`, where the login lists
    /// tenants: they must be the pair of one tenant.
    fn check_tenant(&self, call: &LoginRequest) -> Result<(), LoginError> {
        if self.config.tenants.is_empty() {
            return Ok(());
        }
        let header = |name: &str| call.head.headers.get(name).map_or(&b""[..], |v| v.as_bytes());
        let key = header("x-killbill-apikey");
        let secret = header("x-killbill-apisecret");
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
            .ok_or_else(|| LoginError::new(Reason::InvalidCredentials, "unknown tenant"))
    }

    /// The values for answers that are known before the step begins.
    fn facts(&self, now: Timestamp) -> TemplateValues {
        token::login_facts(&self.config, now)
    }

    /// The values of the request that the answers of an endpoint may show.
    fn shown(&self, endpoint: &Endpoint, call: &LoginRequest) -> RequestValues {
        server::shown(endpoint, &call.head, &call.variables, &call.body)
    }

    /// The values of a request that an error may show.
    pub(crate) fn shown_in_errors(&self, call: &LoginRequest) -> RequestValues {
        let endpoint = self.config.dialect.endpoints.get(call.endpoint);
        let shows = endpoint.filter(|endpoint| endpoint.shows_in_errors());
        shows.map(|endpoint| self.shown(endpoint, call)).unwrap_or_default()
    }

    fn answer(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        mut facts: TemplateValues,
    ) -> LoginResponse {
        facts.request = self.shown(endpoint, call);
        LoginResponse {
            answer: server::render(&endpoint.reply, &facts, &self.config.dialect),
            subject: facts.user.map(|user| user.id),
            session: facts.session.and_then(|session| SessionId::parse(&session.id)),
        }
    }

    /// This login and the client, for verifying a token that the client presents.
    fn own_endpoint<'a>(&'a self, call: &'a LoginRequest) -> OwnEndpoint<'a> {
        OwnEndpoint { login: &self.config.name, presenter: call.presenter() }
    }

    fn actor<'a>(&'a self, call: &'a LoginRequest) -> AuditActor<'a> {
        AuditActor {
            address: call.client.address,
            request_id: &call.request_id,
            login: &self.config.name,
            operator: None,
        }
    }

    fn audit(&self, call: &LoginRequest, event: AuditEvent<'_>) {
        self.services.audit.write(call.now, &self.actor(call), &event);
    }

    /// Ends the streams of sessions that have ended: tunnels and long responses. The sessions are
    /// revoked in the store before, see `session::OpenStreams`.
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

impl LoginRequest {
    fn presenter(&self) -> RequestClient<'_> {
        let certificate = self.client.certificate_print(self.now);
        RequestClient { certificate, origin: self.address_group() }
    }

    /// The address group that attempts of this client are counted for; `None` where addresses are
    /// not counted.
    fn address_group(&self) -> Option<std::net::IpAddr> {
        if self.shared_address { None } else { self.client.address.map(address_group) }
    }
}
