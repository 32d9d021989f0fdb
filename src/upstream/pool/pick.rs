//! Chooses a server of a pool for each request (load balancing).
//!
//! Round robin starts at a random server in each worker, so that many workers do not go in step.
//! Least requests takes the less loaded of two random servers (power of two choices). With hash,
//! the key has its place on a ring. If the choice cannot be used, which is rare, the other servers
//! are searched: primary servers before backups, healthy ones before doubtful ones. A server that
//! fails its checks is never chosen. `forward` is the caller.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::UpstreamPool;
use super::balance::{ServerGroup, mix64};
use super::server::PoolServer;
use super::state::{FULL_SHARE, ServerCondition};
use crate::runtime::Worker;
use crate::settings::BalancePolicy;

/// The facts on which a choice depends.
#[derive(Default)]
pub(in crate::upstream) struct PickRequest<'a> {
    /// Servers that have failed this request. They are chosen only if there is no other.
    pub(in crate::upstream) failed: &'a [&'a Arc<PoolServer>],
    pub(in crate::upstream) key: Option<u64>,
}

/// Random attempts before all servers are searched. If half of a pool is out, then one request in
/// sixteen searches. The random choices spread the load of the servers that are out evenly; a
/// search in order would send it all to their neighbours.
const TRIES: u64 = 3;
/// Points of the ring that are walked before all servers are searched.
const WALK: usize = 64;

impl UpstreamPool {
    /// The server for the next request of `worker`; `None` if all fail their checks.
    pub(in crate::upstream) fn pick(
        &self,
        worker: &Worker,
        wanted: &PickRequest<'_>,
    ) -> Option<&Arc<PoolServer>> {
        // A single server is used even if it is ejected or unreachable: an attempt is better than a
        // certain error.
        if let [only] = self.servers.as_slice() {
            return Some(only).filter(|only| !only.state.fails_checks());
        }
        let counter = self.counters.get(worker.index % self.counters.len().max(1))?;
        let turn = counter.0.fetch_add(1, Ordering::Relaxed);
        match self.choose(&self.primary, turn, wanted) {
            Some(chosen) => Some(chosen),
            None => self.pick_other(turn, wanted),
        }
    }

    /// The server that the balancing method names, if it can be used.
    fn choose(
        &self,
        group: &ServerGroup,
        turn: u64,
        wanted: &PickRequest<'_>,
    ) -> Option<&Arc<PoolServer>> {
        let chosen = match (&self.balance, &group.ring, wanted.key) {
            (BalancePolicy::RoundRobin, ..) => self.server(group.at(turn)?)?,
            (BalancePolicy::LeastRequests, ..) => {
                let (one, other) = group.two(mix64(turn))?;
                let one = self.server(one)?;
                let other = self.server(other)?;
                if other.load() < one.load() { other } else { one }
            }
            (BalancePolicy::Hash(_), Some(ring), Some(key)) => {
                self.server(ring.after(key).next()?)?
            }
            (BalancePolicy::Hash(_), ..) => self.server(group.at(mix64(turn))?)?,
        };
        let takes = match self.condition(chosen) {
            ServerCondition::Up => true,
            // A rising server takes only its share of the choices. The random number is another one
            // than the choice was made with, because the two decisions must not depend on each
            // other.
            ServerCondition::Rising(share) => mix64(!turn) % FULL_SHARE < share,
            _ => false,
        };
        Some(chosen).filter(|chosen| takes && !wanted.is_failed(chosen))
    }

    /// The search after a choice that could not be used.
    #[cold]
    fn pick_other(&self, turn: u64, wanted: &PickRequest<'_>) -> Option<&Arc<PoolServer>> {
        self.search(&self.primary, turn, wanted)
            .or_else(|| self.choose(&self.backup, turn, wanted))
            .or_else(|| self.search(&self.backup, turn, wanted))
            .or_else(|| self.least_bad(turn, wanted))
    }

    /// Any server of the group that can be used. A rising server is taken only if there is no
    /// other, because it would otherwise get more than its share. A few quick attempts come first,
    /// so that the whole list is searched rarely even in a pool that is half out.
    fn search(
        &self,
        group: &ServerGroup,
        turn: u64,
        wanted: &PickRequest<'_>,
    ) -> Option<&Arc<PoolServer>> {
        let is_up = |server: &Arc<PoolServer>| {
            self.condition(server) == ServerCondition::Up && !wanted.is_failed(server)
        };
        // With hash, the search follows the ring, so that all requests of a key move to the same
        // other server. Otherwise it is random, so that the load of a lost server is spread over
        // all others.
        let near = match (&group.ring, wanted.key) {
            (Some(ring), Some(key)) => {
                let mut walk = ring.after(key).take(WALK).filter_map(|number| self.server(number));
                walk.find(|server| is_up(server))
            }
            _ => {
                let step = |step: u64| group.at(mix64(turn.wrapping_add(step << 32)));
                let mut turns = (1..=TRIES).filter_map(|number| self.server(step(number)?));
                turns.find(|server| is_up(server))
            }
        };
        let can =
            |server: &Arc<PoolServer>| self.condition(server).is_up() && !wanted.is_failed(server);
        let all = || rotated(&group.members, wanted.key.unwrap_or(turn));
        let all = || all().filter_map(|number| self.server(*number));
        near.or_else(|| all().find(|server| is_up(server)))
            .or_else(|| all().find(|server| can(server)))
    }

