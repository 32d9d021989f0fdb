//! One session as the protocol sees it: a record that nodes read and swap, a feed, an owner who
//! repeats what was not answered, a thief with a copy of a token, and one revocation.
//!
//! Reading and swapping are two steps of a node, and anything may happen between them. Answers of
//! the database and of nodes get lost. An operation lives shorter than a second, as `OPERATION`
//! says, but a swap that it sent may arrive at any later time. The decisions are those of
//! `rotation`, called with one second for each unit of time.
//!
//! States are kept few without leaving any out: times are ages, which stop counting where nothing
//! depends on them any more, and a write knows only whether the record is still as it was read.

use std::time::Duration;

use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::Digest;
use tollhouse_store::rotation::{self, RotationStep};
use tollhouse_store::{RefreshGeneration, RefreshRotation};

use super::search::Protocol;
use super::{Fault, Promise};

/// Seconds for which a retired token still gets the answer again. Long enough to tell "just now",
/// "within grace" and "later" apart.
const GRACE: u8 = 2;

/// The bounds of a search, and what is broken on purpose.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionProtocol {
    pub(super) nodes: usize,
    /// Number of refreshes that are asked for, by the owner and the thief together.
    pub(super) refreshes: usize,
    /// Number of operations that nodes work on at the same time.
    pub(super) at_once: usize,
    pub(super) has_thief: bool,
    pub(super) has_revocation: bool,
    /// A swap may arrive after its operation has given up.
    pub(super) has_late_swaps: bool,
    pub(super) fault: Option<Fault>,
    /// The promise that is looked at; `None`: all.
    pub(super) promise: Option<Promise>,
}

/// Tokens are numbered in the order in which they were thought of; the login's is 0.
type Token = u8;

