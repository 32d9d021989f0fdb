//! What routes that only observe (`enforce = false`) would have refused, and to whom.
//!
//! Before an operator lets a route enforce its rule he asks who would be shut out. Kept in memory
//! since the start, bounded: callers beyond the bound are counted together. Only observing routes
//! come here, so no other request pays for it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::identity::Subject;

/// Callers that are told apart; a table of more than that is read by nobody.
const MOST: usize = 10_000;

/// Who made a request that would have been refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// Proved, but not permitted.
    Subject { id: Subject, name: Arc<str> },
    /// Not proved: all that is known is where he calls from.
    Address(IpAddr),
    /// Not proved, over a unix socket; or one of too many to be told apart.
    Others,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub route: Arc<str>,
    /// The reason's stable code.
    pub reason: &'static str,
    pub who: Who,
    pub count: u64,
    pub first: Timestamp,
    pub latest: Timestamp,
}

/// What one route let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Would be let through if the rule were enforced, too.
    pub permitted: u64,
    /// Would be refused.
    pub refused: u64,
}

/// Everything that was observed.
#[derive(Debug, Default)]
pub struct Observed {
    seen: Mutex<Seen>,
}

type Key = (Arc<str>, &'static str, Who);

#[derive(Debug, Default)]
struct Seen {
    routes: HashMap<Arc<str>, Passed>,
    sightings: HashMap<Key, (u64, Timestamp, Timestamp)>,
}

impl Observed {
    /// A request that the rule permits.
    pub fn permitted(&self, route: &Arc<str>) {
        self.seen().route(route).permitted += 1;
    }

    /// A request that the rule refuses.
    pub fn refused(&self, route: &Arc<str>, reason: &'static str, who: Who, now: Timestamp) {
        let mut seen = self.seen();
        seen.route(route).refused += 1;
        let mut key = (route.clone(), reason, who);
        if seen.sightings.len() >= MOST && !seen.sightings.contains_key(&key) {
            key.2 = Who::Others;
        }
        let (count, _, latest) = seen.sightings.entry(key).or_insert((0, now, now));
        *count += 1;
        *latest = now;
    }

    /// The routes by name, and who would be refused, most often first.
    pub fn report(&self) -> (Vec<(Arc<str>, Passed)>, Vec<Sighting>) {
        let seen = self.seen();
        let mut routes: Vec<_> =
            seen.routes.iter().map(|(name, passed)| (name.clone(), *passed)).collect();
        let sighting = |(key, told): (&Key, &(u64, Timestamp, Timestamp))| Sighting {
            route: key.0.clone(),
            reason: key.1,
            who: key.2.clone(),
            count: told.0,
            first: told.1,
            latest: told.2,
        };
        let mut sightings: Vec<_> = seen.sightings.iter().map(sighting).collect();
        routes.sort_by(|one, other| one.0.cmp(&other.0));
        sightings.sort_by(|one, other| {
            (&one.route, other.count, one.first).cmp(&(&other.route, one.count, other.first))
        });
        (routes, sightings)
    }

    /// Forgets all of it: after a rule was changed the old refusals say nothing.
    pub fn forget(&self) {
        *self.seen() = Seen::default();
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Routes come from the configuration, so their number is bounded.
    fn route(&mut self, name: &Arc<str>) -> &mut Passed {
        self.routes.entry(name.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_beyond_the_bound_are_counted_together() {
        let (observed, route) = (Observed::default(), Arc::from("api"));
        let now = Timestamp::from_secs(1);
        for number in 0..u32::try_from(MOST).unwrap() + 5 {
            let who = Who::Address(IpAddr::from(number.to_be_bytes()));
            observed.refused(&route, "token_invalid", who, now);
        }

        let (routes, sightings) = observed.report();

        assert_eq!(routes, [(route, Passed { permitted: 0, refused: MOST as u64 + 5 })]);
        assert_eq!(sightings.len(), MOST + 1);
        assert_eq!(sightings[0].who, Who::Others);
        assert_eq!(sightings[0].count, 5);
    }
}
