//! Clients of the simulated nodes: owners of sessions, thieves, and users of codes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{SessionId, Subject, UserId};
use tollhouse_core::secret::{Digest, Secret};
use tollhouse_store::shared::SharedStore;
use tollhouse_store::{
    AccountStore, AttemptAdmission, AttemptKind, AttemptStore, CodeGuess, CodeStore, CodeVerdict,
    LoginAttempt, OneTimeCode, PutCode, RefreshGeneration, RefreshRotation, RevocationTarget,
    RotationOutcome, Session, SessionStore, Store, TotpSecret,
};

use super::draws::Draws;
use super::promises::Span;
use super::world::World;
use super::{GRACE, NODES, PlantedFault};
use crate::samples::{MANY, START, session};

const ACCESS: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A session as its owner has it.
struct Owned {
    id: SessionId,
    user: String,
    /// The generation of the refresh token, and its digest.
    generation: u32,
    token: Digest,
    /// When this token was first presented.
    presented: Option<Duration>,
    /// Retired tokens: what a thief may have.
    retired: Vec<Digest>,
    is_over: bool,
}

/// An owner logs in, refreshes, and logs out, again and again. Now and then a thief is quicker.
pub(super) async fn own(world: Arc<World>, number: usize) {
    let mut draws = Draws::new(world.seed, "owner", number);
    while !world.is_over() {
        let Some(mut owned) = log_in(&world, &mut draws, number).await else {
            sleep(draws.millis(50, 300)).await;
            continue;
        };
        while !owned.is_over && !world.is_over() {
            sleep(draws.millis(20, 2500)).await;
            match draws.below(20) {
                0..10 => refresh(&world, &mut draws, &mut owned).await,
                10..13 => refresh_twice(&world, &mut draws, &mut owned).await,
                13 => find(&world, &mut draws, &mut owned).await,
                14 => steal(&world, &mut draws, &owned, false).await,
                15 => steal(&world, &mut draws, &owned, true).await,
                16 => end_all(&world, &mut draws, &mut owned).await,
                _ => log_out(&world, &mut draws, &mut owned).await,
            }
        }
    }
}

/// A node that is running, by chance.
fn any_node(world: &World, draws: &mut Draws) -> Option<(usize, Arc<SharedStore>)> {
    let number = draws.below(NODES);
    world.nodes[number].store().map(|store| (number, store))
}

async fn log_in(world: &Arc<World>, draws: &mut Draws, number: usize) -> Option<Owned> {
    let (node, store) = any_node(world, draws)?;
    let now = world.nodes[node].now();
    let id = uuid::Builder::from_unix_timestamp_millis(now.millis(), &draws.bytes());
    let id = SessionId(id.into_uuid());
    let user = world.promises.lock().user(number % 3);
    let token = Digest::of(id.0.as_bytes());
    let new = Session {
        id,
        access_until: now.plus(ACCESS),
        refresh: Some(RefreshGeneration {
            number: 1,
            is_named: true,
            current: token,
            expires: now.plus(DAY),
            retired: None,
            repeated: None,
        }),
        ..session(&user, now)
    };
    let issued = issue(world, node, &store);
    let began = world.at();
    let stored = store.put(new, MANY, now).await;
    let login = Span { began, answered: world.at() };
    world.note(&format!("node {node} logs {id:?} in: {}", word(&stored)));
    stored.ok()?;
    world.promises.lock().logged_in(id, &user, login, issued);
    Some(Owned {
        id,
        user,
        generation: 1,
        token,
        presented: None,
        retired: Vec::new(),
        is_over: false,
    })
}

/// When a node says that it issued a token.
fn issue(world: &World, node: usize, store: &SharedStore) -> Timestamp {
    world.nodes[node].now().whole_secs().max(store.revocations().earliest_issue())
}

/// The successor of a refresh token. All nodes derive the same one.
fn successor_of(token: Digest) -> Digest {
    Digest::of(&token.0)
}

