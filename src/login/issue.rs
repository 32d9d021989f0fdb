//! New sessions and the tokens of a session.
//!
//! `open_session` stores a session before any token of it is signed: a token whose session does not
//! exist must never leave the gateway. Password, code, exchange, refresh and the operator's `token
//! mint` issue their tokens here. Whether the user may log in was decided before.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::dialect::{Endpoint, Reason, TemplateValues, TokenValues};
use crate::identity::{Claims, SessionId, UserProfile};
use crate::secret::{self, Digest, SecretString};
use crate::session::{CredentialPlace, OpaqueToken, RefreshGeneration, SealedCredential, Session};
use crate::telemetry::audit::AuditEvent;
use crate::telemetry::metrics::LoginResult;
use crate::token::{self, AccessGrant, KeyError, RefreshGrant};
use crate::users::{UserKey, UserRecord};

use super::{Login, LoginError, LoginRequest, LoginResponse, ProvenUser};

/// Longest user agent that is stored, in characters. It only helps an operator to recognise a
/// session.
const LONGEST_AGENT: usize = 256;

impl Login {
    /// Begins a session for `user`, writes it to the audit log, and answers with its tokens.
    pub(super) async fn start_session(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        proven: &ProvenUser,
    ) -> Result<LoginResponse, LoginError> {
        let (session, facts) = self.open_session(call, proven, SessionOrigin::of(call)).await?;
        self.audit(
            call,
            AuditEvent::LoggedIn {
                subject: &session.subject,
                name: &session.username,
                session: session.id,
            },
        );
        Ok(self.answer(endpoint, call, facts))
    }

    /// Begins a session for `user` and makes its tokens. May end the user's oldest sessions, if the
    /// user has more than the limit.
    pub(super) async fn open_session(
        &self,
        call: &LoginRequest,
        proven: &ProvenUser,
        origin: SessionOrigin,
    ) -> Result<(Session, TemplateValues), LoginError> {
        let now = call.now;
        let user = &proven.user;
        self.count_begun(call, user)?;
        let key = self.config.dialect.gives_key.then(new_key);
        let jti = token::new_jti();
        let mut session = self.new_session(&origin, user, key.as_ref(), &jti);
        session.kept = self.kept(CredentialPlace::Session(session.id), proven)?;
        let opaque = self.new_opaque(session.expires, now);
        session.tokens.extend(opaque.as_ref().map(|opaque| opaque.record));
        let most = self.services.limits.sessions_per_user;
        let ended = self.services.store.put(session.clone(), most, now).await?;
        self.end_streams(&ended);
        // Race: if a review of the user ran after the password was verified but before `put`, it
        // did not see this session. Therefore the user is compared once more after `put`, under the
        // configuration in effect then; any later review finds the session in the store.
        if !self.services.is_still_valid(&session, now).await? {
            session = self.live_session(session.id, call).await?;
        }
        let refresh = session.refresh.as_ref().map(|generation| NewRefresh {
            id: jti,
            expires: generation.expires,
            program: call.program.clone(),
        });
        let mut facts = self.issue(&session, refresh, opaque, now)?;
        if let Some(session_values) = &mut facts.session {
            session_values.key = key;
        }
        self.count_login(LoginResult::Succeeded);
        Ok((session, facts))
    }

    /// What the legacy system gave the user, sealed for the place where it is kept.
    ///
    /// # Errors
    /// It cannot be kept. A session without it would be refused wherever it is needed.
    pub(super) fn kept(
        &self,
        place: CredentialPlace,
        proven: &ProvenUser,
    ) -> Result<Option<SealedCredential>, LoginError> {
        let (Some(tokens), Some(legacy)) = (&proven.legacy, &self.services.legacy) else {
            return Ok(None);
        };
        let kept = legacy.keep(place, tokens);
        let failed = || LoginError::new(Reason::Unavailable, "the legacy tokens are too long");
        kept.map(Some).ok_or_else(failed)
    }

    /// Counts a session that the user begins, whatever becomes of it, and refuses it over the
    /// limit. Only a user whose password was right gets here; failed attempts are counted
    /// elsewhere, because strangers must not be able to use up this limit.
    fn count_begun(&self, call: &LoginRequest, user: &UserRecord) -> Result<(), LoginError> {
        let who = (user.source.as_str(), &user.id);
        let admitted = self.services.begun.admit(who, call.now);
        admitted.map(drop).map_err(|exceeded| {
            let cause = "over the limit of new sessions of a user";
            self.count_login(LoginResult::Limited);
            self.audit(call, AuditEvent::LoginFailed { name: &user.profile.name, cause });
            LoginError {
                retry_after: Some(exceeded.retry_after),
                ..LoginError::new(Reason::TooManyAttempts, cause)
            }
        })
    }

