//! Random operations: small numbers that proptest chooses and shrinks, and the steps that they
//! become.
//!
//! Everything is drawn from a few users, tokens, addresses and codes, so that operations meet. A
//! number names "the third session of this run", whichever that is; it becomes an id only when the
//! run gets there.

use std::iter::repeat_n;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{SessionId, Subject, UserId};
use tollhouse_core::secret::{Digest, Secret};
use tollhouse_store::{
    AttemptKind, CodeGuess, ForeignToken, KnownAccount, LoginAttempt, LoginProgress, OneTimeCode,
    OpaqueToken, RefreshGeneration, RefreshRotation, RevocationTarget, RotationOutcome, Session,
    TokenOwner, TotpSecret,
};

use super::steps::{Answer, Credentials, Step};
use crate::samples::{self, START, token};

const SOURCES: [&str; 2] = ["staff", "shop"];
const ADDRESSES: [&str; 4] = ["192.0.2.1", "::ffff:192.0.2.1", "203.0.113.9", "2001:db8::"];

/// An operation as proptest chooses it.
#[derive(Clone, Debug)]
pub(super) enum Choice {
    Wait(Duration),
    Put { user: u8, source: usize, tokens: TokenChoice, is_idle: bool, traded: bool, limit: usize },
    PutAgain(usize),
    Find(usize),
    FindByToken(usize),
    List { user: Option<u8>, limit: usize },
    Pages,
    Rotate { session: usize, age: usize, generation: GenerationChoice, grace: u64 },
    Renew { session: usize, age: Option<usize>, access: u64 },
    Revoke(TargetChoice),
    Rehash { user: u8, source: usize, old: u8, new: u8 },
    PutCode { key: u8, word: u8, address: Option<usize>, ticket: bool, per_hour: u32, version: u8 },
    FindCode(u8),
    UseCode { key: u8, word: u8, address: Option<usize>, ticket: Option<u8> },
    Attempt { account: u8, kind: AttemptKind, address: Option<usize>, what: AttemptChoice },
    LiftLimits(u8),
    PutAccount { source: usize, user: u8, name: u8, hashed: Option<u64> },
    FindAccount { source: usize, user: u8 },
    FindAccountByName { source: usize, name: u8 },
    RemoveAccount { source: usize, user: u8 },
    CountAccounts(usize),
    PutTotp { source: usize, user: u8, secret: Option<u8> },
    FindTotp { source: usize, user: u8 },
    UseTotp { source: usize, user: u8, step: u64 },
}

/// The refresh token that a session begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TokenChoice {
    None,
    Numbered,
    /// As in sessions of early versions, whose tokens name no generation.
    Unnumbered,
}

/// The generation that a presented refresh token names.
#[derive(Clone, Copy, Debug)]
pub(super) enum GenerationChoice {
    Right,
    None,
    Future,
}