/// Presents a refresh token at a node; `None` if there was no answer.
async fn present(
    world: &Arc<World>,
    node: usize,
    id: SessionId,
    generation: u32,
    token: Digest,
) -> Option<RotationOutcome> {
    let store = world.nodes[node].store()?;
    let now = world.nodes[node].now();
    let rotation = RefreshRotation {
        presented: token,
        generation: Some(generation),
        successor: successor_of(token),
        expires: now.plus(DAY),
        access_until: now.plus(ACCESS),
        issued: None,
        grace: GRACE,
    };
    let issued = issue(world, node, &store);
    let began = world.at();
    let outcome = if world.fault == Some(PlantedFault::GraceForAnyToken) {
        with_grace_for_any_token(&store, id, rotation, now).await
    } else {
        store.rotate(id, rotation, now).await
    };
    let request = Span { began, answered: world.at() };
    let text = match &outcome {
        Ok(outcome) => format!("{outcome:?}").split('(').next().unwrap_or_default().to_owned(),
        Err(error) => error.to_string(),
    };
    world.note(&format!("node {node} refreshes {id:?} by generation {generation}: {text}"));
    let outcome = outcome.ok()?;
    let mut promises = world.promises.lock();
    promises.refreshed(id, generation, &outcome, request);
    if let RotationOutcome::Rotated(_) | RotationOutcome::Grace(_) | RotationOutcome::Fresh(_) =
        outcome
    {
        promises.issued(id, issued);
    }
    Some(outcome)
}

/// A store that gives grace by time alone, whichever retired token is presented.
async fn with_grace_for_any_token(
    store: &SharedStore,
    id: SessionId,
    rotation: RefreshRotation,
    now: Timestamp,
) -> Result<RotationOutcome, tollhouse_store::StoreError> {
    if let Some(session) = store.find(id, now).await?
        && let Some(tokens) = &session.refresh
        && rotation.presented != tokens.current
        && tokens.retired.is_some()
    {
        return Ok(RotationOutcome::Grace(Box::new(session)));
    }
    store.rotate(id, rotation, now).await
}

/// The owner refreshes, at one node after the other until one answers.
async fn refresh(world: &Arc<World>, draws: &mut Draws, owned: &mut Owned) {
    for _ in 0..5 {
        if owned.is_too_late(world) {
            return;
        }
        let node = draws.below(NODES);
        owned.presented.get_or_insert(world.at());
        if let Some(outcome) = present(world, node, owned.id, owned.generation, owned.token).await {
            owned.take(world, &outcome);
            return;
        }
        sleep(draws.millis(10, 400)).await;
    }
}

/// The owner's program refreshes twice at the same time, at two nodes.
async fn refresh_twice(world: &Arc<World>, draws: &mut Draws, owned: &mut Owned) {
    if owned.is_too_late(world) {
        return;
    }
    owned.presented.get_or_insert(world.at());
    let (one, other) = (draws.below(NODES), draws.below(NODES));
    let (id, generation, token) = (owned.id, owned.generation, owned.token);
    let outcomes = futures_util::future::join(
        present(world, one, id, generation, token),
        present(world, other, id, generation, token),
    );
    let (one, other) = outcomes.await;
    let mut outcomes = one.into_iter().chain(other);
    if let Some(first) = outcomes.next() {
        owned.take(world, &first);
    }
    if let Some(second) = outcomes.next() {
        owned.take_again(world, &second, token);
    }
    owned.is_too_late(world);
}

impl Owned {
    fn take(&mut self, world: &World, outcome: &RotationOutcome) {
        match outcome {
            RotationOutcome::Rotated(_) | RotationOutcome::Grace(_) => {
                self.retired.push(self.token);
                self.token = successor_of(self.token);
                self.generation += 1;
                self.presented = None;
            }
            RotationOutcome::Fresh(_) => self.presented = None,
            refused => self.refused(world, &format!("{refused:?}")),
        }
    }

