//! A model of a store: what the contract of `Store` says, written down a second time and as simply
//! as possible.
//!
//! The model shares no decision with the stores. Everything is a plain map, and each operation is
//! one function of the map and the time. It forgets nothing: a row that a store would sweep stays.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{SessionId, Subject, UserId};
use tollhouse_core::secret::Digest;
use tollhouse_store::{
    AccountCounts, AttemptAdmission, AttemptKind, CodeGuess, CodeVerdict, KnownAccount,
    LoginAttempt, LoginProgress, OneTimeCode, OpaqueToken, PutCode, RefreshGeneration,
    RefreshRotation, RevocationTarget, RotationOutcome, Session, SessionMark, TokenOwner,
    TotpSecret,
};

use super::steps::{Answer, Credentials, Marks, Step, ended};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const THIRTY_DAYS: Duration = Duration::from_secs(30 * 24 * 3600);
/// The leeway of the stores in these tests, and the five minutes that are always added.
const REVOKED_FOR_LONGER: Duration = Duration::from_secs(30 + 300);

/// A count that begins with the first event and ends after a fixed time.
#[derive(Clone, Copy, Debug)]
struct Window {
    start: Timestamp,
    ends: Timestamp,
    count: u32,
}

/// The counts of one account for one kind of secret.
#[derive(Debug, Default)]
struct Failures {
    strangers: Option<Window>,
    /// By address: the own count of a known address, or a stranger's share in the common count.
    places: BTreeMap<Option<Ipv6Addr>, Window>,
}

#[derive(Debug)]
struct WaitingCode {
    code: OneTimeCode,
    own: u32,
    others: u32,
}

/// Everything that a store remembers.
#[derive(Debug, Default)]
pub(super) struct Model {
    sessions: BTreeMap<SessionId, Session>,
    revoked: BTreeMap<SessionId, Timestamp>,
    revoked_tokens: BTreeSet<Digest>,
    cutoffs: BTreeMap<TokenOwner, Timestamp>,
    versions: BTreeMap<(String, UserId, Digest), Digest>,
    codes: BTreeMap<Digest, WaitingCode>,
    mails: BTreeMap<Digest, Window>,
    failures: BTreeMap<(Digest, bool), Failures>,
    addresses: BTreeMap<Ipv6Addr, Window>,
    known: BTreeMap<(Digest, Ipv6Addr), Timestamp>,
    accounts: BTreeMap<(String, UserId), KnownAccount>,
    names: BTreeMap<(String, String), UserId>,
    second_steps: BTreeMap<(String, UserId), (TotpSecret, u64)>,
    /// For how long a session is refused that was named and is not there; `None`: it is not.
    lost_sessions: Option<Duration>,
}

impl Model {
    /// The model of a shared store. Its database may have lost a session alone, so that one which
    /// is named and not there is refused for as long as its tokens could live.
    pub(super) fn of_shared_store() -> Self {
        let longest_access = Duration::from_secs(600);
        Self { lost_sessions: Some(longest_access + REVOKED_FOR_LONGER), ..Self::default() }
    }

    /// Carries out one step and returns the answer that every store must give.
    pub(super) fn carry_out(&mut self, step: &Step, now: Timestamp) -> Answer {
        match step.clone() {
            Step::Put { session, limit } => ended(self.put(*session, limit, now)),
            Step::Find(id) => Answer::Session(self.live(id, now)),
            Step::FindByToken(token) => Answer::Session(self.find_by_token(token, now)),
            Step::List { subject, limit } => Answer::Sessions(self.list(subject, limit, now)),
            Step::Pages => Answer::Sessions(self.list(None, usize::MAX, now)),
            Step::Rotate { id, rotation } => {
                let outcome = self.rotate(id, &rotation, now);
                Answer::Rotation(self.issue_rotated(outcome, rotation.issued))
            }
            Step::Renew { id, presented, access_until, issued } => {
                let session = self.renew(id, presented, access_until, now);
                Answer::Session(session.map(|session| self.issue(session, issued)))
            }
            Step::Revoke(what) => ended(self.revoke(&what, now)),
            Step::Rehash { source, user, old, new, .. } => {
                self.rehash(&source, &user, old, new);
                Answer::Done
            }
            Step::PutCode { code, per_hour } => Answer::PutCode(self.put_code(code, per_hour, now)),
            Step::FindCode(key) => Answer::Code(self.code(key, now)),
            Step::UseCode(guess) => Answer::Verdict(self.use_code(&guess, now)),
            Step::CountAttempt(attempt) => Answer::Admission(self.count_attempt(&attempt, now)),
            Step::AttemptSucceeded { attempt, progress } => {
                self.refund(&attempt, u32::MAX, now);
                if let (LoginProgress::Login, Some(address)) = (progress, place(&attempt)) {
                    self.known.insert((attempt.account, address), now.plus(THIRTY_DAYS));
                }
                Answer::Done
            }
            Step::AttemptUndecided(attempt) => {
                self.refund(&attempt, 1, now);
                Answer::Done
            }
            Step::LiftLimits(account) => Answer::Truth(self.lift(account, now)),
            other => self.carry_out_accounts(other),
        }
    }

