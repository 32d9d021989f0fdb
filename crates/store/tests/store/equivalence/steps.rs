//! The operations of a store as data, so that one list of them can be carried out by every store
//! and by the model, and every answer compared.

use std::num::NonZeroUsize;

use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{SessionId, Subject, UserId};
use tollhouse_core::secret::Digest;
use tollhouse_store::{
    AccountCounts, AccountKey, AttemptAdmission, CodeGuess, CodeVerdict, ForeignToken,
    KnownAccount, LoginAttempt, LoginProgress, OneTimeCode, OpaqueToken, PutCode, RefreshRotation,
    RevocationTarget, RotationOutcome, Session, SessionMark, Store, TotpSecret, UserRef,
};

/// One operation with all its arguments but the time.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Put {
        session: Box<Session>,
        limit: NonZeroUsize,
    },
    Find(SessionId),
    FindByToken(Digest),
    List {
        subject: Option<Subject>,
        limit: usize,
    },
    Pages,
    Rotate {
        id: SessionId,
        rotation: RefreshRotation,
    },
    Renew {
        id: SessionId,
        presented: Option<Digest>,
        access_until: Timestamp,
        issued: Option<OpaqueToken>,
    },
    Revoke(RevocationTarget),
    Rehash {
        source: String,
        user: UserId,
        subject: Subject,
        old: Digest,
        new: Digest,
    },
    PutCode {
        code: OneTimeCode,
        per_hour: u32,
    },
    FindCode(Digest),
    UseCode(CodeGuess),
    CountAttempt(LoginAttempt),
    AttemptSucceeded {
        attempt: LoginAttempt,
        progress: LoginProgress,
    },
    AttemptUndecided(LoginAttempt),
    LiftLimits(Digest),
    PutAccount(Box<KnownAccount>),
    FindAccount {
        source: String,
        id: UserId,
    },
    FindAccountByName {
        source: String,
        name: String,
    },
    RemoveAccount {
        source: String,
        id: UserId,
    },
    CountAccounts(String),
    PutTotp {
        source: String,
        id: UserId,
        totp: Option<TotpSecret>,
    },
    FindTotp {
        source: String,
        id: UserId,
    },
    UseTotp {
        source: String,
        id: UserId,
        step: u64,
    },
}

/// The answer to a step.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // One value at a time.
pub(super) enum Answer {
    Done,
    Truth(bool),
    Ended(Vec<SessionId>),
    Session(Option<Session>),
    Sessions(Vec<Session>),
    Rotation(RotationOutcome),
    PutCode(PutCode),
    Code(Option<OneTimeCode>),
    Verdict(CodeVerdict),
    Admission(AttemptAdmission),
    Account(Option<KnownAccount>),
    Counts(AccountCounts),
    Totp(Option<TotpSecret>),
}

/// The part of the revocations that a run can have changed, as requests would see it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Marks {
    pub(super) sessions: Vec<Option<SessionMark>>,
    pub(super) tokens: Vec<bool>,
    pub(super) cut_off: Vec<bool>,
}

/// The credentials whose revocation is compared after each step.
#[derive(Clone, Debug, Default)]
pub(super) struct Credentials {
    pub(super) sessions: Vec<SessionId>,
    pub(super) tokens: Vec<Digest>,
    pub(super) foreign: Vec<ForeignToken>,
}

/// The order in which ended sessions are named says nothing.
pub(super) fn ended(mut ids: Vec<SessionId>) -> Answer {
    ids.sort_unstable();
    Answer::Ended(ids)
}