    /// Takes the answer to a request with a token that another answer may have replaced meanwhile.
    fn take_again(&mut self, world: &World, outcome: &RotationOutcome, token: Digest) {
        if self.token == token {
            self.take(world, outcome);
        } else if matches!(
            outcome,
            RotationOutcome::Reuse(_) | RotationOutcome::Unknown | RotationOutcome::Gone
        ) {
            self.refused(world, &format!("{outcome:?}"));
        }
    }

    fn refused(&mut self, world: &World, what: &str) {
        if !self.is_too_late(world) {
            world.promises.lock().owner_refused(self.id, what, world.at());
        }
        self.is_over = true;
    }

    /// True if the token was first presented so long ago that grace may be over: the owner has to
    /// log in again.
    fn is_too_late(&mut self, world: &World) -> bool {
        const ANSWER: Duration = Duration::from_secs(1);
        let is_late = self.presented.is_some_and(|first| world.at() > first + GRACE - ANSWER);
        if is_late {
            world.promises.lock().may_have_ended(self.id, world.at());
        }
        self.is_over |= is_late;
        is_late
    }
}

/// The owner asks for the session.
async fn find(world: &Arc<World>, draws: &mut Draws, owned: &mut Owned) {
    let Some((node, store)) = any_node(world, draws) else { return };
    let found = store.find(owned.id, world.nodes[node].now()).await;
    world.note(&format!("node {node} finds {:?}: {}", owned.id, word(&found)));
    if let Ok(None) = found {
        owned.refused(world, "not found");
    }
}

/// A thief presents a retired token, or the working one.
async fn steal(world: &Arc<World>, draws: &mut Draws, owned: &Owned, is_working: bool) {
    world.promises.lock().may_have_ended(owned.id, world.at());
    let node = draws.below(NODES);
    if is_working {
        present(world, node, owned.id, owned.generation, owned.token).await;
    } else if !owned.retired.is_empty() {
        let stolen = draws.below(owned.retired.len());
        let generation = u32::try_from(stolen).unwrap() + 1;
        present(world, node, owned.id, generation, owned.retired[stolen]).await;
    }
}

/// The owner logs out, until that is acknowledged.
async fn log_out(world: &Arc<World>, draws: &mut Draws, owned: &mut Owned) {
    owned.is_over = true;
    let (id, is_of_all) = (owned.id, draws.percent(25));
    // Of a session that has ended nobody knows whose the others are.
    if is_of_all && !world.promises.lock().is_doubtful(id) {
        end_all_by(world, draws, &owned.user, RevocationTarget::Siblings(id)).await;
        return;
    }
    world.promises.lock().may_have_ended(id, world.at());
    for _ in 0..10 {
        if let Some((node, store)) = any_node(world, draws) {
            let ended = if world.fault == Some(PlantedFault::EndNotFinal) {
                end_before_it_is_final(world, node, &store, id);
                Ok(Vec::new())
            } else {
                store.revoke(RevocationTarget::Session(id), world.nodes[node].now()).await
            };
            world.note(&format!("node {node} ends {id:?}: {}", word(&ended)));
            if ended.is_ok() {
                world.promises.lock().ended(id, world.at());
                // Another program of the owner does not know yet.
                sleep(draws.millis(1, 50)).await;
                present(world, draws.below(NODES), id, owned.generation, owned.token).await;
                return;
            }
            if !store.revocations().session_revoked(&id) {
                let what = "a logout that could not be written has no effect";
                world.promises.lock().broke(world.at(), what);
            }
        }
        sleep(draws.millis(10, 300)).await;
    }
}

/// A node that acknowledges an end before the record says so, and tells the others later.
fn end_before_it_is_final(world: &World, node: usize, store: &Arc<SharedStore>, id: SessionId) {
    let now = world.nodes[node].now();
    store.revocations().revoke_session(id, now.plus(ACCESS));
    let store = store.clone();
    tokio::spawn(async move {
        sleep(Duration::from_millis(300)).await;
        let _ = store.revoke(RevocationTarget::Session(id), now).await;
    });
}