#[derive(Clone, Debug)]
pub(super) enum TargetChoice {
    Session(usize),
    Siblings(usize),
    Subject { user: u8, source: Option<usize> },
    All,
    Token { token: bool, secs: u64 },
    Tokens { user: u8, by_name: bool },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum AttemptChoice {
    Count,
    Succeed(LoginProgress),
    Undecide,
}

/// A run of operations; `length` is how many at most. Some runs are about one part of the store
/// alone, so that its counts reach their limits.
pub(super) fn choices(length: usize) -> impl Strategy<Value = Vec<Choice>> {
    let any_part = prop_oneof![
        3 => waits(),
        4 => sessions(),
        5 => refreshes(),
        2 => revocations(),
        3 => codes(),
        4 => attempts(),
        2 => accounts(),
    ];
    let of_sessions =
        prop_oneof![2 => waits(), 3 => sessions(), 5 => refreshes(), 1 => revocations()];
    let of_codes = prop_oneof![1 => waits(), 20 => codes(), 1 => refreshes()];
    let of_attempts = prop_oneof![1 => waits(), 8 => attempts()];
    prop_oneof![
        3 => repeated(any_part, length),
        3 => repeated(of_sessions, length),
        2 => repeated(of_codes, length),
        2 => repeated(of_attempts, length),
        1 => repeated(accounts(), length),
    ]
}

/// A list in which some choices come several times in a row, up to every limit that there is.
fn repeated(
    choice: impl Strategy<Value = Choice>,
    length: usize,
) -> impl Strategy<Value = Vec<Choice>> {
    let times = prop_oneof![12 => Just(1_usize), 1 => 2..=4_usize, 1 => select(vec![6_usize, 16])];
    vec((choice, times), 1..=length).prop_map(move |choices| {
        let choices = choices.into_iter().flat_map(|(choice, times)| repeat_n(choice, times));
        choices.take(length).collect()
    })
}

fn waits() -> impl Strategy<Value = Choice> {
    select(vec![1, 500, 999, 1000, 4000, 9999, 10_000, 60_000, 599_999, 600_000, 3_600_000])
        .prop_map(|millis| Choice::Wait(Duration::from_millis(millis)))
}

fn sessions() -> impl Strategy<Value = Choice> {
    let tokens = prop_oneof![
        1 => Just(TokenChoice::None),
        5 => Just(TokenChoice::Numbered),
        1 => Just(TokenChoice::Unnumbered),
    ];
    let limit = select(vec![1_usize, 2, 3, 100]);
    let put = (0..3_u8, 0..2_usize, tokens, any::<bool>(), any::<bool>(), limit);
    prop_oneof![
        5 => put.prop_map(|(user, source, tokens, is_idle, traded, limit)| Choice::Put {
            user, source, tokens, is_idle, traded, limit
        }),
        1 => (0..9_usize).prop_map(Choice::PutAgain),
        2 => (0..9_usize).prop_map(Choice::Find),
        3 => (0..12_usize).prop_map(Choice::FindByToken),
        1 => (option::of(0..3_u8), select(vec![1_usize, 3, 100]))
            .prop_map(|(user, limit)| Choice::List { user, limit }),
        1 => Just(Choice::Pages),
    ]
}

fn refreshes() -> impl Strategy<Value = Choice> {
    let generation = prop_oneof![
        6 => Just(GenerationChoice::Right),
        1 => Just(GenerationChoice::None),
        1 => Just(GenerationChoice::Future),
    ];
    // Mostly the working token; the one before it; older ones; and some that never were.
    let age = || prop_oneof![6 => Just(0_usize), 3 => Just(1), 1 => 2..5_usize, 1 => Just(99)];
    let rotate = (0..9_usize, age(), generation, select(vec![0_u64, 10, 10, 10]));
    prop_oneof![
        5 => rotate.prop_map(|(session, age, generation, grace)| Choice::Rotate {
            session, age, generation, grace
        }),
        1 => (0..9_usize, option::of(age()), select(vec![60_u64, 7200]))
            .prop_map(|(session, age, access)| Choice::Renew { session, age, access }),
        1 => (0..3_u8, 0..2_usize, 0..4_u8, 0..4_u8)
            .prop_map(|(user, source, old, new)| Choice::Rehash { user, source, old, new }),
    ]
}

fn revocations() -> impl Strategy<Value = Choice> {
    let target = prop_oneof![
        4 => (0..9_usize).prop_map(TargetChoice::Session),
        2 => (0..9_usize).prop_map(TargetChoice::Siblings),
        2 => (0..3_u8, option::of(0..2_usize))
            .prop_map(|(user, source)| TargetChoice::Subject { user, source }),
        1 => Just(TargetChoice::All),
        2 => (any::<bool>(), select(vec![60_u64, 7200]))
            .prop_map(|(token, secs)| TargetChoice::Token { token, secs }),
        1 => (0..3_u8, any::<bool>())
            .prop_map(|(user, by_name)| TargetChoice::Tokens { user, by_name }),
    ];
    target.prop_map(Choice::Revoke)
}

fn codes() -> impl Strategy<Value = Choice> {
    let address = || option::of(0..4_usize);
    let put = (0..2_u8, 0..2_u8, address(), any::<bool>(), select(vec![1_u32, 3, 100]), 0..4_u8);
    let guess = (0..2_u8, 0..2_u8, address(), option::of(0..2_u8));
    prop_oneof![
        2 => put.prop_map(|(key, word, address, ticket, per_hour, version)| Choice::PutCode {
            key, word, address, ticket, per_hour, version
        }),
        1 => (0..2_u8).prop_map(Choice::FindCode),
        6 => guess.prop_map(|(key, word, address, ticket)| Choice::UseCode {
            key, word, address, ticket
        }),
    ]
}

fn attempts() -> impl Strategy<Value = Choice> {
    let what = prop_oneof![
        6 => Just(AttemptChoice::Count),
        1 => Just(AttemptChoice::Succeed(LoginProgress::Login)),
        1 => Just(AttemptChoice::Succeed(LoginProgress::Step)),
        1 => Just(AttemptChoice::Undecide),
    ];
    let kind = select(vec![AttemptKind::Password, AttemptKind::Password, AttemptKind::Code]);
    let attempt = (0..2_u8, kind, option::weighted(0.9, 0..4_usize), what);
    prop_oneof![
        9 => attempt.prop_map(|(account, kind, address, what)| Choice::Attempt {
            account, kind, address, what
        }),
        1 => (0..2_u8).prop_map(Choice::LiftLimits),
    ]
}

fn accounts() -> impl Strategy<Value = Choice> {
    let whose = || (0..2_usize, 0..3_u8);
    let put = (0..2_usize, 0..3_u8, 0..3_u8, option::of(0..99_u64));
    prop_oneof![
        4 => put.prop_map(|(source, user, name, hashed)| Choice::PutAccount {
            source, user, name, hashed
        }),
        1 => whose().prop_map(|(source, user)| Choice::FindAccount { source, user }),
        3 => whose().prop_map(|(source, name)| Choice::FindAccountByName { source, name }),
        2 => whose().prop_map(|(source, user)| Choice::RemoveAccount { source, user }),
        1 => (0..2_usize).prop_map(Choice::CountAccounts),
        1 => (0..2_usize, 0..3_u8, option::weighted(0.8, 0..3_u8))
            .prop_map(|(source, user, secret)| Choice::PutTotp { source, user, secret }),
        1 => whose().prop_map(|(source, user)| Choice::FindTotp { source, user }),
        2 => (0..2_usize, 0..3_u8, 0..4_u64)
            .prop_map(|(source, user, step)| Choice::UseTotp { source, user, step }),
    ]
}

/// A session of this run, and the refresh tokens that it had, the working one last.
#[derive(Debug)]
struct BegunSession {
    first: Session,
    tokens: Vec<(Digest, u32)>,
}

/// The state of a run that choices refer to.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) now: Timestamp,
    begun: Vec<BegunSession>,
    /// An id that no store ever has.
    never: SessionId,
    tokens_made: u32,
    /// The opaque access tokens of all sessions, as they were issued.
    issued: Vec<Digest>,
}