    /// Begins a session without a password, at the request of an operator on the machine, and
    /// returns its access token for a script. Takes the first of `users` that the source still
    /// knows; a disabled user is refused.
    pub(crate) async fn mint(
        &self,
        users: &[UserKey],
        name: &str,
        now: Timestamp,
    ) -> Result<Value, LoginError> {
        let mut found = None;
        for user in users {
            found = found.or(self.services.users.find(&user.source, &user.id, name).await?);
        }
        let user = found.ok_or_else(|| {
            LoginError::new(Reason::UnknownUser, "disabled, or not of this login")
        })?;
        let jti = token::new_jti();
        let agent = Some("tollhouse token mint".to_owned());
        let origin = SessionOrigin { address: None, agent, until: None, traded: None, now };
        let mut session = self.new_session(&origin, &user, None, &jti);
        let opaque = self.new_opaque(session.expires, now);
        session.tokens.extend(opaque.as_ref().map(|opaque| opaque.record));
        let most = self.services.limits.sessions_per_user;
        let ended = self.services.store.put(session.clone(), most, now).await?;
        self.end_streams(&ended);
        let access = self.issue(&session, None, opaque, now)?.access.unwrap_or_default();
        Ok(json!({
            "access_token": access.token.expose(),
            "session": session.id,
            "expires": access.expires.to_string(),
        }))
    }

    /// The access token of a session that is never stored, and the key that goes with it if the
    /// dialect gives one. For a dry run: the token must not leave it. It is always a signed one,
    /// because an opaque token of a session that is not stored would say nothing.
    pub(crate) fn unstored_session(
        &self,
        user: &UserRecord,
        now: Timestamp,
    ) -> Result<(SecretString, Option<SecretString>), LoginError> {
        let key = self.config.dialect.gives_key.then(new_key);
        let origin = SessionOrigin { address: None, agent: None, until: None, traded: None, now };
        let session = self.new_session(&origin, user, key.as_ref(), &token::new_jti());
        let access = self.issue(&session, None, None, now)?.access.unwrap_or_default();
        Ok((access.token, key))
    }

    fn new_session(
        &self,
        origin: &SessionOrigin,
        user: &UserRecord,
        key: Option<&SecretString>,
        jti: &str,
    ) -> Session {
        let login = &self.config;
        let now = origin.now;
        // Some dialects have no refresh: their session ends with the access token.
        let life = match login.dialect.defaults.ends_with_access {
            true => login.access_ttl,
            false => login.refresh_ttl,
        };
        let expires = now.plus(life).whole_secs();
        let expires = origin.until.map_or(expires, |until| expires.min(until));
        // Everything that a token will say is copied from the user now. A later change of the user
        // changes `user_version` in the source, and the next review or refresh ends the session.
        let UserProfile { name, email, roles, scopes, claims } = user.profile.clone();
        let mut session = Session {
            id: SessionId::new(now),
            subject: self.services.subject(user),
            realm: self.services.users.realm(&user.source).to_owned(),
            username: name,
            email,
            source: user.source.clone(),
            user_id: user.id.clone(),
            login: login.name.clone(),
            roles,
            scopes,
            claims,
            user_version: user.version,
            created: now,
            expires,
            idle: login.refresh_idle,
            last_used: now,
            access_until: self.access_end(expires, now),
            refresh: None,
            key_hash: key.map(|key| Digest::of(key.expose().as_bytes())),
            traded: origin.traded,
            tokens: Vec::new(),
            kept: None,
            address: origin.address,
            agent: origin.agent.clone(),
        };
        if login.dialect.gives_refresh_token {
            session.refresh = Some(RefreshGeneration {
                number: 0,
                is_named: true,
                current: Digest::of(jti.as_bytes()),
                expires: session.ends().whole_secs(),
                retired: None,
                repeated: None,
            });
        }
        session
    }

    /// The end of an access token that is issued now. It is never after the end of its session.
    pub(super) fn access_end(&self, session_end: Timestamp, now: Timestamp) -> Timestamp {
        now.plus(self.config.access_ttl).whole_secs().min(session_end)
    }

    /// The time of issue of a token that is issued now. A token is never older than its store.
    fn issued_at(&self, now: Timestamp) -> Timestamp {
        now.whole_secs().max(self.services.store.revocations().earliest_issue())
    }

    /// A new opaque access token for a session that ends at `session_end`, where the dialect has
    /// such tokens. The store must remember its record before the token leaves the gateway.
    pub(super) fn new_opaque(&self, session_end: Timestamp, now: Timestamp) -> Option<NewOpaque> {
        let format = self.config.dialect.defaults.opaque.as_ref()?;
        let token = token::new_opaque_token(format);
        let record = OpaqueToken {
            digest: Digest::of(token.expose().as_bytes()),
            issued: self.issued_at(now),
            expires: self.access_end(session_end, now),
        };
        Some(NewOpaque { token, record })
    }

