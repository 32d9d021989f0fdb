//! The gateway's own login at an upstream, as a client of the upstream's login dialect.
//!
//! Tokens are kept until shortly before they end, then refreshed if the dialect can, else a new
//! login is made. Single flight: however many requests wait, one login is under way. After a failed
//! login there is a pause, so that a wrong password does not lock the account and a flood of
//! requests does not keep a failing system down. It runs on the background runtime; `credential` is
//! the caller.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::header::HeaderMap;
use http::{StatusCode, Uri};
use tokio::sync::Mutex;

use crate::clock::Timestamp;
use crate::dialect::Dialect;
use crate::dialect::client::{
    self, CallCredential, CallRefusal, ClientRequest, DialectClient, LoginOutcome, ReceivedAnswer,
    RemoteTokens, ResponseValues,
};
use crate::outbound::{OutboundClient, OutboundOptions};
use crate::settings::UpstreamLogin;
use crate::tls_roots::TrustError;
use crate::upstream::error::LoginFailed;

/// How long before their end tokens are renewed. It is longer than a request needs to arrive.
const AHEAD: Duration = Duration::from_secs(10);
/// For so long a new login is considered valid, whatever the upstream answers.
const YOUNG: Duration = Duration::from_secs(1);
/// Pause after a login that failed for technical reasons.
const PAUSE: Duration = Duration::from_secs(2);
/// Pause after a refusal. More frequent attempts with a wrong password would lock the account.
const PAUSE_REFUSED: Duration = Duration::from_secs(60);

/// The state of the gateway's login at one upstream.
#[derive(Debug)]
pub(in crate::upstream) struct UpstreamLoginClient {
    settings: UpstreamLogin,
    base: Uri,
    outbound: OutboundClient,
    session: ArcSwapOption<UpstreamSession>,
    /// Locked while a login is under way. Everyone who waited for the lock finds its result.
    flight: Mutex<LoginFlight>,
}

/// The number of the last login, and the failure that has not passed its pause yet.
#[derive(Debug, Default)]
struct LoginFlight {
    number: u64,
    failed: Option<(LoginFailed, Timestamp)>,
}

/// The result of a login.
#[derive(Debug)]
pub(in crate::upstream) struct UpstreamSession {
    pub(in crate::upstream) credential: CallCredential,
    /// The number of the login. A request that was refused with an older one finds a newer one and
    /// needs no login of its own.
    number: u64,
    made: Timestamp,
    tokens: RemoteTokens,
}

impl UpstreamLoginClient {
    /// Prepares a login. `ca` has the certificate authorities for the upstream's TLS servers.
    ///
    /// # Errors
    /// The certificate authorities cannot be loaded.
    pub(super) fn new(settings: &UpstreamLogin, ca: Option<&str>) -> Result<Self, TrustError> {
        let options = OutboundOptions {
            ca: ca.map(str::to_owned),
            largest: client::LONGEST_ANSWER,
            ..OutboundOptions::default()
        };
        Ok(Self {
            settings: settings.clone(),
            base: settings.url.clone(),
            outbound: OutboundClient::new(&options)?,
            session: ArcSwapOption::empty(),
            flight: Mutex::default(),
        })
    }