    /// The best of the servers if none is healthy: any server that passes its checks is better than
    /// no answer. Servers that failed this request, ejected servers and backups come last. Servers
    /// that fail their checks stay excluded, so the result can be `None`.
    fn least_bad(&self, turn: u64, wanted: &PickRequest<'_>) -> Option<&Arc<PoolServer>> {
        let rank = |server: &Arc<PoolServer>| match self.condition(server) {
            ServerCondition::FailsChecks => None,
            condition => {
                let ejected = condition == ServerCondition::Ejected;
                Some((wanted.is_failed(server), ejected, server.backup))
            }
        };
        let ranked = rotated(&self.servers, turn).filter_map(|one| Some((rank(one)?, one)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, server)| server)
    }

    /// `server`, or another one at which the request need not wait for a connection. With hash, the
    /// request waits for its own server. Only primary servers that are up are considered: waiting
    /// for a healthy server is better than using a doubtful one.
    pub(in crate::upstream) fn roomier<'p>(
        &'p self,
        server: &'p Arc<PoolServer>,
    ) -> &'p Arc<PoolServer> {
        if server.has_room() || self.primary.ring.is_some() {
            return server;
        }
        let mut others = self.primary.members.iter().filter_map(|number| self.server(*number));
        let free = others.find(|other| self.is_up(other) && other.has_room());
        free.unwrap_or(server)
    }

    /// False if there should be a better choice than `server`.
    pub(in crate::upstream) fn is_up(&self, server: &PoolServer) -> bool {
        self.condition(server).is_up()
    }

    /// The server with this number in the pool.
    fn server(&self, number: usize) -> Option<&Arc<PoolServer>> {
        self.servers.get(number)
    }

    /// The condition of a server for the choice.
    fn condition(&self, server: &PoolServer) -> ServerCondition {
        match server.state.condition(&self.clock) {
            // With hash there is no slow start: the server of a key is the same however new it is.
            ServerCondition::Rising(_) if self.primary.ring.is_some() => ServerCondition::Up,
            condition => condition,
        }
    }
}

impl PickRequest<'_> {
    /// True if `server` has failed this request.
    pub(in crate::upstream) fn is_failed(&self, server: &Arc<PoolServer>) -> bool {
        self.failed.iter().any(|failed| Arc::ptr_eq(failed, server))
    }
}

/// All elements of `list`, beginning at a position that `start` determines.
fn rotated<T>(list: &[T], start: u64) -> impl Iterator<Item = &T> {
    let from = usize::try_from(start % (list.len().max(1) as u64)).unwrap_or_default();
    let (before, after) = list.split_at(from.min(list.len()));
    after.iter().chain(before)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::sample;
    use super::*;
    use crate::clock::Clock;
    use crate::runtime::GatewayThreads;
    use crate::settings::{self, HashBy, ServerAddress};

    /// A pool of `number` servers, of which the last `backups` are backups.
    fn pool(balance: &BalancePolicy, number: usize, backups: usize) -> Arc<UpstreamPool> {
        let server = |at: usize| settings::ServerSettings {
            name: format!("server-{at}"),
            address: ServerAddress::Echo,
            weight: 1,
            backup: at + backups >= number,
        };
        let config = sample(balance.clone(), (0..number).map(server).collect());
        UpstreamPool::build(&config, 1, &Clock::system()).unwrap()
    }

    const BALANCES: [BalancePolicy; 3] = [
        BalancePolicy::RoundRobin,
        BalancePolicy::LeastRequests,
        BalancePolicy::Hash(HashBy::Client),
    ];

    /// How often each server is chosen in `times` choices.
    fn picked(pool: &UpstreamPool, times: u64) -> HashMap<Arc<str>, u64> {
        let threads = GatewayThreads::start(1, 1).unwrap();
        let mut counts = HashMap::new();
        for key in 0..times {
            let wanted = PickRequest { failed: &[], key: Some(mix64(key)) };
            let server = pool.pick(&threads.workers()[0], &wanted).unwrap();
            *counts.entry(server.name.clone()).or_insert(0) += 1;
        }
        counts
    }

    #[test]
    fn what_half_of_a_thousand_servers_cannot_take_is_spread_over_the_others() {
        for balance in BALANCES {
            let pool = pool(&balance, 1000, 0);
            for server in pool.servers.iter().step_by(2) {
                server.state.checked(Some("down"), pool.clock.now());
            }

            let counts = picked(&pool, 20_000);

            let even = |name: &str| name.rsplit('-').next().unwrap().parse::<u32>().unwrap() % 2;
            assert!(counts.keys().all(|name| even(name) == 1), "{balance:?}");
            let most = counts.values().max().unwrap();
            assert!(counts.len() > 490 && *most < 130, "40 would be fair: {most}, {balance:?}");
        }
    }

    #[test]
    fn a_server_that_failed_this_request_is_not_asked_again_if_there_is_another() {
        let threads = GatewayThreads::start(1, 1).unwrap();
        for balance in BALANCES {
            for (number, backups, failed) in [(2, 0, 1), (3, 0, 1), (2, 1, 1), (3, 0, 2), (4, 1, 3)]
            {
                let pool = pool(&balance, number, backups);
                for key in 0..100 {
                    let failed: Vec<_> = pool.servers.iter().take(failed).collect();
                    let wanted = PickRequest { failed: &failed, key: Some(mix64(key)) };
                    let other = pool.pick(&threads.workers()[0], &wanted).unwrap();
                    assert!(!wanted.is_failed(other), "{balance:?}");
                }
            }
        }
    }

    #[test]
    fn with_every_server_ejected_or_unreachable_one_is_asked_all_the_same() {
        let outlier = settings::OutlierSettings::default();
        for balance in BALANCES {
            let pool = pool(&balance, 3, 1);
            let now = pool.clock.now();
            pool.servers[0].state.eject(&outlier, now);
            pool.servers[1].state.unreachable(now);
            pool.servers[2].state.checked(Some("down"), now);

            let counts = picked(&pool, 10);

            assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("server-1".into(), 10)]);
        }
    }
}