impl Run {
    pub(super) fn new() -> Self {
        Self {
            now: START,
            begun: Vec::new(),
            never: SessionId::new(START),
            tokens_made: 0,
            issued: Vec::new(),
        }
    }

    /// The credentials whose revocation is worth looking at.
    pub(super) fn credentials(&self) -> Credentials {
        let users = (0..3).flat_map(|user| {
            [Some(START), Some(self.now), None].map(|issued| ForeignToken {
                subject: Subject::new(user_name(user)),
                username: format!("Name of {}", user_name(user)).into(),
                issued,
                is_takeover: false,
            })
        });
        Credentials {
            sessions: self.begun.iter().map(|it| it.first.id).chain([self.never]).collect(),
            tokens: vec![foreign_token(false), foreign_token(true)],
            foreign: users.collect(),
        }
    }

    /// Takes note of an answer: a rotation gives a session another token.
    pub(super) fn note(&mut self, step: &Step, answer: &Answer) {
        if let (Step::Put { session, .. }, true) = (step, self.is_new(step)) {
            let tokens = session.refresh.iter().map(|it| (it.current, it.number)).collect();
            self.begun.push(BegunSession { first: (**session).clone(), tokens });
        }
        if let (Step::Rotate { id, .. }, Answer::Rotation(RotationOutcome::Rotated(session))) =
            (step, answer)
            && let Some(begun) = self.begun.iter_mut().find(|begun| begun.first.id == *id)
        {
            begun.tokens.extend(session.refresh.iter().map(|it| (it.current, it.number)));
        }
    }

    fn is_new(&self, step: &Step) -> bool {
        matches!(step, Step::Put { session, .. }
            if self.begun.iter().all(|begun| begun.first.id != session.id))
    }