/// An administrator ends all sessions of the user.
async fn end_all(world: &Arc<World>, draws: &mut Draws, owned: &mut Owned) {
    let subject = Subject::new(owned.user.as_str());
    let target = RevocationTarget::Subject { subject, realm: None };
    end_all_by(world, draws, &owned.user, target).await;
    owned.is_over = true;
}

async fn end_all_by(world: &Arc<World>, draws: &mut Draws, user: &str, target: RevocationTarget) {
    let first = world.at();
    for _ in 0..10 {
        if let Some((node, store)) = any_node(world, draws) {
            let began = world.at();
            let number = world.promises.lock().end_of_user_began(user, began);
            let ended = store.revoke(target.clone(), world.nodes[node].now()).await;
            let request = Span { began, answered: world.at() };
            world.note(&format!("node {node} ends all of {user}: {}", word(&ended)));
            let mut promises = world.promises.lock();
            // Of a session that has ended meanwhile, or is lost, nobody knows whose it was.
            let is_sure = match target {
                RevocationTarget::Siblings(_) => {
                    first == began
                        && promises.is_alone(user, number, request)
                        && !promises.is_emptied_since(first)
                }
                _ => true,
            };
            promises.end_of_user_answered(user, number, request, ended.is_ok() && is_sure);
            if ended.is_ok() {
                return;
            }
        }
        sleep(draws.millis(10, 300)).await;
    }
}

fn word<T, E: std::fmt::Display>(result: &Result<T, E>) -> String {
    result.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned())
}

/// Somebody revokes foreign tokens, each until that is acknowledged.
pub(super) async fn revoke_tokens(world: Arc<World>) {
    let mut draws = Draws::new(world.seed, "tokens", 0);
    while !world.is_over() {
        sleep(draws.millis(500, 3000)).await;
        let digest = Digest(draws.bytes());
        for _ in 0..10 {
            let Some((node, store)) = any_node(&world, &mut draws) else { continue };
            let now = world.nodes[node].now();
            let target = RevocationTarget::Token { digest, until: now.plus(DAY) };
            if store.revoke(target, now).await.is_ok() {
                world.note(&format!("node {node} revokes {digest:?}"));
                world.promises.lock().token_revoked(digest, world.at());
                break;
            }
            sleep(draws.millis(10, 300)).await;
        }
    }
}

/// Users of one-time codes: each code is entered at several nodes at once.
pub(super) async fn enter_codes(world: Arc<World>) {
    let mut draws = Draws::new(world.seed, "codes", 0);
    let mut number = 0_u32;
    while !world.is_over() {
        number += 1;
        let key = Digest::of(format!("account {number}").as_bytes());
        let Some((node, store)) = any_node(&world, &mut draws) else {
            sleep(draws.millis(50, 300)).await;
            continue;
        };
        // A code that may not have been stored is followed by another one for the same account.
        let mut code = code(key, 1);
        let mut put = store.put_code(code.clone(), 100, world.nodes[node].now()).await;
        if put.is_err() {
            code = self::code(key, 2);
            put = store.put_code(code.clone(), 100, world.nodes[node].now()).await;
        }
        if let Ok(PutCode::Kept) = put {
            let guesses =
                (0..4).map(|_| guess(&world, draws.below(NODES), &code, draws.millis(0, 30)));
            let right: usize = futures_util::future::join_all(guesses).await.into_iter().sum();
            sleep(draws.millis(0, 3000)).await;
            let later = guess(&world, draws.below(NODES), &code, Duration::ZERO).await;
            world.note(&format!("code {number} is right {right} times, then {later}"));
            if right + later > 1 {
                world.promises.lock().broke(world.at(), "a code was spent twice");
            }
        }
        sleep(draws.millis(100, 1500)).await;
    }
}

