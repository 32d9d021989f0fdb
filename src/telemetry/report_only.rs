//! Records the requests that observing routes (`enforce = false`) would have refused, and their
//! callers.
//!
//! Before an operator lets a route enforce its rule, they ask who would be refused. The answers are
//! kept in memory since the start, and they are bounded: callers beyond the bound are counted
//! together. Only observing routes call this, so no other request pays for it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::identity::Subject;

/// Upper bound on callers that are counted separately. Nobody reads a longer table.
const MOST: usize = 10_000;

/// The caller of a request that would have been refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RefusedCaller {
    /// Authenticated, but not permitted. The name is kept for the report, because an operator knows
    /// people by their names and not by their ids.
    Subject { id: Subject, name: Arc<str> },
    /// Not authenticated; only the address is known.
    Address(IpAddr),
    /// Not authenticated over a unix socket, or beyond the bound on separate callers.
    Others,
}

/// One line of the report: how often a caller would have been refused by a route for a reason, with
/// the times of the first and of the latest request. Times have the precision of the gateway's
/// clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WouldRefuse {
    pub route: Arc<str>,
    /// The stable code of the reason.
    pub reason: &'static str,
    pub who: RefusedCaller,
    pub count: u64,
    pub first: Timestamp,
    pub latest: Timestamp,
}

/// The number of requests that one route let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteTotals {
    /// Requests that would also be let through if the rule were enforced.
    pub permitted: u64,
    /// Requests that would be refused.
    pub refused: u64,
}

/// Everything that was observed since the start or since the last `forget`. One lock guards it;
/// only observing routes take that lock. The memory that it may take is bounded by `MOST`. It is
/// not kept across a restart.
#[derive(Debug, Default)]
pub struct ReportOnly {
    seen: Mutex<ReportState>,
}

type SightingKey = (Arc<str>, &'static str, RefusedCaller);

#[derive(Debug, Default)]
struct ReportState {
    routes: HashMap<Arc<str>, RouteTotals>,
    sightings: HashMap<SightingKey, (u64, Timestamp, Timestamp)>,
}

impl ReportOnly {
    /// Records a request that the rule permits.
    pub fn permitted(&self, route: &Arc<str>) {
        self.seen.lock().route(route).permitted += 1;
    }

    /// Records a request that the rule refuses. `reason` is its stable code. The first and the
    /// latest time are kept, so that old refusals can be recognised.
    pub fn refused(
        &self,
        route: &Arc<str>,
        reason: &'static str,
        who: RefusedCaller,
        now: Timestamp,
    ) {
        let mut seen = self.seen.lock();
        seen.route(route).refused += 1;
        // Addresses of unauthenticated callers are chosen by anybody on the Internet, so the table
        // is bounded here.
        let mut key = (route.clone(), reason, who);
        // A caller that is known already is always counted under its own name, so the counts in the
        // report stay right when the table is full.
        if seen.sightings.len() >= MOST && !seen.sightings.contains_key(&key) {
            key.2 = RefusedCaller::Others;
        }
        let (count, _, latest) = seen.sightings.entry(key).or_insert((0, now, now));
        *count += 1;
        *latest = now;
    }

    /// The routes by name, and the callers that would be refused, most frequent first within a
    /// route. Both lists are copies, so the lock is not held while an operator reads them. An
    /// operator reads them before a rule is enforced.
    pub fn report(&self) -> (Vec<(Arc<str>, RouteTotals)>, Vec<WouldRefuse>) {
        let seen = self.seen.lock();
        let mut routes: Vec<_> =
            seen.routes.iter().map(|(name, passed)| (name.clone(), *passed)).collect();
        let sighting = |(key, entry): (&SightingKey, &(u64, Timestamp, Timestamp))| WouldRefuse {
            route: key.0.clone(),
            reason: key.1,
            who: key.2.clone(),
            count: entry.0,
            first: entry.1,
            latest: entry.2,
        };
        let mut sightings: Vec<_> = seen.sightings.iter().map(sighting).collect();
        routes.sort_by(|one, other| one.0.cmp(&other.0));
        sightings.sort_by(|one, other| {
            (&one.route, other.count, one.first).cmp(&(&other.route, one.count, other.first))
        });
        (routes, sightings)
    }

    /// Forgets everything: after a rule was changed, the refusals under the old rule mean nothing.
    pub fn forget(&self) {
        *self.seen.lock() = ReportState::default();
    }
}

impl ReportState {
    /// The counts of a route. Routes come from the configuration, so their number is bounded.
    fn route(&mut self, name: &Arc<str>) -> &mut RouteTotals {
        self.routes.entry(name.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_beyond_the_bound_are_counted_together() {
        let observed = ReportOnly::default();
        let route = Arc::from("api");
        let now = Timestamp::from_secs(1);
        for number in 0..u32::try_from(MOST).unwrap() + 5 {
            let who = RefusedCaller::Address(IpAddr::from(number.to_be_bytes()));
            observed.refused(&route, "token_invalid", who, now);
        }

        let (routes, sightings) = observed.report();

        assert_eq!(routes, [(route, RouteTotals { permitted: 0, refused: MOST as u64 + 5 })]);
        assert_eq!(sightings.len(), MOST + 1);
        assert_eq!(sightings[0].who, RefusedCaller::Others);
        assert_eq!(sightings[0].count, 5);
    }
}