/// How many seconds ago something happened; `GRACE` and everything above are the same.
type Age = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum StoredSession {
    Live { number: u32, current: Token, retired: Option<(Token, Age)>, repeated: Option<Age> },
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Outcome {
    Rotated(Token),
    Fresh(Token),
    Grace(Token),
    Reuse,
    Unknown,
    Gone,
    /// The answer to a revocation.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Purpose {
    Refresh {
        presented: Token,
        by_owner: bool,
        is_after_revocation: bool,
    },
    /// For a client, or because the node could not finish an earlier one.
    Revoke {
        for_client: bool,
    },
}

/// The record in the database as a write sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Seen {
    /// It has the version that the write expects.
    Unchanged,
    /// This write has written it.
    Own,
    /// Another write was quicker.
    Changed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Write {
    seen: Seen,
    session: StoredSession,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Sent,
    Write(Write),
    Publish(Outcome),
    Answer(Outcome),
    /// Only with `Fault::EndNotFinal`: the record is ended after the answer.
    EndLater,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Operation {
    id: u8,
    node: usize,
    purpose: Purpose,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct NodeMemory {
    /// Access tokens of the session are refused here.
    is_revoked: bool,
    /// The node must still carry out the revocation.
    is_deferred: bool,
}

/// The history of one token. No node knows it; the promises are about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct TokenHistory {
    /// The token that was presented for it.
    origin: Token,
    retired: Option<Age>,
    /// A client has got it.
    is_known: bool,
    /// It was presented and taken for the working token.
    was_accepted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Revocation {
    None,
    Requested,
    Acknowledged,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SessionState {
    session: StoredSession,
    is_published: bool,
    nodes: Vec<NodeMemory>,
    operations: Vec<Operation>,
    /// Writes on their way whose operation has given up.
    late: Vec<Write>,
    /// The owner's token, the last request with it, and for how long the owner repeats it.
    owned: Token,
    asked: Option<(u8, Age)>,
    has_thief: bool,
    last_retired: Option<Token>,
    tokens: Vec<TokenHistory>,
    revocation: Revocation,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum SessionStep {
    /// A second passes; operations that are not over by then fail.
    Tick,
    OwnerRefreshes {
        node: usize,
    },
    /// A copy of a token that the owner or the thief ever got is used.
    ThiefRefreshes {
        node: usize,
        token: u8,
    },
    Revoke {
        node: usize,
    },
    RetryRevocation {
        node: usize,
    },
    Read {
        operation: u8,
    },
    Swap {
        operation: u8,
        is_answered: bool,
    },
    LateSwapArrives {
        nth: usize,
    },
    Publish {
        operation: u8,
        is_answered: bool,
    },
    Answer {
        operation: u8,
    },
    FeedReaches {
        node: usize,
    },
}

impl Protocol for SessionProtocol {
    type State = SessionState;
    type Step = SessionStep;

    fn initial(&self) -> SessionState {
        SessionState {
            session: StoredSession::Live { number: 0, current: 0, retired: None, repeated: None },
            is_published: false,
            nodes: vec![NodeMemory::default(); self.nodes],
            operations: Vec::new(),
            late: Vec::new(),
            owned: 0,
            asked: None,
            has_thief: false,
            last_retired: None,
            tokens: vec![TokenHistory { is_known: true, ..TokenHistory::default() }],
            revocation: Revocation::None,
        }
    }

    fn essence(&self, state: &SessionState) -> SessionState {
        let works_on = |node: usize| {
            let of_node = state.operations.iter().filter(move |operation| operation.node == node);
            of_node.map(|operation| operation.id)
        };
        let mut order: Vec<usize> = (0..self.nodes).collect();
        order.sort_by_key(|node| (state.nodes[*node], works_on(*node).collect::<Vec<_>>()));
        let mut essence = state.clone();
        essence.nodes = order.iter().map(|node| state.nodes[*node]).collect();
        for operation in &mut essence.operations {
            let place = order.iter().position(|node| *node == operation.node);
            operation.node = place.unwrap_or_default();
        }
        essence
    }

    fn steps(&self, state: &SessionState) -> Vec<SessionStep> {
        // A session that has ended, as every node knows, can break no promise any more.
        let is_over = state.nodes.iter().all(|memory| memory.is_revoked);
        if is_over && state.session == StoredSession::Ended {
            return Vec::new();
        }
        let mut steps = vec![SessionStep::Tick];
        let has_room = state.operations.len() < self.at_once;
        let may_refresh = has_room && state.tokens.len() <= self.refreshes;
        for (node, memory) in state.nodes.iter().enumerate() {
            let since = state.asked.map_or(0, |(_, since)| since);
            if may_refresh && since < GRACE {
                steps.push(SessionStep::OwnerRefreshes { node });
            }
            if may_refresh && self.has_thief {
                let known = (0..).zip(&state.tokens).filter(|(_, token)| token.is_known);
                steps.extend(known.map(|(token, _)| SessionStep::ThiefRefreshes { node, token }));
            }
            if has_room && self.has_revocation && state.revocation == Revocation::None {
                steps.push(SessionStep::Revoke { node });
            }
            if has_room && memory.is_deferred {
                steps.push(SessionStep::RetryRevocation { node });
            }
            if state.is_published && !memory.is_revoked {
                steps.push(SessionStep::FeedReaches { node });
            }
        }
        for Operation { id: operation, stage, .. } in state.operations.iter().copied() {
            match stage {
                Stage::Sent | Stage::EndLater => steps.push(SessionStep::Read { operation }),
                Stage::Write(write) => {
                    steps.push(SessionStep::Swap { operation, is_answered: true });
                    // A lost answer to a swap that changed nothing changes nothing.
                    if write.seen == Seen::Unchanged {
                        steps.push(SessionStep::Swap { operation, is_answered: false });
                    }
                }
                Stage::Publish(_) => {
                    steps.push(SessionStep::Publish { operation, is_answered: true });
                    if !state.is_published {
                        steps.push(SessionStep::Publish { operation, is_answered: false });
                    }
                }
                // An answer that gets lost is one that has not arrived when the second is over.
                Stage::Answer(_) => steps.push(SessionStep::Answer { operation }),
            }
        }
        steps.extend((0..state.late.len()).map(|nth| SessionStep::LateSwapArrives { nth }));
        steps
    }

    fn take(&self, state: &SessionState, step: SessionStep) -> Result<SessionState, String> {
        let mut next = state.clone();
        match step {
            SessionStep::Tick => next.tick(self),
            SessionStep::OwnerRefreshes { node } => {
                let id = next.ask(node, next.owned, true);
                let since = next.asked.map_or(0, |(_, since)| since);
                next.asked = Some((id, since));
            }
            SessionStep::ThiefRefreshes { node, token } => {
                next.has_thief = true;
                next.ask(node, token, false);
            }
            SessionStep::Revoke { node } => {
                next.revocation = Revocation::Requested;
                next.begin_revocation(node, true, self.fault);
            }
            SessionStep::RetryRevocation { node } => {
                next.nodes[node].is_deferred = false;
                next.begin_revocation(node, false, None);
            }
            SessionStep::Read { operation } => self.decide(&mut next, operation)?,
            SessionStep::Swap { operation, is_answered } => {
                self.swap(&mut next, operation, is_answered)?;
            }
            SessionStep::LateSwapArrives { nth } => {
                let write = next.late.remove(nth);
                next.carry_out(write, self.fault);
                next.forget_hopeless_writes(self.fault);
            }
            SessionStep::Publish { operation, is_answered } => {
                next.is_published = true;
                if is_answered {
                    let Operation { stage: Stage::Publish(outcome), .. } = next.find(operation)
                    else {
                        unreachable!("only published there")
                    };
                    next.finish(self, operation, outcome)?;
                }
            }
            SessionStep::Answer { operation } => next.answer(operation, self.fault),
            SessionStep::FeedReaches { node } => next.nodes[node].is_revoked = true,
        }
        next.check(self)?;
        next.operations.sort_unstable_by_key(|operation| operation.id);
        Ok(next)
    }
}

impl SessionProtocol {
    fn assure(&self, promise: Promise, holds: bool, broken: &str) -> Result<(), String> {
        let is_looked_at = self.promise.is_none_or(|only| only == promise);
        if holds || !is_looked_at { Ok(()) } else { Err(format!("{promise:?}: {broken}")) }
    }

    /// Decides by the record as it is now, as `SharedStore::decide_rotation` and `end_session` do.
    fn decide(&self, state: &mut SessionState, id: u8) -> Result<(), String> {
        let operation = state.find(id);
        let (presented, by_owner) = match operation.purpose {
            Purpose::Refresh { presented, by_owner, .. } => (presented, by_owner),
            Purpose::Revoke { .. } => {
                match state.session {
                    StoredSession::Live { .. } => {
                        state.write(id, StoredSession::Ended, Outcome::Ended);
                    }
                    StoredSession::Ended => state.begin_to_publish(id, Outcome::Ended),
                }
                return Ok(());
            }
        };
        let is_revoked = state.nodes[operation.node].is_revoked;
        let StoredSession::Live { current, .. } = state.session else {
            return state.refuse_gone(self, id, by_owner);
        };
        let Some(generation) = generation(state.session).filter(|_| !is_revoked) else {
            return state.refuse_gone(self, id, by_owner);
        };
        let rotation = state.rotation(presented, id);
        let step = rotation::next_step(&generation, &rotation, NOW);
        let step = self.with_fault(step, &generation, &rotation);
        state.check_decision(self, step, presented, by_owner)?;
        match step {
            RotationStep::Rotate => {
                let next = stored(&rotation::successor(&generation, &rotation, NOW));
                state.write(id, next, Outcome::Rotated(id));
            }
            // Both note the access token that goes with the answer.
            RotationStep::Fresh => state.write(id, state.session, Outcome::Fresh(current)),
            RotationStep::Grace => {
                let next = stored(&rotation::repeated(&generation, NOW));
                state.write(id, next, Outcome::Grace(current));
            }
            RotationStep::Reuse => state.write(id, StoredSession::Ended, Outcome::Reuse),
            RotationStep::Unknown | RotationStep::Unnamed => {
                return state.finish(self, id, Outcome::Unknown);
            }
        }
        Ok(())
    }

    fn with_fault(
        &self,
        step: RotationStep,
        generation: &RefreshGeneration,
        rotation: &RefreshRotation,
    ) -> RotationStep {
        let is_recent = generation.retired.is_some_and(|(_, at)| NOW.since(at) < rotation.grace);
        let is_current = rotation.presented == generation.current;
        match self.fault {
            Some(Fault::GraceForAnyToken) if is_recent && !is_current => RotationStep::Grace,
            Some(Fault::NoFreshTokens) if step == RotationStep::Fresh => RotationStep::Rotate,
            Some(Fault::FreshOnlyOnce) if step == RotationStep::Fresh => {
                let once = RefreshGeneration { repeated: None, ..generation.clone() };
                rotation::next_step(&once, rotation, NOW)
            }
            _ => step,
        }
    }

    fn swap(&self, state: &mut SessionState, id: u8, is_answered: bool) -> Result<(), String> {
        let operation = state.find(id);
        let Stage::Write(write) = operation.stage else { unreachable!("only swapped there") };
        let is_written = state.carry_out(write, self.fault);
        if !is_answered {
            // The node does not know, and will swap once more with the same version.
            state.set_stage(id, Stage::Write(Write { seen: Seen::Own, ..write }));
        } else if !is_written {
            self.decide(state, id)?;
        } else if self.fault == Some(Fault::EndNotFinal)
            && operation.purpose == (Purpose::Revoke { for_client: true })
        {
            state.operations.retain(|operation| operation.id != id);
        } else if matches!(write.outcome, Outcome::Reuse | Outcome::Ended) {
            state.begin_to_publish(id, write.outcome);
        } else {
            state.finish(self, id, write.outcome)?;
        }
        state.forget_hopeless_writes(self.fault);
        Ok(())
    }
}

impl SessionState {
    fn ask(&mut self, node: usize, presented: Token, by_owner: bool) -> u8 {
        let id = u8::try_from(self.tokens.len()).unwrap_or(u8::MAX);
        self.tokens.push(TokenHistory { origin: presented, ..TokenHistory::default() });
        let is_after_revocation = self.revocation == Revocation::Acknowledged;
        let purpose = Purpose::Refresh { presented, by_owner, is_after_revocation };
        self.operations.push(Operation { id, node, purpose, stage: Stage::Sent });
        id
    }

    fn begin_revocation(&mut self, node: usize, for_client: bool, fault: Option<Fault>) {
        let purpose = Purpose::Revoke { for_client };
        let id = 100 + u8::try_from(node).unwrap_or_default() + if for_client { 50 } else { 0 };
        let stage = match fault {
            Some(Fault::EndNotFinal) => Stage::Publish(Outcome::Ended),
            _ => Stage::Sent,
        };
        self.operations.push(Operation { id, node, purpose, stage });
    }

    fn find(&self, id: u8) -> Operation {
        let found = self.operations.iter().find(|operation| operation.id == id);
        *found.expect("a step is of an operation that there is")
    }

    fn set_stage(&mut self, id: u8, stage: Stage) {
        let operations = self.operations.iter_mut().filter(|operation| operation.id == id);
        operations.for_each(|operation| operation.stage = stage);
    }

    fn write(&mut self, id: u8, session: StoredSession, outcome: Outcome) {
        self.set_stage(id, Stage::Write(Write { seen: Seen::Unchanged, session, outcome }));
    }

    /// This node refuses access tokens from here on; the feed tells the others.
    fn begin_to_publish(&mut self, id: u8, outcome: Outcome) {
        let node = self.find(id).node;
        self.nodes[node].is_revoked = true;
        self.set_stage(id, Stage::Publish(outcome));
    }

    fn refuse_gone(
        &mut self,
        protocol: &SessionProtocol,
        id: u8,
        by_owner: bool,
    ) -> Result<(), String> {
        let is_owners = by_owner && self.is_undisturbed();
        protocol.assure(Promise::OwnerStays, !is_owners, "the owner's session is gone")?;
        self.finish(protocol, id, Outcome::Gone)
    }

    /// The database's side of a swap: true if the record is this write's now.
    fn carry_out(&mut self, write: Write, fault: Option<Fault>) -> bool {
        if write.seen == Seen::Own {
            return true;
        }
        if write.seen == Seen::Changed && !is_blind(&write, fault) {
            return false;
        }
        if let StoredSession::Live { retired: Some((token, _)), .. } = write.session
            && self.last_retired != Some(token)
        {
            self.tokens[usize::from(token)].retired = Some(0);
            self.last_retired = Some(token);
        }
        self.session = write.session;
        self.writes().for_each(|write| write.seen = Seen::Changed);
        true
    }

    fn writes(&mut self) -> impl Iterator<Item = &mut Write> {
        let of_operations = self.operations.iter_mut().filter_map(|it| match &mut it.stage {
            Stage::Write(write) => Some(write),
            _ => None,
        });
        of_operations.chain(&mut self.late)
    }

    /// Late writes that can change nothing any more.
    fn forget_hopeless_writes(&mut self, fault: Option<Fault>) {
        self.late.retain(|write| write.seen == Seen::Unchanged || is_blind(write, fault));
    }

    /// A second passes. Clients have got no answer by then, and nodes give up.
    fn tick(&mut self, protocol: &SessionProtocol) {
        for operation in std::mem::take(&mut self.operations) {
            if !matches!(operation.stage, Stage::Write(_) | Stage::Answer(Outcome::Rotated(_))) {
                self.forget_token(operation.id);
            }
            let is_reuse = matches!(
                operation.stage,
                Stage::Write(Write { outcome: Outcome::Reuse, .. })
                    | Stage::Publish(Outcome::Reuse)
            );
            let is_open = !matches!(operation.stage, Stage::Answer(_));
            let is_revocation = matches!(operation.purpose, Purpose::Revoke { .. });
            let is_remembered = is_reuse && protocol.fault != Some(Fault::ReuseForgotten);
            if is_open && is_revocation || is_remembered {
                self.nodes[operation.node] = NodeMemory { is_revoked: true, is_deferred: true };
            }
            if let Stage::Write(write) = operation.stage {
                if protocol.has_late_swaps && write.seen == Seen::Unchanged {
                    self.late.push(write);
                } else if write.seen != Seen::Own {
                    self.forget_token(operation.id);
                }
            }
        }
        let age = |retired: &mut Option<(Token, Age)>| {
            retired.iter_mut().for_each(|(_, age)| *age = older(*age));
        };
        let age_session = |session: &mut StoredSession| {
            if let StoredSession::Live { retired, repeated, .. } = session {
                age(retired);
                // After a second the repetition has no effect any more.
                *repeated = None;
            }
        };
        age_session(&mut self.session);
        self.writes().for_each(|write| age_session(&mut write.session));
        age(&mut self.asked);
        self.tokens.iter_mut().for_each(|token| token.retired = token.retired.map(older));
        self.late.sort_unstable();
        self.late.dedup();
    }

    /// The successor that an operation brought never came into the record.
    fn forget_token(&mut self, id: u8) {
        if let Some(token) = self.tokens.get_mut(usize::from(id)) {
            *token = TokenHistory::default();
        }
    }

    /// The operation is decided; its answer may still get lost.
    fn finish(
        &mut self,
        protocol: &SessionProtocol,
        id: u8,
        outcome: Outcome,
    ) -> Result<(), String> {
        self.set_stage(id, Stage::Answer(outcome));
        if !matches!(outcome, Outcome::Rotated(_)) {
            self.forget_token(id);
        }
        let Purpose::Refresh { presented, is_after_revocation, .. } = self.find(id).purpose else {
            return Ok(());
        };
        let is_working = matches!(outcome, Outcome::Rotated(_) | Outcome::Fresh(_));
        let is_success = is_working || matches!(outcome, Outcome::Grace(_));
        protocol.assure(
            Promise::RevocationHolds,
            !(is_success && is_after_revocation),
            "a refresh succeeded after an acknowledged revocation",
        )?;
        if is_working { self.accept(protocol, presented) } else { Ok(()) }
    }

    /// The answer arrives at the client.
    fn answer(&mut self, id: u8, fault: Option<Fault>) {
        let operation = self.find(id);
        self.operations.retain(|operation| operation.id != id);
        let Stage::Answer(outcome) = operation.stage else { unreachable!("only answered there") };
        match (operation.purpose, outcome) {
            (
                Purpose::Refresh { by_owner, .. },
                Outcome::Rotated(token) | Outcome::Fresh(token) | Outcome::Grace(token),
            ) => {
                self.tokens[usize::from(token)].is_known = true;
                if by_owner && self.asked.is_some_and(|(last, _)| last == id) {
                    (self.owned, self.asked) = (token, None);
                }
            }
            (Purpose::Revoke { for_client: true }, _) => {
                self.revocation = Revocation::Acknowledged;
                if fault == Some(Fault::EndNotFinal) {
                    self.operations.push(Operation { stage: Stage::EndLater, ..operation });
                }
            }
            _ => {}
        }
    }

    /// Notes that a token was taken for the working one.
    fn accept(&mut self, protocol: &SessionProtocol, token: Token) -> Result<(), String> {
        let origin = self.tokens[usize::from(token)].origin;
        let is_rival = |(other, history): &(Token, &TokenHistory)| {
            *other != token && *other != 0 && history.origin == origin && history.was_accepted
        };
        let rival = (0..).zip(&self.tokens).find(is_rival).filter(|_| token != 0);
        let broken = format!("{token} was accepted, and {rival:?}");
        protocol.assure(Promise::OneSuccessor, rival.is_none(), &broken)?;
        self.tokens[usize::from(token)].was_accepted = true;
        Ok(())
    }

    /// True while nobody but the owner had a token of the session, and nobody ended it.
    fn is_undisturbed(&self) -> bool {
        !self.has_thief && self.revocation == Revocation::None
    }

    fn check_decision(
        &self,
        protocol: &SessionProtocol,
        step: RotationStep,
        presented: Token,
        by_owner: bool,
    ) -> Result<(), String> {
        let is_success =
            matches!(step, RotationStep::Rotate | RotationStep::Fresh | RotationStep::Grace);
        let retired = self.tokens[usize::from(presented)].retired;
        let is_over =
            retired.is_some_and(|age| self.last_retired != Some(presented) || age >= GRACE);
        protocol.assure(
            Promise::ReuseEnds,
            !is_over || step == RotationStep::Reuse,
            &format!("token {presented} was retired, and now it is {step:?}"),
        )?;
        protocol.assure(
            Promise::OwnerStays,
            is_success || !by_owner || !self.is_undisturbed(),
            &format!("the owner's token {presented} is {step:?}"),
        )
    }

    /// What must hold in every state.
    fn check(&self, protocol: &SessionProtocol) -> Result<(), String> {
        // A node that has had everything that was published so far, and accepts access tokens.
        let accepts = |memory: &NodeMemory| !self.is_published && !memory.is_revoked;
        let is_acknowledged = self.revocation == Revocation::Acknowledged;
        protocol.assure(
            Promise::RevocationHolds,
            !is_acknowledged || !self.nodes.iter().any(accepts),
            "a node accepts access tokens after an acknowledged revocation",
        )?;
        let is_idle = self.operations.is_empty();
        let is_deferred = self.nodes.iter().any(|memory| memory.is_deferred);
        let has_ended = self.session == StoredSession::Ended;
        protocol.assure(
            Promise::EndIsPublished,
            !has_ended || !is_idle || self.is_published || is_deferred,
            "the session has ended, and no node will publish it",
        )
    }

    fn rotation(&self, presented: Token, successor: Token) -> RefreshRotation {
        RefreshRotation {
            presented: digest(presented),
            generation: Some(self.generation_of(presented)),
            successor: digest(successor),
            expires: Timestamp::NEVER,
            access_until: Timestamp::NEVER,
            issued: None,
            grace: Duration::from_secs(GRACE.into()),
        }
    }

    /// The number in a token: how many rotations led to it.
    fn generation_of(&self, token: Token) -> u32 {
        let origin = |token: &Token| (*token != 0).then(|| self.tokens[usize::from(*token)].origin);
        std::iter::successors(Some(token), origin).skip(1).map(|_| 1).sum()
    }
}

fn digest(token: Token) -> Digest {
    Digest([token; 32])
}

/// The time of every decision; what is older lies before it.
const NOW: Timestamp = Timestamp::from_secs(1_000);

fn instant(age: Age) -> Timestamp {
    NOW.minus(Duration::from_secs(age.into()))
}

fn older(age: Age) -> Age {
    GRACE.min(age + 1)
}

fn is_blind(write: &Write, fault: Option<Fault>) -> bool {
    fault == Some(Fault::BlindWrite) && matches!(write.outcome, Outcome::Rotated(_))
}

fn generation(session: StoredSession) -> Option<RefreshGeneration> {
    let StoredSession::Live { number, current, retired, repeated } = session else { return None };
    Some(RefreshGeneration {
        number,
        is_named: true,
        current: digest(current),
        expires: Timestamp::NEVER,
        retired: retired.map(|(token, age)| (digest(token), instant(age))),
        repeated: repeated.map(instant),
    })
}

fn stored(generation: &RefreshGeneration) -> StoredSession {
    let token = |digest: Digest| digest.0[0];
    let age = |at: Timestamp| u8::try_from(NOW.since(at).as_secs()).unwrap_or(GRACE);
    StoredSession::Live {
        number: generation.number,
        current: token(generation.current),
        retired: generation.retired.map(|(retired, at)| (token(retired), age(at))),
        repeated: generation.repeated.map(age),
    }
}
