//! A new session, and the tokens that a session is given.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::dialect::{
    Dialect, Endpoint, Facts, Reason, SessionFacts, Template, TokenFacts, UserFacts,
};
use crate::identity::{Claims, SessionId};
use crate::secret::{self, Digest, SecretString};
use crate::session::{Generation, Session};
use crate::telemetry::audit::AuditEvent;
use crate::telemetry::metrics::LoginResult;
use crate::token::{self, AccessGrant, RefreshGrant};
use crate::users::{User, UserKey};

use super::{Call, Done, Login, Refused};

/// Agents are kept for the operator's eyes; longer ones say nothing more.
const LONGEST_AGENT: usize = 256;

impl Login {
    /// Begins a session for `user` and answers with its tokens.
    pub(super) async fn start_session(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        user: &User,
    ) -> Result<Done, Refused> {
        let (session, facts) = self.open_session(call, user, Origin::of(call)).await?;
        self.audit(
            call,
            AuditEvent::LoggedIn {
                subject: &session.subject,
                name: &session.username,
                session: session.id,
            },
        );
        Ok(self.answer(endpoint, &facts))
    }

    /// Begins a session for `user` and makes its tokens.
    pub(super) async fn open_session(
        &self,
        call: &Call,
        user: &User,
        origin: Origin,
    ) -> Result<(Session, Facts), Refused> {
        let now = call.now;
        self.count_begun(call, user)?;
        let key = self.config.dialect.gives_key.then(new_key);
        let jti = token::new_jti();
        let mut session = self.new_session(&origin, user, key.as_ref(), &jti);
        let most = self.services.limits.sessions_per_user;
        let ended = self.services.store.put(session.clone(), most, now).await?;
        self.end_streams(&ended);
        // A review that came between the password and `put` has not seen this session.
        if !self.services.still_is(&session, now).await? {
            session = self.live_session(session.id, call).await?;
        }
        let refresh = session.refresh.as_ref().map(|generation| (jti, generation.expires));
        let mut facts = self.issue(&session, refresh, now)?;
        if let Some(held) = &mut facts.session {
            held.key = key;
        }
        self.count_login(LoginResult::Succeeded);
        Ok((session, facts))
    }

    /// Counts that the user begins a session, whatever becomes of it. Attempts that fail are
    /// counted elsewhere: strangers must not be able to use this up.
    fn count_begun(&self, call: &Call, user: &User) -> Result<(), Refused> {
        let who = (user.source.as_str(), &user.id);
        let admitted = self.services.begun.admit(who, call.now);
        admitted.map(drop).map_err(|exceeded| {
            let cause = "over the limit of new sessions of a user";
            self.count_login(LoginResult::Limited);
            self.audit(call, AuditEvent::LoginFailed { name: &user.name, cause });
            Refused {
                retry_after: Some(exceeded.retry_after),
                ..Refused::new(Reason::TooManyAttempts, cause)
            }
        })
    }

    /// A session of the first of these users who is there, and its access token, for a script and
    /// without a password: an operator asked.
    pub(crate) async fn mint(
        &self,
        users: &[UserKey],
        name: &str,
        now: Timestamp,
    ) -> Result<Value, Refused> {
        let mut found = None;
        for user in users {
            found = found.or(self.services.users.find(&user.source, &user.id, name).await?);
        }
        let user = found
            .ok_or_else(|| Refused::new(Reason::UnknownUser, "disabled, or not of this login"))?;
        let jti = token::new_jti();
        let agent = Some("tollhouse token mint".to_owned());
        let origin = Origin { address: None, agent, until: None, traded: None, now };
        let session = self.new_session(&origin, &user, None, &jti);
        let most = self.services.limits.sessions_per_user;
        let ended = self.services.store.put(session.clone(), most, now).await?;
        self.end_streams(&ended);
        let access = self.issue(&session, None, now)?.access.unwrap_or_default();
        Ok(json!({
            "access_token": access.token.expose(),
            "session": session.id,
            "expires": access.expires.to_string(),
        }))
    }

