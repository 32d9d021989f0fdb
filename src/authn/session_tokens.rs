//! The gateway's own opaque tokens: the session store knows their sessions.
//!
//! A worker recognises such a token by its form alone. What the store says of it is remembered as for
//! a signed token (`verified_cache`), and whether it may be used is checked on every request, as for
//! any other. So the store is asked once for each token and node, on the background runtime, with
//! single flight.
//!
//! Anybody can invent tokens of the right form. Therefore lookups are shared out round-robin by
//! client (`FairQueue`), and tokens that the store does not know count against the client's address
//! (`FailedAttempts`). Beyond the limit a new token is answered 503 without a lookup: it may be a good
//! one of another client behind that address. A store that cannot answer is 503, too, and neither is
//! remembered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::claims::TokenDates;
use super::local_issuer::{TokenType, identity};
use super::verified::{IssuerTerms, MovableEnd, TokenBinding, TokenError, VerifiedCredential};
use crate::admission::{AttemptLimit, FailedAttempts, FairQueue};
use crate::bounded_cache::BoundedCache;
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::outbound;
use crate::secret::{Digest, SecretString};
use crate::session::{Session, Store};
use crate::settings::LoginSettings;
use crate::single_flight::SingleFlight;
use crate::token;

/// How long it is remembered that the store does not know a token. Short, although a token that was
/// never issued cannot be issued later: a copy of the database may be a moment behind.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);

/// Upper bound of unknown tokens that are remembered.
const MOST_UNKNOWN: usize = 10_000;

/// Lookups that run at once. The store has its own bounds; these leave room in them for logins.
const PARALLEL: usize = 32;

/// Upper bound of tokens that are looked up or wait for their turn at once.
const FLIGHTS: usize = 1000;

/// Upper bound of requests that wait for one lookup; see `opaque`.
const WAITING: usize = 512;

/// The answer to a token of the form of ours that the store does not know.
pub(super) const NO_SESSION: TokenError = TokenError::invalid("no session has this opaque token");

/// The unknown tokens that one address may present. A network has as many clients whose tokens have
/// ended, for example after all sessions were ended, and they must not keep each other out for long;
/// so the window is short.
const UNKNOWN_TOKENS: AttemptLimit = AttemptLimit { attempts: 100, per: Duration::from_secs(10) };

const TOO_MANY_UNKNOWN: TokenError = TokenError {
    reason: Reason::Unavailable,
    cause: "the address has presented too many unknown tokens",
};

const UNAVAILABLE: TokenError = TokenError {
    reason: Reason::Unavailable,
    cause: "the session store could not be asked about the token",
};

/// The credential of a token; `None` if the store does not know the token.
pub(super) type SessionVerdict = Result<Option<Arc<VerifiedCredential>>, TokenError>;

/// The logins with opaque tokens, and the lookups of their tokens.
#[derive(Debug)]
pub(super) struct SessionTokens {
    logins: Vec<LoginSettings>,
    store: Arc<dyn Store>,
    terms: IssuerTerms,
    state: Arc<TokenLookupState>,
}

/// The state that survives a reload, because it depends on no configuration.
#[derive(Debug)]
struct TokenLookupState {
    unknown: BoundedCache<Digest, ()>,
    flights: SingleFlight<Digest, Result<Option<Arc<Session>>, TokenError>>,
    queue: FairQueue,
    /// Unknown tokens, counted by address.
    refused: FailedAttempts,
}

/// A lookup of one token that could be ours.
#[derive(Clone, Debug)]
pub struct SessionLookup {
    tokens: Arc<SessionTokens>,
    token: SecretString,
}

impl SessionTokens {
    /// The lookups for these logins, and the counts of the last generation.
    pub(super) fn new(
        logins: &[LoginSettings],
        store: Arc<dyn Store>,
        leeway: Duration,
        last: Option<&Self>,
    ) -> Self {
        let is_opaque = |login: &&LoginSettings| login.dialect.defaults.opaque.is_some();
        let fresh = || {
            Arc::new(TokenLookupState {
                unknown: BoundedCache::new(MOST_UNKNOWN, UNKNOWN_FOR),
                flights: SingleFlight::new(FLIGHTS, WAITING),
                queue: FairQueue::new(PARALLEL, FLIGHTS),
                refused: FailedAttempts::default(),
            })
        };
        Self {
            logins: logins.iter().filter(is_opaque).cloned().collect(),
            store,
            terms: IssuerTerms::local(leeway),
            state: last.map_or_else(fresh, |last| last.state.clone()),
        }
    }

    /// True if a login issues tokens of this form. That alone does not make it one of ours.
    pub(super) fn fits(&self, token: &str) -> bool {
        self.logins.iter().any(|login| fits(login, token))
    }

    /// True if the store said a moment ago that it does not know this token.
    pub(super) fn is_unknown(&self, token: &str, now: Timestamp) -> bool {
        self.state.unknown.get(&Digest::of(token.as_bytes()), now).is_some()
    }