    fn carry_out_accounts(&mut self, step: Step) -> Answer {
        match step {
            Step::PutAccount(account) => {
                self.put_account(*account);
                Answer::Done
            }
            Step::FindAccount { source, id } => {
                Answer::Account(self.accounts.get(&(source, id)).cloned())
            }
            Step::FindAccountByName { source, name } => {
                let id = self.names.get(&(source.clone(), name)).cloned();
                Answer::Account(id.and_then(|id| self.accounts.get(&(source, id)).cloned()))
            }
            Step::RemoveAccount { source, id } => {
                self.remove_account(&source, &id);
                Answer::Done
            }
            Step::CountAccounts(source) => Answer::Counts(self.count_accounts(&source)),
            Step::PutTotp { source, id, totp } => {
                match totp {
                    Some(totp) => self.second_steps.insert((source, id), (totp, 0)),
                    None => self.second_steps.remove(&(source, id)),
                };
                Answer::Done
            }
            Step::FindTotp { source, id } => {
                Answer::Totp(self.second_steps.get(&(source, id)).map(|(totp, _)| totp.clone()))
            }
            Step::UseTotp { source, id, step } => {
                let used = self.second_steps.get_mut(&(source, id)).map(|(_, used)| used);
                let fresh = used.filter(|used| **used < step);
                Answer::Truth(fresh.map(|used| *used = step).is_some())
            }
            other => unreachable!("{other:?} is carried out above"),
        }
    }

    /// The revocations that every store must have in memory.
    pub(super) fn marks(&self, of: &Credentials, now: Timestamp) -> Marks {
        let mark = |id| self.revoked.get(id).map(|until| SessionMark::Revoked(*until));
        let is_cut_off = |token: &tollhouse_store::ForeignToken| {
            let cutoffs = self.cutoffs.iter().filter(|(owner, _)| token.is_of(owner));
            let last = cutoffs.map(|(_, at)| *at).max();
            last.is_some_and(|last| match token.issued {
                Some(issued) => issued <= last,
                None => token.is_takeover || now < last.plus(THIRTY_DAYS),
            })
        };
        Marks {
            sessions: of.sessions.iter().map(mark).collect(),
            tokens: of.tokens.iter().map(|token| self.revoked_tokens.contains(token)).collect(),
            cut_off: of.foreign.iter().map(is_cut_off).collect(),
        }
    }

    fn live(&self, id: SessionId, now: Timestamp) -> Option<Session> {
        let session = self.sessions.get(&id)?;
        let idle_end = session.idle.map_or(Timestamp::NEVER, |idle| session.last_used.plus(idle));
        (now < session.expires && now < idle_end).then(|| session.clone())
    }

    fn put(&mut self, session: Session, limit: NonZeroUsize, now: Timestamp) -> Vec<SessionId> {
        if self.revoked.contains_key(&session.id) {
            return Vec::new();
        }
        let (id, subject, realm) = (session.id, session.subject.clone(), session.realm.clone());
        let version = self.latest(&session.source, &session.user_id, session.user_version);
        self.sessions.insert(id, Session { user_version: version, ..session });
        let mut live = self.list(Some(subject), usize::MAX, now);
        live.retain(|other| other.realm == realm);
        let excess = live.len().saturating_sub(limit.get());
        let others = live.iter().map(|other| other.id).filter(|other| *other != id);
        let oldest: Vec<SessionId> = others.take(excess).collect();
        oldest.iter().for_each(|id| self.end(*id));
        oldest
    }