    /// Answers with an access token, signed now unless `opaque` is one, and, where `refresh` says of
    /// which, with a signed refresh token. The session must be stored already, together
    /// with the record of the opaque token.
    pub(super) fn issue(
        &self,
        session: &Session,
        refresh: Option<NewRefresh>,
        opaque: Option<NewOpaque>,
        now: Timestamp,
    ) -> Result<TemplateValues, LoginError> {
        let mut facts = self.session_facts(session, now);
        let program = refresh.as_ref().and_then(|refresh| refresh.program.clone());
        facts.refresh = refresh.map(|refresh| TokenValues {
            token: SecretString::default(),
            id: refresh.id,
            issued: self.issued_at(now),
            expires: refresh.expires,
        });
        facts.access = Some(match opaque {
            Some(NewOpaque { token, record }) => TokenValues {
                token,
                id: token::opaque_token_id(&record.digest),
                issued: record.issued,
                expires: record.expires,
            },
            None => self.signed_access(session, &mut facts, now)?,
        });
        if let Some(refresh) = &facts.refresh {
            let signed = token::refresh_token(
                &self.services.ring,
                &RefreshGrant {
                    session,
                    login: &self.config,
                    claims: self.refresh_claims(&facts),
                    jti: &refresh.id,
                    issued: refresh.issued,
                    expires: refresh.expires,
                },
                program.as_deref(),
            );
            let signed = signed.map_err(unsigned)?;
            if let Some(refresh) = &mut facts.refresh {
                refresh.token = signed;
            }
        }
        Ok(facts)
    }

    fn signed_access(
        &self,
        session: &Session,
        facts: &mut TemplateValues,
        now: Timestamp,
    ) -> Result<TokenValues, LoginError> {
        let dialect = &self.config.dialect;
        let access = TokenValues {
            token: SecretString::default(),
            id: token::new_jti(),
            issued: self.issued_at(now),
            expires: self.access_end(session.expires, now),
        };
        // Claims may name the token's own times and id.
        facts.access = Some(access.clone());
        let claims = token::rendered_claims(&dialect.access_claims, session, dialect, facts);
        let grant = AccessGrant {
            session,
            login: &self.config,
            claims,
            jti: &access.id,
            issued: access.issued,
            expires: access.expires,
        };
        let token = token::access_token(&self.services.ring, &grant).map_err(unsigned)?;
        Ok(TokenValues { token, ..access })
    }

    fn refresh_claims(&self, facts: &TemplateValues) -> Claims {
        let dialect = &self.config.dialect;
        // The access token is not part of the facts here: a claim could put it into another token.
        let access = facts
            .access
            .clone()
            .map(|access| TokenValues { token: SecretString::default(), ..access });
        let facts = TemplateValues { access, ..facts.clone() };
        token::dialect_claims(&dialect.refresh_claims, dialect, &facts)
    }

    /// The facts about a session and its user that a dialect's templates may use.
    pub(super) fn session_facts(&self, session: &Session, now: Timestamp) -> TemplateValues {
        let mut facts = token::session_facts(session, &self.config, now);
        if let Some(values) = facts.session.as_mut().filter(|_| self.config.dialect.gives_csrf) {
            values.csrf = Some(token::csrf_token(&self.services.store.secret(), session.id));
        }
        facts
    }
}

/// Circumstances of a new session: the client's address and user agent, the foreign token that was
/// exchanged for it, and its latest end.
pub(super) struct SessionOrigin {
    address: Option<IpAddr>,
    agent: Option<String>,
    until: Option<Timestamp>,
    traded: Option<Digest>,
    now: Timestamp,
}

impl SessionOrigin {
    pub(super) fn of(call: &LoginRequest) -> Self {
        let agent = call.head.headers.get(http::header::USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok());
        Self {
            address: call.client.address,
            agent: agent.map(|agent| agent.chars().take(LONGEST_AGENT).collect()),
            until: None,
            traded: None,
            now: call.now,
        }
    }

    /// For a session that is exchanged for a foreign token; it ends at `until` at the latest.
    pub(super) fn traded(call: &LoginRequest, token: Digest, until: Timestamp) -> Self {
        Self { until: Some(until), traded: Some(token), ..Self::of(call) }
    }
}

/// An opaque access token that is about to be issued, and what the store remembers of it.
pub(super) struct NewOpaque {
    pub(super) token: SecretString,
    pub(super) record: OpaqueToken,
}

/// A refresh token that is about to be signed.
pub(super) struct NewRefresh {
    pub(super) id: String,
    pub(super) expires: Timestamp,
    /// The program that it is issued to, where the login knows programs.
    pub(super) program: Option<String>,
}

fn unsigned(error: KeyError) -> LoginError {
    LoginError::new(Reason::Internal, format!("could not sign: {error}"))
}

/// The key of a pair of token and key: a random UUID of version 4, because Webitel's clients expect
/// that form.
fn new_key() -> SecretString {
    SecretString::new(uuid::Builder::from_random_bytes(secret::random()).into_uuid().to_string())
}
