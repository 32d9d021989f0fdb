//! The state of the upstreams' servers, in the forms in which operators see it.
//!
//! All functions read snapshots of the pools and change nothing. `operations` puts the results into
//! readiness reports and metrics.

use crate::gateway::Generation;
use crate::upstream::ServerCondition;

/// Every upstream, with the reason why none of its servers can be used, if that is so.
pub(super) fn problems(generation: &Generation) -> Vec<(String, Option<String>)> {
    let pools = generation.pools.iter();
    let mut problems: Vec<_> = pools.map(|(name, pool)| (name.clone(), pool.problem())).collect();
    problems.sort();
    problems
}

/// Sentences about upstreams without a usable server, and about servers that failed checks or
/// requests. They are sorted, so that two reports can be compared.
pub(super) fn notes(generation: &Generation) -> Vec<String> {
    let servers = generation.pools.values().flat_map(|pool| {
        let pool = pool.snapshot();
        let name = pool.name;
        pool.servers.into_iter().filter_map(move |server| {
            let state = match server.condition {
                ServerCondition::Ejected => "is left out because it failed requests",
                ServerCondition::FailsChecks => "fails its checks",
                ServerCondition::Up | ServerCondition::Rising(_) | ServerCondition::Unreachable => {
                    return None;
                }
            };
            Some(format!("upstream {name}: {} {state}", server.name))
        })
    });
    let down = generation.pools.values().filter_map(|pool| pool.problem());
    let mut notes: Vec<String> = servers.chain(down).collect();
    notes.sort();
    notes
}

/// For each server: upstream, server, state, requests in flight, idle connections, failed requests.
/// The parts are those of `Gauges::upstreams`.
pub(super) fn gauges(
    generation: &Generation,
) -> Vec<(String, String, &'static str, usize, usize, u64)> {
    let servers = generation.pools.values().flat_map(|pool| {
        let pool = pool.snapshot();
        let name = pool.name.to_string();
        pool.servers.into_iter().map(move |server| {
            let in_flight = server.in_flight;
            let idle = server.idle;
            let failures = server.failures;
            let state = server.condition.as_str();
            (name.clone(), server.name.to_string(), state, in_flight, idle, failures)
        })
    });
    servers.collect()
}

/// For each upstream: its name, requests that were sent again, and those that were not because the
/// retry budget was used up.
pub(super) fn retries(generation: &Generation) -> Vec<(String, u64, u64)> {
    let pools = generation.pools.values().map(|pool| pool.snapshot());
    pools.map(|pool| (pool.name.to_string(), pool.retries, pool.retries_refused)).collect()
}

/// For each server: upstream, server, requests that wait for one of its limited connections.
pub(super) fn queues(generation: &Generation) -> Vec<(String, String, usize)> {
    let queues = generation.pools.values().flat_map(|pool| {
        let pool = pool.snapshot();
        let name = pool.name.to_string();
        let waiting = pool.servers.into_iter();
        waiting.map(move |server| (name.clone(), server.name.to_string(), server.waiting))
    });
    queues.collect()
}