    fn new_session(
        &self,
        origin: &Origin,
        user: &User,
        key: Option<&SecretString>,
        jti: &str,
    ) -> Session {
        let login = &self.config;
        let now = origin.now;
        let life = match login.dialect.defaults.ends_with_access {
            true => login.access_ttl,
            false => login.refresh_ttl,
        };
        let expires = now.plus(life).whole_secs();
        let expires = origin.until.map_or(expires, |until| expires.min(until));
        let mut session = Session {
            id: SessionId::new(now),
            subject: self.services.subject(user),
            realm: self.services.users.realm(&user.source).to_owned(),
            username: user.name.clone(),
            email: user.email.clone(),
            source: user.source.clone(),
            user_id: user.id.clone(),
            login: login.name.clone(),
            roles: user.roles.clone(),
            scopes: user.scopes.clone(),
            claims: user.claims.clone(),
            user_version: user.version,
            created: now,
            expires,
            idle: login.refresh_idle,
            last_used: now,
            access_until: self.access_end(expires, now),
            refresh: None,
            key_hash: key.map(|key| Digest::of(key.expose().as_bytes())),
            traded: origin.traded,
            address: origin.address,
            agent: origin.agent.clone(),
        };
        if login.dialect.gives_refresh_token {
            session.refresh = Some(Generation {
                number: 0,
                is_named: true,
                current: Digest::of(jti.as_bytes()),
                expires: session.ends().whole_secs(),
                retired: None,
            });
        }
        session
    }

    /// When an access token issued now ends: never after its session.
    pub(super) fn access_end(&self, session_end: Timestamp, now: Timestamp) -> Timestamp {
        now.plus(self.config.access_ttl).whole_secs().min(session_end)
    }

    /// Signs an access token, and a refresh token of this `jti` and `exp` where one is given.
    pub(super) fn issue(
        &self,
        session: &Session,
        refresh: Option<(String, Timestamp)>,
        now: Timestamp,
    ) -> Result<Facts, Refused> {
        let dialect = &self.config.dialect;
        let mut facts = self.session_facts(session, now);
        let access = TokenFacts {
            token: SecretString::default(),
            id: token::new_jti(),
            issued: now.whole_secs(),
            expires: self.access_end(session.expires, now),
        };
        facts.access = Some(access.clone());
        facts.refresh = refresh.map(|(id, expires)| TokenFacts {
            token: SecretString::default(),
            id,
            issued: now.whole_secs(),
            expires,
        });
        let signed = token::access_token(
            &self.services.ring,
            &AccessGrant {
                session,
                login: &self.config,
                claims: with_users_own(session, claims(&dialect.access_claims, &facts, dialect)),
                jti: &access.id,
                issued: access.issued,
                expires: access.expires,
            },
        );
        let signed_refresh = facts.refresh.as_ref().map(|refresh| {
            token::refresh_token(
                &self.services.ring,
                &RefreshGrant {
                    session,
                    login: &self.config,
                    claims: claims(&dialect.refresh_claims, &facts, dialect),
                    jti: &refresh.id,
                    issued: refresh.issued,
                    expires: refresh.expires,
                },
            )
        });
        let unsigned = |error| Refused::new(Reason::Internal, format!("could not sign: {error}"));
        let signed_refresh = signed_refresh.transpose().map_err(unsigned)?;
        if let Some(access) = &mut facts.access {
            access.token = signed.map_err(unsigned)?;
        }
        if let (Some(refresh), Some(signed)) = (&mut facts.refresh, signed_refresh) {
            refresh.token = signed;
        }
        Ok(facts)
    }

    /// What templates may say of a session.
    pub(super) fn session_facts(&self, session: &Session, now: Timestamp) -> Facts {
        Facts {
            user: Some(UserFacts {
                id: session.subject.to_string(),
                name: session.username.clone(),
                email: session.email.clone(),
                roles: session.roles.clone(),
                scopes: session.scopes.clone(),
                claims: session.claims.clone(),
            }),
            session: Some(SessionFacts {
                id: session.id.to_string(),
                key: None,
                created: session.created,
                expires: session.expires,
            }),
            ..self.facts(now)
        }
    }
}

/// Where and when a session begins, what it is traded for, and when it ends at the latest.
pub(super) struct Origin {
    address: Option<IpAddr>,
    agent: Option<String>,
    until: Option<Timestamp>,
    traded: Option<Digest>,
    now: Timestamp,
}

impl Origin {
    pub(super) fn of(call: &Call) -> Self {
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

    /// For a token of another issuer, until then at the latest.
    pub(super) fn traded(call: &Call, token: Digest, until: Timestamp) -> Self {
        Self { until: Some(until), traded: Some(token), ..Self::of(call) }
    }
}

/// The user's own claims under those that the dialect makes, so that a route can ask for them.
fn with_users_own(session: &Session, made: Claims) -> Claims {
    let mut claims = session.claims.clone();
    claims.extend(made);
    claims
}

/// The dialect's own claims.
fn claims(template: &Template, facts: &Facts, dialect: &Dialect) -> Claims {
    match template.render(facts, dialect) {
        Value::Object(claims) => claims,
        // Invariant: a claims template is an object.
        _ => Claims::new(),
    }
}

/// The pair's second secret: a random UUID v4, as Webitel's clients know it.
fn new_key() -> SecretString {
    SecretString::new(uuid::Builder::from_random_bytes(secret::random()).into_uuid().to_string())
}