    fn find_by_token(&self, token: Digest, now: Timestamp) -> Option<Session> {
        let lists = |session: &&Session| session.tokens.iter().any(|it| it.digest == token);
        let session = self.sessions.values().find(lists)?;
        self.live(session.id, now)
    }

    /// A session lists the four opaque access tokens that were issued last.
    fn issue(&mut self, mut session: Session, issued: Option<OpaqueToken>) -> Session {
        session.tokens.extend(issued);
        if session.tokens.len() > 4 {
            session.tokens.remove(0);
        }
        self.sessions.insert(session.id, session.clone());
        session
    }

    fn issue_rotated(
        &mut self,
        outcome: RotationOutcome,
        issued: Option<OpaqueToken>,
    ) -> RotationOutcome {
        let mut issue = |session: Box<Session>| Box::new(self.issue(*session, issued));
        match outcome {
            RotationOutcome::Rotated(session) => RotationOutcome::Rotated(issue(session)),
            RotationOutcome::Grace(session) => RotationOutcome::Grace(issue(session)),
            RotationOutcome::Fresh(session) => RotationOutcome::Fresh(issue(session)),
            other => other,
        }
    }

    fn list(&self, subject: Option<Subject>, limit: usize, now: Timestamp) -> Vec<Session> {
        let mut live: Vec<Session> =
            self.sessions.keys().filter_map(|id| self.live(*id, now)).collect();
        if let Some(subject) = subject {
            live.retain(|session| session.subject == subject);
            live.sort_by_key(|session| (session.created, session.id));
        }
        live.truncate(limit);
        live
    }

    fn rotate(
        &mut self,
        id: SessionId,
        rotation: &RefreshRotation,
        now: Timestamp,
    ) -> RotationOutcome {
        let Some(mut session) = self.live(id, now) else { return RotationOutcome::Gone };
        let Some(tokens) = session.refresh.clone() else { return RotationOutcome::Unknown };
        let since = tokens.retired.map(|(_, at)| now.since(at));
        let is_last = tokens.retired.is_some_and(|(last, _)| last == rotation.presented);
        let is_older = match rotation.generation {
            Some(number) => number < tokens.number,
            None => tokens.is_named,
        };
        let access_until = session.access_until.max(rotation.access_until);
        if rotation.presented == tokens.current {
            session.access_until = access_until;
            let is_repeated = tokens.repeated.is_some_and(|at| now.since(at) < SECOND);
            if is_repeated || since.is_some_and(|since| since < SECOND) {
                self.sessions.insert(id, session.clone());
                return RotationOutcome::Fresh(Box::new(session));
            }
            session.last_used = now;
            session.refresh = Some(RefreshGeneration {
                number: tokens.number + 1,
                is_named: true,
                current: rotation.successor,
                expires: rotation.expires,
                retired: Some((rotation.presented, now)),
                repeated: None,
            });
            self.sessions.insert(id, session.clone());
            return RotationOutcome::Rotated(Box::new(session));
        }
        if is_last && since.is_some_and(|since| since < rotation.grace) {
            session.access_until = access_until;
            session.refresh = Some(RefreshGeneration { repeated: Some(now), ..tokens });
            self.sessions.insert(id, session.clone());
            return RotationOutcome::Grace(Box::new(session));
        }
        if is_last || is_older {
            self.end(id);
            return RotationOutcome::Reuse(Box::new(session));
        }
        RotationOutcome::Unknown
    }

    fn renew(
        &mut self,
        id: SessionId,
        presented: Option<Digest>,
        access_until: Timestamp,
        now: Timestamp,
    ) -> Option<Session> {
        let mut session = self.live(id, now)?;
        let working = session.refresh.as_ref().map(|tokens| tokens.current);
        if presented.is_some() && presented != working {
            return None;
        }
        session.last_used = now;
        session.access_until = session.access_until.max(access_until);
        self.sessions.insert(id, session.clone());
        Some(session)
    }

