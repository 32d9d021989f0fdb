//! What the nodes promise, checked against everything that clients were answered.
//!
//! The times here are those of the simulation, which no node knows. An answer is judged by when its
//! request began and when the answer came: whatever happened in between may have come first or last.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::SessionId;
use tollhouse_core::secret::Digest;
use tollhouse_store::RotationOutcome;

use super::{GRACE, STALE_LIMIT};

/// How inexact the clocks of the simulation are.
const SLACK: Duration = Duration::from_millis(100);
/// Within this time a node that is in touch with the database knows what others ended.
const PROPAGATION: Duration = Duration::from_secs(1);
/// How long after trouble a node is in touch again.
const RECOVERY: Duration = Duration::from_secs(2);
/// How long after the database was emptied its nodes may not have noticed.
const UNNOTICED: Duration = Duration::from_secs(3);

/// A request and its answer, in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) began: Duration,
    pub(super) answered: Duration,
}

/// What is known of one session.
#[derive(Debug)]
struct SessionHistory {
    user: String,
    login: Span,
    /// When its latest access token says that it was issued.
    issued: Timestamp,
    /// From when on it may have ended, for whatever reason.
    may_have_ended: Option<Duration>,
    /// When its end was acknowledged.
    ended: Option<Duration>,
    /// It was reported that it is accepted or refused by mistake.
    is_reported: bool,
    /// What was answered to refresh tokens, by generation.
    tokens: BTreeMap<u32, TokenHistory>,
}

#[derive(Debug, Default)]
struct TokenHistory {
    rotations: usize,
    /// When the successor was given out for the first time.
    succeeded: Option<Duration>,
}

/// What is known of the user of some sessions.
#[derive(Debug, Default)]
struct UserHistory {
    /// Requests that end all sessions; one that is not answered yet has no end.
    ends: Vec<(Duration, Option<Duration>)>,
    /// Such a request failed: it may be carried out at any time from then on.
    is_doubtful: bool,
}

/// One look at a node, as a request with an access token takes it.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) at: Duration,
    pub(super) node: usize,
    pub(super) is_stale: bool,
    pub(super) is_revoked: bool,
    pub(super) is_older_than_store: bool,
    /// Since when the node has been in touch without trouble.
    pub(super) calm_since: Option<Duration>,
}

/// Everything that clients were told, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Promises {
    sessions: BTreeMap<SessionId, SessionHistory>,
    users: BTreeMap<String, UserHistory>,
    /// Foreign tokens, and when their revocation was acknowledged.
    tokens: BTreeMap<Digest, Duration>,
    emptied: Option<Duration>,
    broken: Vec<String>,
    lines: DefaultHasher,
    /// Number of answers that were judged.
    judged: usize,
    is_printed: bool,
}

impl Promises {
    pub(super) fn new(is_printed: bool) -> Self {
        Self {
            sessions: BTreeMap::new(),
            users: BTreeMap::new(),
            tokens: BTreeMap::new(),
            emptied: None,
            broken: Vec::new(),
            lines: DefaultHasher::new(),
            judged: 0,
            is_printed,
        }
    }

    /// Adds a line to the account of what happened.
    pub(super) fn note(&mut self, at: Duration, line: &str) {
        let line = format!("{:>9.3} {line}", at.as_secs_f64());
        line.hash(&mut self.lines);
        if self.is_printed {
            println!("{line}");
        }
    }

    /// Notes that a promise is broken.
    pub(super) fn broke(&mut self, at: Duration, what: &str) {
        self.note(at, &format!("BROKEN: {what}"));
        self.broken.push(what.to_owned());
    }

    /// What was broken, a number that stands for all that happened, and how much was judged.
    pub(super) fn result(&self) -> (Vec<String>, u64, usize) {
        (self.broken.clone(), self.lines.finish(), self.judged)
    }

    pub(super) fn database_emptied(&mut self, at: Duration) {
        self.emptied = Some(at);
        self.sessions.values_mut().for_each(|session| session.may_have_ended_at(at));
    }

    /// True if the database has lost nothing since shortly before `began`.
    pub(super) fn is_one_epoch(&self, began: Duration) -> bool {
        self.emptied.is_none_or(|emptied| began > emptied + UNNOTICED)
    }

    /// True if the database lost everything at `since` or later.
    pub(super) fn is_emptied_since(&self, since: Duration) -> bool {
        self.emptied.is_some_and(|emptied| emptied >= since)
    }

