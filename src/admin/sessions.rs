//! Lists and ends sessions for operators, by user, and by source where several sources know the
//! name.
//!
//! A command that would be ambiguous is refused: ending the sessions of the wrong person leaves
//! those open that were meant. Users who do not exist any more can be named by their id.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};

use super::operations::{AdminOperations, CommandResult, failed, unknown};
use crate::identity::{SessionId, Subject, UserId};
use crate::session::{RevocationTarget, Session, TokenOwner};
use crate::users::UserKey;

/// Upper bound on the sessions in one list. A longer list fits neither a screen nor a line of JSON.
const LISTED: usize = 10_000;

type ErrorReply = (StatusCode, String);

/// A person: a subject in one realm, or in all realms. Sources with shared ids form one realm.
type PersonKey = (Subject, Option<String>);

impl AdminOperations {
    /// The sessions of one user, or of all, oldest first.
    pub(super) async fn list_sessions(
        &self,
        user: Option<String>,
        source: Option<String>,
    ) -> CommandResult {
        let mut sessions = match &user {
            Some(user) => {
                let people = self.people(user, source.as_deref()).await?;
                self.sessions_of(&people).await?
            }
            None => self.all_sessions().await?,
        };
        sessions.sort_by_key(|session| (session.created, session.id));
        sessions.truncate(LISTED);
        Ok(json!({ "sessions": sessions.iter().map(session_json).collect::<Vec<_>>() }))
    }

    /// All sessions, read in pages: a single long read would delay logins.
    async fn all_sessions(&self) -> Result<Vec<Session>, ErrorReply> {
        let shared = &self.gateway.shared;
        let mut sessions = Vec::new();
        let mut after = None;
        loop {
            let page = shared.store.page(after, shared.clock.now()).await.map_err(failed)?;
            sessions.extend(page.sessions);
            after = page.next;
            if after.is_none() || sessions.len() >= LISTED {
                return Ok(sessions);
            }
        }
    }

    /// Ends sessions in the store, and then their streams. The streams of a single session end even
    /// if the store does not answer. The number of ended sessions is the answer.
    pub(super) async fn revoke(&self, what: RevocationTarget, target: &str) -> CommandResult {
        let shared = &self.gateway.shared;
        let single = match &what {
            RevocationTarget::Session(id) => Some(*id),
            _ => None,
        };
        let revoked = shared.store.revoke(what, shared.clock.now()).await;
        let ended = revoked.as_deref().unwrap_or(single.as_slice());
        for session in ended {
            shared.cancellations.streams.end(*session);
        }
        self.audit("revoke", target);
        let ended = revoked.map_err(failed)?;
        Ok(json!({ "ended": ended.len() }))
    }

    /// The live sessions of these people.
    async fn sessions_of(&self, people: &[PersonKey]) -> Result<Vec<Session>, ErrorReply> {
        let shared = &self.gateway.shared;
        let mut sessions = Vec::new();
        for (subject, realm) in people {
            let found = shared.store.list(Some(subject), LISTED, shared.clock.now()).await;
            let is_theirs = |one: &Session| realm.as_ref().is_none_or(|realm| one.realm == *realm);
            sessions.extend(found.map_err(failed)?.into_iter().filter(is_theirs));
        }
        Ok(sessions)
    }

    /// Ends a user's sessions, and refuses all tokens that external issuers have given the user so
    /// far.
    ///
    /// External issuers may have users whom no source here knows; then only their tokens are
    /// refused.
    pub(super) async fn revoke_user(&self, user: &str, source: Option<&str>) -> CommandResult {
        let mut owners = self.owners(user);
        let people = match self.people(user, source).await {
            Err((StatusCode::NOT_FOUND, _)) if source.is_none() && !owners.is_empty() => Vec::new(),
            people => people?,
        };
        if !owners.is_empty()
            // If the store does not answer, the names in its sessions are missing. The tokens are
            // still refused by all that is known without it. A revocation that is incomplete is
            // better than none at such a moment.
            && let Ok(sessions) = self.sessions_of(&people).await
        {
            let names = sessions.into_iter().map(|one| TokenOwner::named(&one.username));
            owners.extend(names);
            // The same owner can be known by the name in the command and by the names in sessions.
            owners.sort_unstable();
            owners.dedup();
        }
        let are_refused = !owners.is_empty();
        // Tokens are refused first: with such a token the user could otherwise get a new session by
        // an exchange, after the old ones were ended.
        let refused = match are_refused {
            true => self.revoke_tokens(owners, user).await,
            false => Ok(0),
        };
        let mut ended = 0;
        for (subject, realm) in people {
            let answer = self.revoke(RevocationTarget::Subject { subject, realm }, user).await?;
            ended += answer.get("ended").and_then(Value::as_u64).unwrap_or_default();
        }
        ended += refused?;
        Ok(json!({ "ended": ended, "tokens_refused": are_refused }))
    }