    fn revoke(&mut self, what: &RevocationTarget, now: Timestamp) -> Vec<SessionId> {
        let of = |subject: &Subject, realm: Option<&String>| {
            let is_theirs = |session: &&Session| {
                session.subject == *subject && realm.is_none_or(|realm| session.realm == *realm)
            };
            self.sessions.values().filter(is_theirs).map(|session| session.id).collect()
        };
        let ids: Vec<SessionId> = match what {
            RevocationTarget::Session(id) => vec![*id],
            RevocationTarget::Siblings(id) => match self.sessions.get(id) {
                Some(session) => of(&session.subject, Some(&session.realm)),
                None => Vec::new(),
            },
            RevocationTarget::Subject { subject, realm } => of(subject, realm.as_ref()),
            RevocationTarget::All => self.sessions.keys().copied().collect(),
            RevocationTarget::Token { digest, .. } => {
                let traded = self.sessions.values().filter(|it| it.traded == Some(*digest));
                let ids = traded.map(|session| session.id).collect();
                self.revoked_tokens.insert(*digest);
                ids
            }
            RevocationTarget::Tokens { of } => {
                self.cutoffs.extend(of.iter().map(|owner| (owner.clone(), now)));
                Vec::new()
            }
        };
        if let (RevocationTarget::Session(id) | RevocationTarget::Siblings(id), Some(refused_for)) =
            (what, self.lost_sessions)
            && !self.sessions.contains_key(id)
        {
            self.revoked.entry(*id).or_insert(now.plus(refused_for));
        }
        let ended: Vec<_> = ids.into_iter().filter(|id| self.sessions.contains_key(id)).collect();
        ended.iter().for_each(|id| self.end(*id));
        ended
    }

    fn end(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.remove(&id) {
            self.revoked.insert(id, session.access_until.plus(REVOKED_FOR_LONGER));
        }
    }

    fn latest(&self, source: &str, user: &UserId, version: Digest) -> Digest {
        let key = |version| (source.to_owned(), user.clone(), version);
        std::iter::successors(Some(version), |it| self.versions.get(&key(*it)).copied())
            .last()
            .unwrap_or(version)
    }

    fn rehash(&mut self, source: &str, user: &UserId, old: Digest, new: Digest) {
        if old == new {
            return;
        }
        self.versions.remove(&(source.to_owned(), user.clone(), new));
        self.versions.insert((source.to_owned(), user.clone(), old), new);
        for session in self.sessions.values_mut() {
            let is_theirs = session.source == source && session.user_id == *user;
            if is_theirs && session.user_version == old {
                session.user_version = new;
            }
        }
    }

    fn put_code(&mut self, code: OneTimeCode, per_hour: u32, now: Timestamp) -> PutCode {
        let window = window_at(self.mails.get(&code.key).copied(), HOUR, now);
        if window.count >= per_hour {
            return PutCode::TooMany { retry_after: window.ends.since(now) };
        }
        self.mails.insert(code.key, Window { count: window.count + 1, ..window });
        self.codes.insert(code.key, WaitingCode { code, own: 0, others: 0 });
        PutCode::Kept
    }

    fn code(&self, key: Digest, now: Timestamp) -> Option<OneTimeCode> {
        let waiting = self.codes.get(&key).filter(|waiting| now < waiting.code.expires);
        waiting.map(|waiting| waiting.code.clone())
    }

    fn use_code(&mut self, guess: &CodeGuess, now: Timestamp) -> CodeVerdict {
        let Some(code) = self.code(guess.key, now) else { return CodeVerdict::Gone };
        let Some(waiting) = self.codes.get_mut(&guess.key) else { return CodeVerdict::Gone };
        let has_ticket = code.ticket.is_some() && guess.ticket == code.ticket;
        let is_there = guess.address.is_some() && guess.address == code.address;
        let is_own = if code.ticket.is_some() { has_ticket } else { is_there };
        if code.ticket.is_some() && !has_ticket || !is_own && waiting.others == 15 {
            return CodeVerdict::Gone;
        }
        if guess.code != code.code {
            *if is_own { &mut waiting.own } else { &mut waiting.others } += 1;
            if waiting.own == 5 {
                self.codes.remove(&guess.key);
            }
            return CodeVerdict::Wrong;
        }
        self.codes.remove(&guess.key);
        let user_version = self.latest(&code.source, &code.user_id, code.user_version);
        CodeVerdict::Right(Box::new(OneTimeCode { user_version, ..code }))
    }