    /// A login was acknowledged.
    pub(super) fn logged_in(&mut self, id: SessionId, user: &str, login: Span, issued: Timestamp) {
        let of_user = self.users.entry(user.to_owned()).or_default();
        let is_beside = |(began, answered): &(Duration, Option<Duration>)| {
            *began <= login.answered && answered.is_none_or(|answered| answered >= login.began)
        };
        let is_doubtful = of_user.is_doubtful
            || of_user.ends.iter().any(is_beside)
            || !self.is_one_epoch(login.began);
        self.sessions.insert(
            id,
            SessionHistory {
                user: user.to_owned(),
                login,
                issued,
                may_have_ended: is_doubtful.then_some(login.answered),
                ended: None,
                is_reported: false,
                tokens: BTreeMap::new(),
            },
        );
    }

    /// The present name of a user. A user whose sessions may end at any time is replaced by another.
    pub(super) fn user(&self, number: usize) -> String {
        let is_doubtful = |name: &String| self.users.get(name).is_some_and(|it| it.is_doubtful);
        let mut names = (1_usize..).map(|time| format!("user {number}.{time}"));
        names.find(|name| !is_doubtful(name)).unwrap_or_default()
    }

    /// The sessions that were acknowledged so far.
    pub(super) fn sessions(&self) -> Vec<(SessionId, Timestamp)> {
        self.sessions.iter().map(|(id, session)| (*id, session.issued)).collect()
    }

