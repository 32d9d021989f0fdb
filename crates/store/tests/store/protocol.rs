//! The protocol of rotation, grace, reuse and revocation between nodes, searched exhaustively for a
//! few nodes and requests, and any time between them.
//!
//! `search` looks at every order in which steps can happen, `session` says what the steps are, and
//! `Promise` what must hold. A search that cannot fail says nothing: each `Fault` breaks the
//! protocol in a way that looks harmless, and must be found. No fault here breaks
//! `Promise::OneSuccessor` within these bounds.

#![allow(clippy::print_stdout)] // What a search finds is part of its output.

mod search;
mod session;

use std::time::Instant;

use self::search::{Searched, search};
use self::session::{SessionProtocol, SessionStep};

/// What the protocol promises.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Promise {
    /// Of the successors of one token, only one is ever accepted as the working token.
    OneSuccessor,
    /// A retired token after its grace, and any older one, ends the session.
    ReuseEnds,
    /// After a revocation was acknowledged no refresh succeeds on any node, and a node that has its
    /// feed accepts no access token.
    RevocationHolds,
    /// An owner who repeats an unanswered refresh within grace, several times at once even, is never
    /// taken for a thief, and no rotation is lost.
    OwnerStays,
    /// A session that has ended is published, or a node is still going to.
    EndIsPublished,
}

/// A protocol that is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Grace is given by time alone, whichever retired token is presented.
    GraceForAnyToken,
    /// A revocation is published and acknowledged before the end of the record is final.
    EndNotFinal,
    /// A rotation is written whatever happened to the record since it was read.
    BlindWrite,
    /// A token that has just been given out is rotated like any other.
    NoFreshTokens,
    /// Only a token that has just been made is fresh, not one that was given out again.
    FreshOnlyOnce,
    /// A node that could not publish the end of a stolen session leaves it at that.
    ReuseForgotten,
}

const ALL: SessionProtocol = SessionProtocol {
    nodes: 2,
    refreshes: 3,
    at_once: 2,
    has_thief: true,
    has_revocation: true,
    has_late_swaps: true,
    fault: None,
    promise: None,
};
const OWNER_ALONE: SessionProtocol =
    SessionProtocol { refreshes: 4, at_once: 3, has_thief: false, has_revocation: false, ..ALL };
const THIEF: SessionProtocol = SessionProtocol { at_once: 3, has_revocation: false, ..ALL };
const REVOCATION: SessionProtocol = SessionProtocol { has_thief: false, ..ALL };

fn searched(protocol: SessionProtocol) -> Searched<SessionStep> {
    let since = Instant::now();
    let searched = search(&protocol, 5_000_000);
    println!("{protocol:?}: {} states in {:?}", searched.states, since.elapsed());
    searched
}

fn assert_holds(protocol: SessionProtocol, least: usize) {
    let searched = searched(protocol);
    if let Some(counterexample) = searched.counterexample {
        panic!("{protocol:?}\n{counterexample}");
    }
    assert!(searched.states > least, "only {} states", searched.states);
}

/// Asserts that the fault breaks this promise, and prints how.
fn assert_found(fault: Fault, promise: Promise, within: SessionProtocol) {
    let (fault, promise) = (Some(fault), Some(promise));
    let searched = searched(SessionProtocol { fault, promise, ..within });
    let counterexample = searched.counterexample.expect("the fault is found");
    println!("{counterexample}");
}

#[test]
fn an_owner_alone_is_never_taken_for_a_thief() {
    assert_holds(OWNER_ALONE, 30_000);
}

#[test]
fn a_thief_breaks_no_promise() {
    assert_holds(THIEF, 40_000);
}

#[test]
fn a_revocation_holds_on_two_nodes() {
    assert_holds(REVOCATION, 40_000);
}

#[test]
fn a_revocation_and_a_thief_break_no_promise_on_three_nodes() {
    assert_holds(SessionProtocol { nodes: 3, refreshes: 2, ..ALL }, 50_000);
}

#[test]
fn grace_for_any_retired_token_is_found() {
    assert_found(Fault::GraceForAnyToken, Promise::ReuseEnds, THIEF);
}

#[test]
fn a_revocation_before_the_end_is_final_is_found() {
    assert_found(Fault::EndNotFinal, Promise::RevocationHolds, REVOCATION);
}

#[test]
fn a_rotation_written_blindly_is_found() {
    assert_found(Fault::BlindWrite, Promise::OwnerStays, OWNER_ALONE);
}

#[test]
fn rotating_a_token_that_was_just_made_or_given_out_again_is_found() {
    assert_found(Fault::NoFreshTokens, Promise::OwnerStays, OWNER_ALONE);
    assert_found(Fault::FreshOnlyOnce, Promise::OwnerStays, OWNER_ALONE);
}

#[test]
fn a_stolen_session_that_no_node_hears_of_is_found() {
    assert_found(Fault::ReuseForgotten, Promise::EndIsPublished, THIEF);
}