    fn count_attempt(&mut self, attempt: &LoginAttempt, now: Timestamp) -> AttemptAdmission {
        let from = place(attempt);
        let is_known = self.is_known(attempt, now);
        let failures = self.failures.entry(counted_by(attempt)).or_default();
        let own = failures.places.get(&from).copied();
        let (limit, per) = attempt.per_account;
        let account = window_at(if is_known { own } else { failures.strangers }, per, now);
        let (most, per) = attempt.per_address;
        let address = from.map(|from| window_at(self.addresses.get(&from).copied(), per, now));
        let locked = (account.count >= limit).then(|| account.ends.since(now));
        let flooded = address.filter(|window| window.count >= most);
        let flooded = flooded.map(|window| window.ends.since(now));
        if let Some(retry_after) = locked.max(flooded) {
            return AttemptAdmission::Limited { retry_after, account: locked.is_some() };
        }
        let counted = Window { count: account.count + 1, ..account };
        if is_known {
            failures.places.insert(from, counted);
        } else {
            failures.strangers = Some(counted);
            let share = own.filter(|own| own.start == account.start);
            let count = share.map_or(0, |share| share.count) + 1;
            failures.places.insert(from, Window { count, ..account });
        }
        if let (Some(from), Some(window)) = (from, address) {
            self.addresses.insert(from, Window { count: window.count + 1, ..window });
        }
        AttemptAdmission::Admitted
    }

    fn refund(&mut self, attempt: &LoginAttempt, most: u32, now: Timestamp) {
        let from = place(attempt);
        let is_known = self.is_known(attempt, now);
        let failures = self.failures.entry(counted_by(attempt)).or_default();
        if let Some(own) = failures.places.get_mut(&from).filter(|own| now < own.ends) {
            let back = own.count.min(most);
            own.count -= back;
            let start = own.start;
            let strangers = failures.strangers.as_mut();
            if let Some(all) = strangers.filter(|all| !is_known && all.start == start) {
                all.count -= back;
            }
        }
        // A count that is taken back completely is none: the next failure begins a new window.
        failures.places.retain(|_, window| window.count > 0);
        failures.strangers = failures.strangers.filter(|window| window.count > 0);
        if let Some(window) = from.and_then(|from| self.addresses.get_mut(&from))
            && now < window.ends
        {
            window.count = window.count.saturating_sub(1);
        }
        self.addresses.retain(|_, window| window.count > 0);
    }

    fn lift(&mut self, account: Digest, now: Timestamp) -> bool {
        let both = [(account, false), (account, true)];
        let lifted = both.map(|key| self.failures.remove(&key).unwrap_or_default());
        let windows = lifted.iter().flat_map(|it| it.places.values().chain(&it.strangers));
        windows.filter(|window| now < window.ends).count() > 0
    }

    fn is_known(&self, attempt: &LoginAttempt, now: Timestamp) -> bool {
        let Some(from) = place(attempt) else { return false };
        self.known.get(&(attempt.account, from)).is_some_and(|until| now < *until)
    }

    fn put_account(&mut self, account: KnownAccount) {
        let (source, id) = (account.source.clone(), account.subject.clone());
        self.remove_account(&source, &id);
        self.names.insert((source.clone(), account.key.clone()), id.clone());
        self.accounts.insert((source, id), account);
    }

    fn remove_account(&mut self, source: &str, id: &UserId) {
        let Some(account) = self.accounts.remove(&(source.to_owned(), id.clone())) else { return };
        let name = (source.to_owned(), account.key);
        if self.names.get(&name) == Some(id) {
            self.names.remove(&name);
        }
    }

    fn count_accounts(&self, source: &str) -> AccountCounts {
        let all = self.accounts.values().filter(|account| account.source == source);
        let hashed = all.clone().filter(|account| account.hash.is_some());
        let made: BTreeSet<Timestamp> = hashed.clone().filter_map(|it| it.imported).collect();
        AccountCounts {
            known: all.count() as u64,
            imported: hashed.filter(|account| account.imported.is_some()).count() as u64,
            first: made.first().copied(),
            latest: made.last().copied(),
        }
    }
}

/// The window at `now`: the last one while it lasts, else a new one.
fn window_at(last: Option<Window>, per: Duration, now: Timestamp) -> Window {
    last.filter(|window| now < window.ends).unwrap_or(Window {
        start: now,
        ends: now.plus(per),
        count: 0,
    })
}

fn counted_by(attempt: &LoginAttempt) -> (Digest, bool) {
    (attempt.account, attempt.kind == AttemptKind::Code)
}

fn place(attempt: &LoginAttempt) -> Option<Ipv6Addr> {
    attempt.address.map(|address| match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    })
}
