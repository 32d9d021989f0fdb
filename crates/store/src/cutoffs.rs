//! Cut-offs: tokens of other issuers are refused by their user and their time of issue.
//!
//! Tokens of another issuer (foreign tokens) have no session in our store that could be ended, and
//! the gateway does not know which of them exist. A foreign token does name its user and usually
//! its time of issue (`iat`). An operator therefore names a user, and every token issued to that
//! user until that moment is refused.
//!
//! Cut-offs never expire, because the gateway does not know how long the issuer's longest token
//! lives. There is one row for each user that an operator has named. Requests with a foreign token
//! read the table without a lock; on most gateways the table is empty.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::Subject;

/// A foreign token without a time of issue is refused for this long after the cut-off. If its
/// issuer is taken over (it issues no more tokens that are accepted here), such a token must be an
/// old one and is refused for good.
const UNDATED: Duration = Duration::from_secs(30 * 24 * 3600);

/// The key by which a cut-off names the user of foreign tokens: either the subject that the gateway
/// derives from issuer and `sub`, or a username. The operator gives one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenOwner {
    /// The subject that the gateway makes of the issuer and the token's `sub`.
    Subject(Subject),
    /// The username in the token or in the issuer's answer, in lower case. It matches the tokens of
    /// every issuer.
    Username(Arc<str>),
}

impl TokenOwner {
    /// The owner with this username, in lower case. Case is ignored because an operator may type
    /// another spelling than the tokens have: a cut-off that silently matches nothing would leave
    /// the tokens alive.
    pub fn named(name: &str) -> Self {
        Self::Username(name.to_lowercase().into())
    }
}

/// A token of another issuer, reduced to the fields that decide whether a cut-off refuses it.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignToken {
    pub subject: Subject,
    pub username: Arc<str>,
    /// Time of issue (`iat`); `None` where the token has none.
    pub issued: Option<Timestamp>,
    /// True if the issuer of the token is being replaced by this gateway and issues no more tokens.
    pub is_takeover: bool,
}

impl ForeignToken {
    /// True if the token belongs to this owner.
    pub fn is_of(&self, owner: &TokenOwner) -> bool {
        match owner {
            TokenOwner::Subject(subject) => self.subject == *subject,
            TokenOwner::Username(_) => TokenOwner::named(&self.username) == *owner,
        }
    }
}

/// The cut-offs: for each named user the instant until which issued tokens are refused.
///
/// Readers load one immutable map without a lock; a change replaces the whole map. Invariant: the
/// cut-off of a user only ever moves forward in time.
#[derive(Debug, Default)]
pub struct TokenCutoffs(ArcSwap<HashMap<TokenOwner, Timestamp>>);

impl TokenCutoffs {
    /// True if no cut-off exists, so that no foreign token can be refused here.
    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// Refuses the tokens that were issued to `owner` at or before `at`. An earlier cut-off of the
    /// same owner is moved forward, never back. Readers see the new map at once. True if the cut-off
    /// is new or was moved.
    pub fn keep(&self, owner: &TokenOwner, at: Timestamp) -> bool {
        if self.0.load().get(owner).is_some_and(|cutoff| *cutoff >= at) {
            return false;
        }
        self.0.rcu(|cutoffs| {
            let mut cutoffs = HashMap::clone(cutoffs);
            let cutoff = cutoffs.entry(owner.clone()).or_insert(at);
            *cutoff = at.max(*cutoff);
            cutoffs
        });
        true
    }

    /// All cut-offs, in no order.
    pub(crate) fn all(&self) -> Vec<(TokenOwner, Timestamp)> {
        self.0.load().iter().map(|(owner, at)| (owner.clone(), *at)).collect()
    }

    /// True if this token is refused at `now`.
    pub fn refuse(&self, token: &ForeignToken, now: Timestamp) -> bool {
        let cutoffs = self.0.load();
        if cutoffs.is_empty() {
            return false;
        }
        // A token can match two cut-offs, one by subject and one by username. The later cut-off
        // decides: `None`, which means that there is no cut-off, is less than every time.
        let by_subject = cutoffs.get(&TokenOwner::Subject(token.subject.clone()));
        let by_name = cutoffs.get(&TokenOwner::named(&token.username));
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
        let cutoffs = TokenCutoffs::default();
        let at = Timestamp::from_secs(10_000_000);
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