    /// What a choice is in this run; `None` for time that passes.
    pub(super) fn step(&mut self, choice: Choice) -> Option<Step> {
        Some(match choice {
            Choice::Wait(duration) => {
                self.now = self.now.plus(duration);
                return None;
            }
            Choice::Put { user, source, tokens, is_idle, traded, limit } => {
                let mut session = self.session(user, source, tokens);
                session.idle = is_idle.then_some(Duration::from_secs(3600));
                session.traded = traded.then(|| foreign_token(user == 0));
                let limit = NonZeroUsize::new(limit).unwrap();
                Step::Put { session: Box::new(session), limit }
            }
            Choice::PutAgain(nth) => {
                let session = Box::new(self.begun.get(nth)?.first.clone());
                Step::Put { session, limit: samples::MANY }
            }
            Choice::Find(nth) => Step::Find(self.id(nth)),
            Choice::FindByToken(age) => {
                let issued = self.issued.iter().rev().nth(age);
                Step::FindByToken(issued.copied().unwrap_or(token("made up")))
            }
            Choice::List { user, limit } => {
                Step::List { subject: user.map(|user| Subject::new(user_name(user))), limit }
            }
            Choice::Pages => Step::Pages,
            Choice::Rotate { session, age, generation, grace } => {
                self.rotation(session, age, generation, grace)
            }
            Choice::Renew { session, age, access } => Step::Renew {
                id: self.id(session),
                presented: age.map(|age| self.token(session, age).0),
                access_until: self.now.plus(Duration::from_secs(access)),
                issued: self.issue(),
            },
            Choice::Revoke(target) => Step::Revoke(self.target(target)),
            Choice::Rehash { user, source, old, new } => Step::Rehash {
                source: SOURCES[source].to_owned(),
                user: UserId::new(user_name(user)),
                subject: Subject::new(user_name(user)),
                old: version(old),
                new: version(new),
            },
            other => self.other_step(other),
        })
    }

    fn other_step(&self, choice: Choice) -> Step {
        match choice {
            Choice::PutCode { key, word, address, ticket, per_hour, version: of } => {
                let code = OneTimeCode {
                    key: code_key(key),
                    code: token(&format!("code {word}")),
                    user_id: UserId::new(user_name(key)),
                    username: user_name(key),
                    source: SOURCES[0].to_owned(),
                    user_version: version(of),
                    expires: self.now.plus(Duration::from_secs(600)),
                    address: address.map(ip),
                    ticket: ticket.then(|| token("ticket 0")),
                    kept: None,
                };
                Step::PutCode { code, per_hour }
            }
            Choice::FindCode(key) => Step::FindCode(code_key(key)),
            Choice::UseCode { key, word, address, ticket } => Step::UseCode(CodeGuess {
                key: code_key(key),
                code: token(&format!("code {word}")),
                address: address.map(ip),
                ticket: ticket.map(|ticket| token(&format!("ticket {ticket}"))),
            }),
            Choice::Attempt { account, kind, address, what } => {
                let attempt = LoginAttempt {
                    account: token(&format!("account {account}")),
                    kind,
                    address: address.map(ip),
                    per_account: (3, Duration::from_secs(600)),
                    per_address: (5, Duration::from_secs(900)),
                };
                match what {
                    AttemptChoice::Count => Step::CountAttempt(attempt),
                    AttemptChoice::Succeed(progress) => {
                        Step::AttemptSucceeded { attempt, progress }
                    }
                    AttemptChoice::Undecide => Step::AttemptUndecided(attempt),
                }
            }
            Choice::LiftLimits(account) => Step::LiftLimits(token(&format!("account {account}"))),
            other => self.account_step(other),
        }
    }

    fn account_step(&self, choice: Choice) -> Step {
        let whose =
            |source: usize, user| (SOURCES[source].to_owned(), UserId::new(user_name(user)));
        match choice {
            Choice::PutAccount { source, user, name, hashed } => {
                let made = hashed.map(|secs| START.plus(Duration::from_secs(secs)));
                let account = samples::account(SOURCES[source], &user_name(user), &key_name(name));
                Step::PutAccount(Box::new(KnownAccount {
                    hash: made.map(|_| "$argon2id$".to_owned()),
                    imported: made,
                    seen: self.now,
                    ..account
                }))
            }
            Choice::FindAccount { source, user } => {
                let (source, id) = whose(source, user);
                Step::FindAccount { source, id }
            }
            Choice::FindAccountByName { source, name } => {
                Step::FindAccountByName { source: SOURCES[source].to_owned(), name: key_name(name) }
            }
            Choice::RemoveAccount { source, user } => {
                let (source, id) = whose(source, user);
                Step::RemoveAccount { source, id }
            }
            Choice::CountAccounts(source) => Step::CountAccounts(SOURCES[source].to_owned()),
            Choice::PutTotp { source, user, secret } => {
                let (source, id) = whose(source, user);
                let made = self.now;
                let totp =
                    secret.map(|byte| TotpSecret { secret: Secret::new(vec![byte; 20]), made });
                Step::PutTotp { source, id, totp }
            }
            Choice::FindTotp { source, user } => {
                let (source, id) = whose(source, user);
                Step::FindTotp { source, id }
            }
            Choice::UseTotp { source, user, step } => {
                let (source, id) = whose(source, user);
                Step::UseTotp { source, id, step }
            }
            other => unreachable!("{other:?} is turned into a step above"),
        }
    }