    /// A lookup, if the token could be ours and nothing is known of it.
    pub(super) fn lookup(self: &Arc<Self>, token: &str, now: Timestamp) -> Option<SessionLookup> {
        let is_wanted = self.fits(token) && !self.is_unknown(token, now);
        is_wanted.then(|| SessionLookup { tokens: self.clone(), token: token.into() })
    }

    /// Forgets counts that no longer matter. Unknown tokens stay until they are evicted, so that a
    /// client which repeats one is counted once.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.state.refused.sweep(now);
    }

    async fn find(&self, token: &str, origin: Option<IpAddr>, now: Timestamp) -> SessionVerdict {
        let digest = Digest::of(token.as_bytes());
        if self.state.unknown.get(&digest, now).is_some() {
            return Ok(None);
        }
        if self.is_flooded_by(&digest, origin, now) {
            return Err(TOO_MANY_UNKNOWN);
        }
        let asking = Box::pin(self.ask(digest, origin, now));
        let found = self.state.flights.run(digest, asking).await.unwrap_or(Err(UNAVAILABLE))?;
        // The login of the session may have tokens of another form now.
        let is_form = |session: &Arc<Session>| {
            self.logins.iter().any(|login| login.name == session.login && fits(login, token))
        };
        let found = found.filter(is_form);
        Ok(found.and_then(|session| self.credential(&session, &digest)).map(Arc::new))
    }

    /// True if the client's address has presented as many unknown tokens as it may, and this one
    /// would be a further one. One that is repeated is counted once.
    fn is_flooded_by(&self, token: &Digest, origin: Option<IpAddr>, now: Timestamp) -> bool {
        let is_new = !self.state.unknown.contains(token);
        is_new && self.state.refused.wait(origin, UNKNOWN_TOKENS, now).is_some()
    }

    /// Asks the store, in the client's turn.
    async fn ask(
        &self,
        digest: Digest,
        origin: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Option<Arc<Session>>, TokenError> {
        let state = &self.state;
        let turn = tokio::time::timeout(outbound::TIMEOUT, state.queue.take(origin)).await;
        let Ok(Ok(_turn)) = turn else { return Err(UNAVAILABLE) };
        // Other tokens of the address may have turned out unknown while this one waited.
        if self.is_flooded_by(&digest, origin, now) {
            return Err(TOO_MANY_UNKNOWN);
        }
        let found = self.store.find_by_token(digest, now).await.map_err(|error| {
            tracing::debug!(%error, "an opaque token could not be looked up");
            UNAVAILABLE
        })?;
        if found.is_none() {
            if !state.unknown.contains(&digest) {
                state.refused.count(origin, UNKNOWN_TOKENS, now);
            }
            state.unknown.insert(digest, (), now.plus(UNKNOWN_FOR));
        }
        Ok(found.map(Arc::new))
    }

    /// Moves the end of a token to `until`. The session as it is then; `None` if it has ended, or if
    /// the store cannot write now and a later use has to move it.
    pub(super) async fn move_end(
        &self,
        verified: &VerifiedCredential,
        until: Timestamp,
        now: Timestamp,
    ) -> Option<Session> {
        let id = verified.identity.session?;
        let moved = self.store.move_token(id, verified.digest, until, now).await;
        let moved = moved.inspect_err(|error| {
            tracing::debug!(%error, "the end of an opaque token could not be moved");
        });
        moved.ok()?
    }

    /// The credential that the token is. `None` if the login of the session does not exist any more.
    pub(super) fn credential(
        &self,
        session: &Session,
        digest: &Digest,
    ) -> Option<VerifiedCredential> {
        let record = session.token(digest)?;
        let login = self.logins.iter().find(|login| login.name == session.login)?;
        let claims = token::opaque_claims(session, login, record);
        let identity = identity(login.name.as_str().into(), claims, TokenType::Access).ok()?;
        let dates = TokenDates {
            issued: Some(record.issued),
            not_before: Some(record.issued),
            expires: Some(record.expires),
        };
        let binding = session.key_hash.map_or(TokenBinding::Nothing, TokenBinding::Key);
        let id = Some(token::opaque_token_id(digest).into());
        let idle = login.dialect.defaults.idle.map(|_| login.access_ttl);
        let terms = self.terms.movable(MovableEnd { idle, latest: session.expires });
        Some(VerifiedCredential::token(identity, *digest, id, dates, binding, terms))
    }
}

impl SessionLookup {
    /// Looks the token up. Runs on the background runtime.
    ///
    /// # Errors
    /// `Unavailable` if the store cannot answer, or is not asked because the address (`origin`) has
    /// presented too many unknown tokens.
    pub(super) async fn run(&self, origin: Option<IpAddr>, now: Timestamp) -> SessionVerdict {
        self.tokens.find(self.token.expose(), origin, now).await
    }
}

fn fits(login: &LoginSettings, token: &str) -> bool {
    login.dialect.defaults.opaque.as_ref().is_some_and(|format| format.fits(token))
}