fn code(key: Digest, number: u8) -> OneTimeCode {
    OneTimeCode {
        key,
        code: Digest::of(&[number]),
        user_id: UserId::new("a"),
        username: "a".to_owned(),
        source: "staff".to_owned(),
        user_version: Digest::of(b"1"),
        expires: START.plus(DAY),
        address: None,
        ticket: Some(key),
        kept: None,
    }
}

/// Enters the right code; 1 if it was accepted.
async fn guess(world: &Arc<World>, node: usize, code: &OneTimeCode, later: Duration) -> usize {
    sleep(later).await;
    let Some(store) = world.nodes[node].store() else { return 0 };
    let guess = CodeGuess { key: code.key, code: code.code, address: None, ticket: code.ticket };
    let verdict = store.use_code(guess, world.nodes[node].now()).await;
    usize::from(matches!(verdict, Ok(CodeVerdict::Right(_))))
}

/// Users of authenticators, each code entered at several nodes at once.
pub(super) async fn enter_authenticator_codes(world: Arc<World>) {
    let mut draws = Draws::new(world.seed, "authenticators", 0);
    let user = UserId::new("a");
    let mut step = 1;
    while !world.is_over() {
        let began = world.at();
        let totp = TotpSecret { secret: Secret::new(vec![1; 20]), made: START };
        if let Some((_, store)) = any_node(&world, &mut draws)
            && store.put_totp("staff", &user, Some(totp)).await.is_ok()
        {
            // From here on the secret stays, so that no step counts twice.
            while !world.is_over() && world.promises.lock().is_one_epoch(began) {
                step += 1;
                let entering = (0..3).map(|_| enter(&world, draws.below(NODES), &user, step));
                let used: usize = futures_util::future::join_all(entering).await.into_iter().sum();
                let again = enter(&world, draws.below(NODES), &user, step).await;
                if used + again > 1 {
                    world.promises.lock().broke(world.at(), "a code of an app was spent twice");
                }
                sleep(draws.millis(100, 1500)).await;
            }
        }
        sleep(draws.millis(100, 1000)).await;
    }
}

async fn enter(world: &Arc<World>, node: usize, user: &UserId, step: u64) -> usize {
    let Some(store) = world.nodes[node].store() else { return 0 };
    let used = store.use_totp_step("staff", user, step).await;
    usize::from(matches!(used, Ok(true)))
}

/// Somebody guesses passwords at all nodes at once.
pub(super) async fn guess_passwords(world: Arc<World>) {
    const LIMIT: usize = 5;
    let mut draws = Draws::new(world.seed, "guesser", 0);
    let mut number = 0_u32;
    while !world.is_over() {
        number += 1;
        let began = world.at();
        let mut admitted = 0;
        for _ in 0..4 {
            let guesses =
                (0..4_u8).map(|_| attempt(&world, number, draws.below(NODES), draws.bytes()));
            admitted += futures_util::future::join_all(guesses).await.into_iter().sum::<usize>();
            sleep(draws.millis(10, 1000)).await;
        }
        let mut promises = world.promises.lock();
        if promises.is_one_epoch(began) && admitted > LIMIT {
            promises.broke(world.at(), "more passwords were guessed than the limit allows");
        }
    }
}

async fn attempt(world: &Arc<World>, account: u32, node: usize, from: [u8; 4]) -> usize {
    let Some(store) = world.nodes[node].store() else { return 0 };
    let attempt = LoginAttempt {
        account: Digest::of(&account.to_be_bytes()),
        kind: AttemptKind::Password,
        address: Some(from.into()),
        per_account: (5, Duration::from_secs(600)),
        per_address: (1000, Duration::from_secs(600)),
    };
    let admission = store.count_attempt(attempt, world.nodes[node].now()).await;
    usize::from(matches!(admission, Ok(AttemptAdmission::Admitted)))
}
