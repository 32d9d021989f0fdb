//! What clients were promised, and what they found.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::Reply;

use super::cluster::token_id;

/// What became of a request.
pub(super) enum Outcome {
    Done(Reply),
    /// There was no answer, or one that says that nothing is known: it may have been done.
    Unknown(String),
    Refused(String),
}

impl Outcome {
    pub(super) fn of(reply: Option<Reply>) -> Self {
        match reply {
            None => Self::Unknown("no answer".to_owned()),
            Some(reply) if reply.status.is_success() => Self::Done(reply),
            Some(reply) => {
                let text = format!("{}: {}", reply.status, reply.text());
                match reply.status.as_u16() {
                    502..=504 => Self::Unknown(text),
                    _ => Self::Refused(text),
                }
            }
        }
    }
}

/// The tokens of a session that was ended, and since when.
#[derive(Clone)]
pub(super) struct EndedSession {
    pub(super) access: String,
    pub(super) refresh: String,
    pub(super) since: Instant,
}

/// The counts, and everything that went wrong.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) logins: AtomicUsize,
    pub(super) rotations: AtomicUsize,
    pub(super) logouts: AtomicUsize,
    pub(super) calls: AtomicUsize,
    pub(super) races: AtomicUsize,
    /// Steps that may have been done without being acknowledged.
    pub(super) unknown: AtomicUsize,
    /// Calls with an ended token, after the bound, that were refused.
    pub(super) refusals: AtomicUsize,
    /// Calls may be answered 503.
    pub(super) may_be_unavailable: AtomicBool,
    /// Nothing at all may fail.
    pub(super) is_strict: AtomicBool,
    ended: Mutex<Vec<EndedSession>>,
    /// The successor of each refresh token that was spent.
    spent: Mutex<HashMap<String, String>>,
    faults: Mutex<Vec<String>>,
}

impl Ledger {
    pub(super) fn fault(&self, fault: String) {
        self.faults.lock().unwrap().push(fault);
    }

    pub(super) fn count(counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes a step that was not acknowledged.
    pub(super) fn unknown(&self, step: &str, why: &str) {
        Self::count(&self.unknown);
        if self.is_strict.load(Ordering::SeqCst) {
            self.fault(format!("a {step} failed: {why}"));
        }
    }

    /// Notes an idempotent request.
    pub(super) fn call(&self, reply: Option<Reply>) {
        Self::count(&self.calls);
        match reply.as_ref().map(|reply| reply.status.as_u16()) {
            Some(200) => {}
            Some(503) if self.may_be_unavailable.load(Ordering::SeqCst) => {}
            _ => {
                let answer = reply.map(|reply| format!("{}: {}", reply.status, reply.text()));
                self.fault(format!("a call failed: {answer:?}"));
            }
        }
    }

    /// Notes the successor of a refresh token. A token has one successor, or stays itself.
    pub(super) fn spend(&self, presented: &str, successor: &str) {
        let (presented, successor) = (token_id(presented), token_id(successor));
        if presented == successor {
            return;
        }
        Self::count(&self.rotations);
        let mut spent = self.spent.lock().unwrap();
        let first = spent.entry(presented).or_insert_with(|| successor.clone());
        if *first != successor {
            self.fault("a refresh token was spent twice".to_owned());
        }
    }

    pub(super) fn end(&self, access: String, refresh: String) {
        Self::count(&self.logouts);
        let ended = EndedSession { access, refresh, since: Instant::now() };
        self.ended.lock().unwrap().push(ended);
    }

    /// The sessions that ended between these two spans ago.
    pub(super) fn ended(&self, latest: Duration, earliest: Duration) -> Vec<EndedSession> {
        let ended = self.ended.lock().unwrap();
        let ended = ended.iter().rev();
        let ended = ended.skip_while(|ended| ended.since.elapsed() < latest);
        ended.take_while(|ended| ended.since.elapsed() < earliest).cloned().collect()
    }

    /// Fails if anything went wrong so far.
    #[track_caller]
    pub(super) fn assert_clean(&self, when: &str) {
        let faults = self.faults.lock().unwrap();
        assert!(
            faults.is_empty(),
            "{when}: {} faults: {:#?}",
            faults.len(),
            faults.iter().take(20).collect::<Vec<_>>()
        );
    }

    pub(super) fn summary(&self) -> String {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        format!(
            "{} logins, {} rotations, {} logouts, {} races, {} calls, {} refusals after the bound; \
             {} steps without acknowledgement",
            count(&self.logins),
            count(&self.rotations),
            count(&self.logouts),
            count(&self.races),
            count(&self.calls),
            count(&self.refusals),
            count(&self.unknown)
        )
    }
}
