//! Tokens of other issuers that are refused by their user: those that were issued before an
//! operator said so.
//!
//! Such tokens have no session that could be ended, and nobody here knows which of them are out. A
//! token itself says whose it is and when it was issued. Cut-offs are kept for good, because nobody
//! knows either how long the last of the tokens lives: a row for each user that an operator has
//! named. Requests with a foreign token read them, without a lock; on most gateways there is none.

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
    /// The name that the token, or its issuer, says; whichever issuer that is. In lower case.
    Username(Arc<str>),
}

impl TokenOwner {
    /// The owner of this name, however it is spelled: an operator who types another spelling than
    /// the tokens have must not be told that they are refused while they are not.
    pub fn named(name: &str) -> Self {
        Self::Username(name.to_lowercase().into())
    }
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
            TokenOwner::Username(_) => TokenOwner::named(&self.username) == *owner,
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
        if held.is_empty() {
            return false;
        }
        let by_subject = held.get(&TokenOwner::Subject(token.subject.clone()));
        let by_name = held.get(&TokenOwner::named(&token.username));
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
        cutoffs.keep(&TokenOwner::named("Name of BOB"), at);
        cutoffs.keep(&TokenOwner::named("name of bob"), Timestamp::from_secs(5));

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