/// Carries out one step. A store of these tests is never unavailable.
pub(super) async fn carry_out(store: &dyn Store, step: &Step, now: Timestamp) -> Answer {
    match step.clone() {
        Step::Put { session, limit } => ended(store.put(*session, limit, now).await.unwrap()),
        Step::Find(id) => Answer::Session(store.find(id, now).await.unwrap()),
        Step::FindByToken(token) => Answer::Session(store.find_by_token(token, now).await.unwrap()),
        Step::List { subject, limit } => {
            Answer::Sessions(store.list(subject.as_ref(), limit, now).await.unwrap())
        }
        Step::Pages => Answer::Sessions(all_pages(store, now).await),
        Step::Rotate { id, rotation } => {
            Answer::Rotation(store.rotate(id, rotation, now).await.unwrap())
        }
        Step::Renew { id, presented, access_until, issued } => {
            let renewed = store.renew(id, presented, access_until, issued, now).await;
            Answer::Session(renewed.unwrap())
        }
        Step::Revoke(what) => ended(store.revoke(what, now).await.unwrap()),
        Step::Rehash { source, user, subject, old, new } => {
            let user = UserRef { source: &source, id: &user, subject: &subject };
            store.rehashed(user, old, new).await.unwrap();
            Answer::Done
        }
        Step::PutCode { code, per_hour } => {
            Answer::PutCode(store.put_code(code, per_hour, now).await.unwrap())
        }
        Step::FindCode(key) => Answer::Code(store.find_code(key, now).await.unwrap()),
        Step::UseCode(guess) => Answer::Verdict(store.use_code(guess, now).await.unwrap()),
        other => carry_out_rest(store, other, now).await,
    }
}

async fn carry_out_rest(store: &dyn Store, step: Step, now: Timestamp) -> Answer {
    match step {
        Step::CountAttempt(attempt) => {
            Answer::Admission(store.count_attempt(attempt, now).await.unwrap())
        }
        Step::AttemptSucceeded { attempt, progress } => {
            store.attempt_succeeded(attempt, progress, now).await.unwrap();
            Answer::Done
        }
        Step::AttemptUndecided(attempt) => {
            store.attempt_undecided(attempt, now).await.unwrap();
            Answer::Done
        }
        Step::LiftLimits(account) => Answer::Truth(store.lift_limits(account, now).await.unwrap()),
        Step::PutAccount(account) => {
            store.put_account(*account).await.unwrap();
            Answer::Done
        }
        Step::FindAccount { source, id } => {
            let by = AccountKey::Subject(&id);
            Answer::Account(store.find_account(&source, by).await.unwrap())
        }
        Step::FindAccountByName { source, name } => {
            let by = AccountKey::Name(&name);
            Answer::Account(store.find_account(&source, by).await.unwrap())
        }
        Step::RemoveAccount { source, id } => {
            store.remove_account(&source, &id).await.unwrap();
            Answer::Done
        }
        Step::CountAccounts(source) => Answer::Counts(store.account_counts(&source).await.unwrap()),
        Step::PutTotp { source, id, totp } => {
            store.put_totp(&source, &id, totp).await.unwrap();
            Answer::Done
        }
        Step::FindTotp { source, id } => Answer::Totp(store.find_totp(&source, &id).await.unwrap()),
        Step::UseTotp { source, id, step } => {
            Answer::Truth(store.use_totp_step(&source, &id, step).await.unwrap())
        }
        other => unreachable!("{other:?} is carried out above"),
    }
}

async fn all_pages(store: &dyn Store, now: Timestamp) -> Vec<Session> {
    let (mut sessions, mut after) = (Vec::new(), None);
    loop {
        let page = store.page(after, now).await.unwrap();
        sessions.extend(page.sessions);
        after = page.next;
        if after.is_none() {
            return sessions;
        }
    }
}

/// How a store's revocations look at these credentials.
pub(super) fn marks(store: &dyn Store, of: &Credentials, now: Timestamp) -> Marks {
    let revocations = store.revocations();
    Marks {
        sessions: of.sessions.iter().map(|id| revocations.session(id)).collect(),
        tokens: of.tokens.iter().map(|token| revocations.token_revoked(token)).collect(),
        cut_off: of.foreign.iter().map(|it| revocations.cutoffs.refuse(it, now)).collect(),
    }
}