    fn session(&mut self, user: u8, source: usize, tokens: TokenChoice) -> Session {
        let first = self.new_token();
        let mut session = samples::session(&user_name(user), self.now);
        session.source = SOURCES[source].to_owned();
        session.realm = SOURCES[source].to_owned();
        session.user_version = version(user);
        session.refresh = (tokens != TokenChoice::None).then(|| RefreshGeneration {
            number: 1,
            is_named: tokens == TokenChoice::Numbered,
            current: first,
            expires: session.expires,
            retired: None,
            repeated: None,
        });
        session.tokens.extend(self.issue());
        session
    }

    /// The opaque access token that a step issues; some steps issue none.
    fn issue(&mut self) -> Option<OpaqueToken> {
        let digest = self.new_token();
        let expires = self.now.plus(Duration::from_secs(60));
        let token = OpaqueToken { digest, issued: self.now, expires };
        (!self.tokens_made.is_multiple_of(3)).then(|| {
            self.issued.push(digest);
            token
        })
    }

    fn rotation(
        &mut self,
        session: usize,
        age: usize,
        generation: GenerationChoice,
        grace: u64,
    ) -> Step {
        let (presented, number) = self.token(session, age);
        let generation = match generation {
            GenerationChoice::Right => Some(number),
            GenerationChoice::None => None,
            GenerationChoice::Future => Some(99),
        };
        let rotation = RefreshRotation {
            presented,
            generation,
            successor: self.new_token(),
            expires: self.now.plus(Duration::from_secs(24 * 3600)),
            access_until: self.now.plus(Duration::from_secs(3600)),
            issued: self.issue(),
            grace: Duration::from_secs(grace),
        };
        Step::Rotate { id: self.id(session), rotation }
    }

    /// The token that a session had `age` rotations ago, and its number; another if it had none.
    fn token(&self, session: usize, age: usize) -> (Digest, u32) {
        let tokens = self.begun.get(session).map_or(&[][..], |begun| &begun.tokens);
        tokens.iter().rev().nth(age).copied().unwrap_or((token("made up"), 1))
    }

    fn new_token(&mut self) -> Digest {
        self.tokens_made += 1;
        token(&format!("token {}", self.tokens_made))
    }

    fn id(&self, nth: usize) -> SessionId {
        self.begun.get(nth).map_or(self.never, |begun| begun.first.id)
    }

    fn target(&self, choice: TargetChoice) -> RevocationTarget {
        match choice {
            TargetChoice::Session(nth) => RevocationTarget::Session(self.id(nth)),
            TargetChoice::Siblings(nth) => RevocationTarget::Siblings(self.id(nth)),
            TargetChoice::Subject { user, source } => RevocationTarget::Subject {
                subject: Subject::new(user_name(user)),
                realm: source.map(|source| SOURCES[source].to_owned()),
            },
            TargetChoice::All => RevocationTarget::All,
            TargetChoice::Token { token, secs } => RevocationTarget::Token {
                digest: foreign_token(token),
                until: self.now.plus(Duration::from_secs(secs)),
            },
            TargetChoice::Tokens { user, by_name } => RevocationTarget::Tokens {
                of: vec![match by_name {
                    true => TokenOwner::named(&format!("name of {}", user_name(user))),
                    false => TokenOwner::Subject(Subject::new(user_name(user))),
                }],
            },
        }
    }
}

fn user_name(user: u8) -> String {
    format!("user {user}")
}

fn key_name(name: u8) -> String {
    format!("name {name}")
}

fn version(number: u8) -> Digest {
    token(&format!("version {number}"))
}

fn code_key(key: u8) -> Digest {
    token(&format!("code key {key}"))
}

fn foreign_token(which: bool) -> Digest {
    token(if which { "foreign token one" } else { "foreign token two" })
}

fn ip(nth: usize) -> IpAddr {
    ADDRESSES[nth].parse().unwrap()
}