    /// From now on the session may end at any time.
    pub(super) fn may_have_ended(&mut self, id: SessionId, at: Duration) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.may_have_ended_at(at);
        }
    }

    /// The end of a session was acknowledged.
    pub(super) fn ended(&mut self, id: SessionId, at: Duration) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.may_have_ended_at(at);
            session.ended.get_or_insert(at);
        }
    }

    /// True if the session may have ended already.
    pub(super) fn is_doubtful(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_none_or(|session| session.may_have_ended.is_some())
    }

    /// A request begins that ends all sessions of a user. Returns its number.
    pub(super) fn end_of_user_began(&mut self, user: &str, at: Duration) -> usize {
        let ends = &mut self.users.entry(user.to_owned()).or_default().ends;
        let number = ends.len();
        ends.push((at, None));
        let sessions = self.sessions.values_mut().filter(|session| session.user == user);
        sessions.for_each(|session| session.may_have_ended_at(at));
        number
    }

    /// True if no other request ended sessions of the user while this one was carried out.
    pub(super) fn is_alone(&self, user: &str, number: usize, request: Span) -> bool {
        let ends = self.users.get(user).map_or(&[][..], |of_user| &of_user.ends);
        let mut others = ends.iter().enumerate().filter(|(other, _)| *other != number);
        others.all(|(_, (began, answered))| {
            *began > request.answered || answered.is_some_and(|answered| answered < request.began)
        })
    }

    /// The request with this number was answered. If it was acknowledged, the sessions have ended
    /// that were there when it began.
    pub(super) fn end_of_user_answered(
        &mut self,
        user: &str,
        number: usize,
        request: Span,
        is_done: bool,
    ) {
        let of_user = self.users.entry(user.to_owned()).or_default();
        of_user.is_doubtful |= !is_done;
        of_user.ends[number].1 = Some(request.answered);
        if is_done {
            let sessions = self.sessions.values_mut();
            let there = sessions.filter(|it| it.user == user && it.login.answered < request.began);
            there.for_each(|session| {
                session.ended.get_or_insert(request.answered);
            });
        }
    }

    /// Judges the answer to a refresh with the token of this generation.
    pub(super) fn refreshed(
        &mut self,
        id: SessionId,
        generation: u32,
        outcome: &RotationOutcome,
        request: Span,
    ) {
        self.judged += 1;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let is_after = |time: Option<Duration>| time.is_some_and(|time| request.began > time);
        let is_accepted = matches!(
            outcome,
            RotationOutcome::Rotated(_) | RotationOutcome::Grace(_) | RotationOutcome::Fresh(_)
        );
        let is_grace = matches!(outcome, RotationOutcome::Grace(_));
        let is_rotated = matches!(outcome, RotationOutcome::Rotated(_));
        let succeeded = |session: &SessionHistory, generation| {
            session.tokens.get(&generation).and_then(|token| token.succeeded)
        };
        let mut broken = Vec::new();
        if is_accepted && is_after(session.ended) {
            broken.push("a refresh succeeded after the end was acknowledged");
        }
        if is_accepted && is_after(succeeded(session, generation.saturating_add(1))) {
            broken.push("a refresh token was accepted whose successor's successor was in use");
        }
        if is_accepted && !is_grace && is_after(succeeded(session, generation)) {
            broken.push("a refresh token was spent although it was retired");
        }
        let grace_over = succeeded(session, generation).map(|at| at + GRACE + SLACK);
        if is_grace && is_after(grace_over) {
            broken.push("grace was given after its time");
        }
        let token = session.tokens.entry(generation).or_default();
        token.rotations += usize::from(is_rotated);
        if token.rotations > 1 {
            broken.push("a refresh token was spent twice");
        }
        if is_rotated || is_grace {
            token.succeeded.get_or_insert(request.answered);
        }
        for what in broken {
            let what = format!("{what}: session {id:?}, generation {generation}");
            self.broke(request.answered, &what);
        }
    }

    /// Notes a new access token of the session.
    pub(super) fn issued(&mut self, id: SessionId, issued: Timestamp) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.issued = issued;
        }
    }

    /// Judges that the owner of a session was refused.
    pub(super) fn owner_refused(&mut self, id: SessionId, what: &str, at: Duration) {
        self.judged += 1;
        if self.sessions.get(&id).is_some_and(|session| session.may_have_ended.is_none()) {
            self.broke(at, &format!("the owner of {id:?} was refused: {what}"));
        }
    }

    /// Judges whether a node accepts the access token of a session.
    pub(super) fn looked(&mut self, id: SessionId, look: &Look) {
        self.judged += 1;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let is_accepted = !look.is_stale && !look.is_revoked && !look.is_older_than_store;
        let is_over = |since: Option<Duration>| since.is_some_and(|since| look.must_know_of(since));
        let lost = self.emptied.filter(|emptied| session.login.answered < *emptied);
        let broken = match is_accepted {
            true if is_over(session.ended) => "accepts a token of a session that has ended",
            true if is_over(lost) => "accepts a token from before the database was emptied",
            false if session.may_have_ended.is_none() && !look.is_stale => {
                "refuses a token of a live session"
            }
            _ => return,
        };
        if !std::mem::replace(&mut session.is_reported, true) {
            let what = format!("node {} {broken}: {id:?}, {look:?}, {session:?}", look.node);
            self.broke(look.at, &what);
        }
    }

    /// The revocation of a foreign token was acknowledged.
    pub(super) fn token_revoked(&mut self, token: Digest, at: Duration) {
        self.tokens.insert(token, at);
    }

    /// The foreign tokens that are revoked, but for those whose revocation may be lost.
    pub(super) fn revoked_tokens(&self) -> Vec<Digest> {
        let kept = self.tokens.iter().filter(|(_, at)| self.is_one_epoch(**at));
        kept.map(|(token, _)| *token).collect()
    }

    /// Judges whether a node accepts a revoked foreign token.
    pub(super) fn looked_at_token(&mut self, token: Digest, look: &Look) {
        self.judged += 1;
        let Some(revoked) = self.tokens.get(&token) else { return };
        if !look.is_stale && !look.is_revoked && look.must_know_of(*revoked) {
            let what = format!("node {} accepts a revoked foreign token: {look:?}", look.node);
            self.broke(look.at, &what);
        }
    }

    /// Judges a node after all trouble is over: whatever was ended holds now.
    pub(super) fn settled(&mut self, id: SessionId, look: &Look) {
        let Some(session) = self.sessions.get(&id) else { return };
        if session.ended.is_some() && !look.is_revoked && !look.is_older_than_store {
            let what = format!("node {} does not know the end of {id:?} in the end", look.node);
            self.broke(look.at, &what);
        }
    }
}

impl Look {
    /// True if the node, unless it is stale, must know of what was acknowledged at `since`.
    fn must_know_of(&self, since: Duration) -> bool {
        let is_in_touch = self.calm_since.is_some_and(|calm| calm + RECOVERY < since);
        let bound = if is_in_touch { PROPAGATION } else { STALE_LIMIT };
        self.at > since + bound + SLACK
    }
}

impl SessionHistory {
    fn may_have_ended_at(&mut self, at: Duration) {
        self.may_have_ended.get_or_insert(at);
    }
}
