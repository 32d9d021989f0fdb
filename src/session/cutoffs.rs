//! Tokens of other issuers that are refused by their user: those that were issued before an
//! operator said so.
//!
//! Such tokens have no session that could be ended, and nobody here knows which of them are out. What
//! is known is whose a token is and when it was issued. Kept for good, because nobody knows either
//! how long the last of them lives: a row for each user that an operator has named. Read by requests
//! with a foreign token, without a lock; empty on most gateways.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::Timestamp;
use crate::identity::Subject;

/// Tokens that do not say when they were issued are refused for so long, unless their issuer is
/// taken over and gives out no more of them: then they are refused for good.
const UNDATED: Duration = Duration::from_secs(30 * 24 * 3600);

/// By what a token of another issuer names its user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenOwner {
    /// The id made of issuer and `sub`.
    Subject(Subject),
    /// The name that the token, or its issuer, says; whichever issuer that is.
    Username(Arc<str>),
}

/// A token of another issuer, as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignToken {
    pub subject: Subject,
    pub username: Arc<str>,
    /// `None` where it does not say.
    pub issued: Option<Timestamp>,
    /// Its issuer gives out no more tokens that are taken here.
    pub is_takeover: bool,
}

impl ForeignToken {
    /// Whether it is one of this owner's.
    pub fn is_of(&self, owner: &TokenOwner) -> bool {
        match owner {
            TokenOwner::Subject(subject) => self.subject == *subject,
            TokenOwner::Username(name) => self.username == *name,
        }
    }
}

/// For each user that an operator has named, the instant before which a token must not be issued.
#[derive(Debug, Default)]
pub struct Cutoffs(ArcSwap<HashMap<TokenOwner, Timestamp>>);

impl Cutoffs {
    /// True if nobody's tokens are refused.
    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// Refuses what was issued to `owner` until `at`.
    pub fn keep(&self, owner: &TokenOwner, at: Timestamp) {
        self.0.rcu(|held| {
            let mut held = HashMap::clone(held);
            let cutoff = held.entry(owner.clone()).or_insert(at);
            *cutoff = at.max(*cutoff);
            held
        });
    }

    /// Whether a token is refused at `now`.
    pub fn refuse(&self, token: &ForeignToken, now: Timestamp) -> bool {
        let held = self.0.load();
        let by_subject = held.get(&TokenOwner::Subject(token.subject.clone()));
        let by_name = held.get(&TokenOwner::Username(token.username.clone()));
        let Some(cutoff) = by_subject.max(by_name) else { return false };
        match token.issued {
            Some(issued) => issued <= *cutoff,
            None => token.is_takeover || now < cutoff.plus(UNDATED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_issued_before_is_refused_and_what_comes_later_is_not() {
        let (cutoffs, at) = (Cutoffs::default(), Timestamp::from_secs(10_000_000));
        let token = |name: &str, issued: Option<u64>, is_takeover| ForeignToken {
            subject: Subject::foreign("https://idp.example", name),
            username: format!("name of {name}").into(),
            issued: issued.map(Timestamp::from_secs),
            is_takeover,
        };
        let later = at.plus(UNDATED);
        assert!(cutoffs.is_empty() && !cutoffs.refuse(&token("ann", None, true), at));
        cutoffs.keep(&TokenOwner::Subject(Subject::foreign("https://idp.example", "ann")), at);
        cutoffs.keep(&TokenOwner::Username("name of bob".into()), at);
        cutoffs.keep(&TokenOwner::Username("name of bob".into()), Timestamp::from_secs(5));

        for name in ["ann", "bob"] {
            assert!(cutoffs.refuse(&token(name, Some(9_999_999), false), later), "{name}");
            assert!(cutoffs.refuse(&token(name, Some(10_000_000), false), later), "{name}");
            assert!(!cutoffs.refuse(&token(name, Some(10_000_001), false), at), "{name}");
            assert!(cutoffs.refuse(&token(name, None, true), later), "{name}: no more of those");
            assert!(cutoffs.refuse(&token(name, None, false), at), "{name}: it may be old");
            assert!(!cutoffs.refuse(&token(name, None, false), later), "{name}: it is another");
        }
        assert!(!cutoffs.refuse(&token("eve", Some(1), true), at));
    }
}