    /// The values by which tokens of the configured issuers may identify the user; empty if there
    /// is no issuer. External tokens identify a user by issuer and `sub`, or by a name; both are
    /// returned.
    fn owners(&self, user: &str) -> Vec<TokenOwner> {
        let generation = self.gateway.generation();
        let issuers = &generation.config.issuers;
        let subjects = issuers.iter().map(|one| Subject::foreign(&one.issuer, user));
        // The id under which logs and upstreams know the user.
        let id = SessionId::parse(user).map(|_| Subject::new(user)).filter(|_| !issuers.is_empty());
        let mut owners: Vec<_> = subjects.chain(id).map(TokenOwner::Subject).collect();
        if !issuers.is_empty() {
            owners.push(TokenOwner::named(user));
        }
        owners
    }

    /// Refuses the tokens of these owners, and ends the sessions that were begun with them. Returns
    /// the number of ended sessions. A failure of the store is reported only after everything that
    /// works without it was done.
    async fn revoke_tokens(&self, of: Vec<TokenOwner>, user: &str) -> Result<u64, ErrorReply> {
        let shared = &self.gateway.shared;
        let now = shared.clock.now();
        let kept = shared.store.revoke(RevocationTarget::Tokens { of: of.clone() }, now).await;
        // The streams are ended even if the store could not make the revocation durable, as at a
        // logout.
        shared.cancellations.streams.end_of(&of);
        self.audit("revoke tokens of other issuers", user);
        let mut ended = 0;
        for owner in of {
            let TokenOwner::Subject(subject) = owner else { continue };
            let traded =
                shared.store.revoke(RevocationTarget::Subject { subject, realm: None }, now).await;
            for session in traded.map_err(failed)? {
                shared.cancellations.streams.end(session);
                ended += 1;
            }
        }
        kept.map_err(failed)?;
        Ok(ended)
    }

    /// The people that a name, an address or an id stands for. An unknown name that is no id is an
    /// error, so that a mistyped name does not look like a user without sessions.
    async fn people(&self, user: &str, source: Option<&str>) -> Result<Vec<PersonKey>, ErrorReply> {
        let users = &self.gateway.generation().services.users;
        let person = |key: &UserKey| {
            let realm = users.realm(&key.source).to_owned();
            (users.subject(&key.source, &key.id), Some(realm))
        };
        let sources = self.sources(source)?;
        if let Some(key) = self.only_one(user, &sources).await? {
            return Ok(vec![person(&key)]);
        }
        if SessionId::parse(user).is_none() {
            return Err(unknown(&format!("user `{user}`")));
        }
        // An id, which may be of a user who does not exist any more but whose sessions do. It is
        // the id that logs and upstreams know, or the one that a source has given.
        let everywhere: PersonKey = (Subject::new(user), None);
        let mut people: Vec<PersonKey> = keys_of(&sources, user).iter().map(person).collect();
        people.retain(|(subject, _)| source.is_some() || *subject != everywhere.0);
        people.extend(Some(everywhere).filter(|_| source.is_none()));
        Ok(people)
    }

    /// The names of all sources, or of the one that was asked for; an unknown one is an error.
    fn sources(&self, only: Option<&str>) -> Result<Vec<String>, ErrorReply> {
        let generation = self.gateway.generation();
        let all = generation.config.users.iter().map(|one| one.name.clone());
        let sources: Vec<String> =
            all.filter(|name| only.is_none_or(|only| only == name)).collect();
        match only {
            Some(only) if sources.is_empty() => Err(unknown(&format!("user source `{only}`"))),
            _ => Ok(sources),
        }
    }

    /// The user with this name, if only one person is meant by it. `None` means that no source
    /// knows the name.
    ///
    /// # Errors
    /// If several sources know the name, unless they mean the same person: ending the sessions of
    /// somebody else would leave those open that were meant.
    async fn only_one(
        &self,
        user: &str,
        sources: &[String],
    ) -> Result<Option<UserKey>, ErrorReply> {
        let users = &self.gateway.generation().services.users;
        let mut found: BTreeMap<(String, Subject), UserKey> = BTreeMap::new();
        for source in sources {
            let named = self.named(std::slice::from_ref(source), user).await;
            let named = named.map_err(|(status, problem)| match sources.len() {
                1 => (status, problem),
                _ => (status, format!("{problem}; or say --source")),
            })?;
            // Two sources with shared ids may describe the same person. They are counted once.
            if let Some(key) = named {
                let person = (users.realm(source).to_owned(), users.subject(source, &key.id));
                found.entry(person).or_insert(key);
            }
        }
        if found.len() > 1 {
            let names: Vec<String> =
                found.values().map(|key| format!("`{}`", key.source)).collect();
            let names = names.join(" and ");
            let problem = format!("sources {names} each know a `{user}`: say which with --source");
            return Err((StatusCode::CONFLICT, problem));
        }
        Ok(found.into_values().next())
    }
}

/// The keys of a user with this id, one for each of these sources.
pub(super) fn keys_of(sources: &[String], id: &str) -> Vec<UserKey> {
    let of = |source: &String| UserKey { source: source.clone(), id: UserId::new(id) };
    sources.iter().map(of).collect()
}

/// A session as JSON. Nothing in it can be used to take the session over.
fn session_json(session: &Session) -> Value {
    json!({
        "id": session.id,
        "subject": session.subject,
        "username": session.username,
        "source": session.source,
        "login": session.login,
        "created": session.created.to_string(),
        "last_used": session.last_used.to_string(),
        "expires": session.ends().to_string(),
        "address": session.address,
        "agent": session.agent,
    })
}