    fn speaker(&self) -> DialectClient<'_> {
        DialectClient::new(&self.settings.dialect, self.settings.client.as_ref())
    }

    /// True if this is the head of an answer to a call whose login has ended, as far as can be seen.
    pub(in crate::upstream) fn is_refusal(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        CallRefusal::of(&self.settings.dialect, status, headers).is_some()
    }

    /// Connects, and does not log in.
    pub(super) async fn reach(&self) -> Result<(), String> {
        self.outbound.reach(&self.base).await.map_err(|error| error.chain())
    }

    /// The current login, if it is valid at `now`.
    pub(in crate::upstream) fn usable_session(
        &self,
        now: Timestamp,
    ) -> Option<Arc<UpstreamSession>> {
        self.session.load_full().filter(|session| session.is_good(now))
    }

    /// Logs in, unless another request has done so since `stale` was refused.
    ///
    /// # Errors
    /// The login failed, now or within the pause after the last failure.
    pub(in crate::upstream) async fn renew(
        &self,
        stale: Option<&UpstreamSession>,
        now: Timestamp,
    ) -> Result<Arc<UpstreamSession>, LoginFailed> {
        let mut flight = self.flight.lock().await;
        // The state is checked again under the lock. If another request logged in while this one
        // waited, then its result is used. Without this check, all waiting requests would log in
        // one after another.
        if let Some(session) = self.usable_session(now)
            && stale.is_none_or(|stale| stale.number < session.number)
        {
            return Ok(session);
        }
        if let Some((failed, until)) = &flight.failed
            && now < *until
        {
            return Err(failed.clone());
        }
        // If the upstream refused a token before its time, then its session is gone and a refresh
        // would fail. A refresh is tried only for a token that ends normally. A new login costs one
        // request more only in the case that a refresh would have worked.
        let ending = self.session.load_full().filter(|_| stale.is_none());
        let ending = ending.map(|session| session.tokens.clone());
        // The old login stays stored until a new one succeeds. A 401 may have been about one caller
        // only, and a refresh token can be tried again. The pause keeps the failed login from being
        // repeated by each request.
        match self.log_in(ending, now).await {
            Ok(session) => {
                flight.number += 1;
                flight.failed = None;
                let session = Arc::new(UpstreamSession { number: flight.number, ..session });
                self.session.store(Some(session.clone()));
                Ok(session)
            }
            Err((cause, pause)) => {
                let failed = LoginFailed::new(&cause);
                flight.failed = Some((failed.clone(), now.plus(pause)));
                Err(failed)
            }
        }
    }

    /// Refreshes if possible, else logs in with user name and password. The error includes the
    /// pause that must follow it.
    ///
    /// # Errors
    /// The cause in words, with the pause before the next attempt.
    async fn log_in(
        &self,
        ending: Option<RemoteTokens>,
        now: Timestamp,
    ) -> Result<UpstreamSession, (String, Duration)> {
        let settings = &self.settings;
        if let Some(ending) = ending
            && let Ok(ask) = client::refresh(self.speaker(), &ending)
            && let Ok(facts) = self.ask(&ask).await
            && let Some(tokens) = ending.renewed(&facts, now)
            && let Some(session) = UpstreamSession::of(&settings.dialect, tokens, now)
        {
            return Ok(session);
        }
        let ask = client::login(self.speaker(), &settings.username, &settings.password)
            .map_err(|error| (error.to_string(), PAUSE_REFUSED))?;
        let facts = self.ask(&ask).await?;
        let tokens = RemoteTokens::of(&facts, now);
        tokens.and_then(|tokens| UpstreamSession::of(&settings.dialect, tokens, now)).ok_or_else(
            || ("the answer has no token that calls can carry".to_owned(), PAUSE_REFUSED),
        )
    }

    /// Sends one request of the dialect and reads the answer. The error includes the pause after
    /// it: short for a technical failure, long for a refusal, because repeating a refused login
    /// could lock the account.
    async fn ask(&self, ask: &ClientRequest<'_>) -> Result<ResponseValues, (String, Duration)> {
        let request = ask.request(&self.base).map_err(|error| (error.to_string(), PAUSE))?;
        let answer = self.outbound.send(request).await.map_err(|error| (error.chain(), PAUSE))?;
        let answer =
            ReceivedAnswer { status: answer.status, headers: &answer.headers, body: &answer.body };
        match client::parse_response(&self.settings.dialect, ask.endpoint, &answer) {
            LoginOutcome::Accepted(facts) => Ok(*facts),
            LoginOutcome::Refused(reason) => {
                Err((format!("it was refused: {}", reason.code()), PAUSE_REFUSED))
            }
            LoginOutcome::Pending(_) => {
                Err(("a second step is asked for".to_owned(), PAUSE_REFUSED))
            }
            LoginOutcome::Throttled => Err(("too many logins".to_owned(), PAUSE_REFUSED)),
            LoginOutcome::Unexpected(cause) => Err((cause, PAUSE)),
        }
    }
}

impl UpstreamSession {
    /// A session with these tokens; `None` if no call of the dialect can carry them.
    fn of(dialect: &Dialect, tokens: RemoteTokens, now: Timestamp) -> Option<Self> {
        Some(Self { credential: tokens.call(dialect)?, number: 0, made: now, tokens })
    }

    /// True if a 401 may mean that this login has ended. A 401 to a login of this moment has
    /// another reason; logging in again each time would flood the upstream. The gateway then passes
    /// the 401 on to the client.
    pub(in crate::upstream) fn may_have_ended(&self, now: Timestamp) -> bool {
        self.made.plus(YOUNG) <= now
    }

    /// True if the tokens stay valid long enough for a request. A token without an expiry is used
    /// until the upstream refuses it with 401.
    fn is_good(&self, now: Timestamp) -> bool {
        self.tokens.expires.is_none_or(|expires| now.plus(AHEAD) < expires)
    }
}
