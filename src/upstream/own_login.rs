//! A login that the gateway itself does at an upstream, as a client of its dialect.
//!
//! The tokens are kept until shortly before they end, then refreshed where the dialect can, else
//! a new login is made. However many requests wait, one login is on its way; after a failed one
//! there is a pause, so that a wrong password does not lock the account, nor a flood keep a dying
//! system down. Spoken in the back room.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::Uri;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use tokio::sync::Mutex;

use super::credential::Fields;
use crate::clock::Timestamp;
use crate::config::UpstreamLogin;
use crate::dialect::speak::{self, Ask, Heard, HeardFacts};
use crate::outbound::{Outbound, OutboundOptions};
use crate::secret::SecretString;
use crate::trust::TrustError;

/// Tokens are renewed so long before they end: longer than a request is on its way.
const AHEAD: Duration = Duration::from_secs(10);
/// A login is taken to hold for so long, whatever the upstream says.
const YOUNG: Duration = Duration::from_secs(1);
/// Between a login that failed and the next try.
const PAUSE: Duration = Duration::from_secs(2);
/// After a refusal: whoever tries a wrong password more often locks the account.
const PAUSE_REFUSED: Duration = Duration::from_secs(60);

const X_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");
const X_KEY: HeaderName = HeaderName::from_static("x-key");

/// Why the gateway is not logged in.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the gateway could not log in: {cause}")]
pub struct LoginFailed {
    cause: Arc<str>,
}

/// The gateway's own login at one upstream.
#[derive(Debug)]
pub(super) struct OwnLogin {
    settings: UpstreamLogin,
    base: Uri,
    outbound: Outbound,
    held: ArcSwapOption<Held>,
    /// Held while a login is on its way; whoever waited finds its outcome.
    flight: Mutex<Flight>,
}

#[derive(Debug, Default)]
struct Flight {
    number: u64,
    failed: Option<(LoginFailed, Timestamp)>,
}

/// What the last login gave.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) fields: Fields,
    /// Which login it was: a request that failed with an older one need not log in again.
    number: u64,
    made: Timestamp,
    expires: Option<Timestamp>,
    refresh: Option<SecretString>,
}

impl LoginFailed {
    pub(super) fn new(cause: &str) -> Self {
        Self { cause: cause.into() }
    }
}

impl OwnLogin {
    /// `ca` is whom the upstream's TLS servers are believed by.
    pub(super) fn new(settings: &UpstreamLogin, ca: Option<&str>) -> Result<Self, TrustError> {
        let options = OutboundOptions {
            ca: ca.map(str::to_owned),
            largest: speak::LONGEST_ANSWER,
            ..OutboundOptions::default()
        };
        Ok(Self {
            settings: settings.clone(),
            base: settings.url.clone(),
            outbound: Outbound::new(&options)?,
            held: ArcSwapOption::empty(),
            flight: Mutex::default(),
        })
    }

    /// What may be sent now, if anything.
    pub(super) fn held(&self, now: Timestamp) -> Option<Arc<Held>> {
        self.held.load_full().filter(|held| held.is_good(now))
    }

    /// Logs in, unless somebody else has since `stale` was found to be no good.
    pub(super) async fn renew(
        &self,
        stale: Option<&Held>,
        now: Timestamp,
    ) -> Result<Arc<Held>, LoginFailed> {
        let mut flight = self.flight.lock().await;
        if let Some(held) = self.held(now)
            && stale.is_none_or(|stale| stale.number < held.number)
        {
            return Ok(held);
        }
        if let Some((failed, until)) = &flight.failed
            && now < *until
        {
            return Err(failed.clone());
        }
        // A token that was refused before its time is not worth a refresh: its session is gone.
        let refresh = self.held.load_full().filter(|_| stale.is_none());
        let refresh = refresh.and_then(|held| held.refresh.clone());
        // Until there is another one it is kept: a 401 may have been about one caller only, and
        // its refresh token is good for another try.
        match self.log_in(refresh, now).await {
            Ok(held) => {
                flight.number += 1;
                flight.failed = None;
                let held = Arc::new(Held { number: flight.number, ..held });
                self.held.store(Some(held.clone()));
                Ok(held)
            }
            Err((cause, pause)) => {
                let failed = LoginFailed { cause: cause.into() };
                flight.failed = Some((failed.clone(), now.plus(pause)));
                Err(failed)
            }
        }
    }

    async fn log_in(
        &self,
        refresh: Option<SecretString>,
        now: Timestamp,
    ) -> Result<Held, (String, Duration)> {
        let settings = &self.settings;
        if let Some(token) = refresh
            && let Ok(ask) = speak::refresh(&settings.dialect, &token)
            && let Ok(mut facts) = self.ask(&ask).await
        {
            // Where the refresh token does not change, the answer has none.
            facts.refresh_token.get_or_insert(token);
            if let Some(held) = Held::of(&facts, now) {
                return Ok(held);
            }
        }
        let ask = speak::login(&settings.dialect, &settings.username, &settings.password)
            .map_err(|error| (error.to_string(), PAUSE_REFUSED))?;
        let facts = self.ask(&ask).await?;
        Held::of(&facts, now).ok_or_else(|| ("the answer has no token".to_owned(), PAUSE_REFUSED))
    }

    async fn ask(&self, ask: &Ask<'_>) -> Result<HeardFacts, (String, Duration)> {
        let request = ask.request(&self.base).map_err(|error| (error.to_string(), PAUSE))?;
        let answer = self.outbound.send(request).await.map_err(|error| (error.chain(), PAUSE))?;
        match speak::hear(&self.settings.dialect, ask.endpoint, answer.status, &answer.body) {
            Heard::Accepted(facts) => Ok(*facts),
            Heard::Refused(reason) => {
                Err((format!("it was refused: {}", reason.code()), PAUSE_REFUSED))
            }
            Heard::Pending(_) => Err(("a second step is asked for".to_owned(), PAUSE_REFUSED)),
            Heard::Throttled => Err(("too many logins".to_owned(), PAUSE_REFUSED)),
            Heard::Nonsense(cause) => Err((cause, PAUSE)),
        }
    }
}

impl Held {
    /// `None` where the answer gave nothing to present.
    fn of(facts: &HeardFacts, now: Timestamp) -> Option<Self> {
        let token = facts.access_token.as_ref()?;
        let fields = match &facts.key {
            Some(key) => {
                vec![(X_ACCESS_TOKEN, field(token.expose())?), (X_KEY, field(key.expose())?)]
            }
            None => {
                let value = SecretString::new(format!("Bearer {}", token.expose()));
                vec![(AUTHORIZATION, field(value.expose())?)]
            }
        };
        let (expires, refresh) = (facts.expires(now), facts.refresh_token.clone());
        Some(Self { fields: Fields::new(fields), number: 0, made: now, expires, refresh })
    }

    /// True if a 401 may mean that it has ended. An upstream that answers 401 to a login made just
    /// now means something else by it, and must not be answered with another login each time.
    pub(super) fn may_have_ended(&self, now: Timestamp) -> bool {
        self.made.plus(YOUNG) <= now
    }

    fn is_good(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now.plus(AHEAD) < expires)
    }
}

fn field(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}
