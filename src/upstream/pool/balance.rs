//! The tables for choosing servers: weighted turns and a hash ring.
//!
//! Both tables are built once, with the pool, so that a choice among a thousand servers costs as
//! much as among two. The ring (consistent hashing) has points for each server, computed from its
//! name. A server that is added or lost therefore moves its own share of the keys and no other, and
//! all gateways with the same servers agree. `pick` reads the tables.

use http::header::{self, HeaderMap};

use super::server::PoolServer;
use crate::client::address_group;
use crate::headers::HeaderFacts;
use crate::settings::HashBy;

/// Points on the ring for each unit of weight. With this many, shares are even within about 6 %.
const POINTS: u64 = 256;
/// Upper bound of points of one ring. Heavy weights must not make it larger than it is worth.
const MAX_POINTS: u64 = 1 << 20;

/// Some of a pool's servers, by their numbers in it: the primary ones, or the backups.
pub(super) struct ServerGroup {
    pub(super) members: Vec<usize>,
    /// Each member as often as its weight says, spread out evenly.
    schedule: Vec<usize>,
    pub(super) ring: Option<HashRing>,
}

impl ServerGroup {
    /// The primary servers, or the backups; with a ring if keys choose among them.
    pub(super) fn new(servers: &[&PoolServer], hashes: bool, backup: bool) -> Self {
        let members: Vec<usize> = servers
            .iter()
            .enumerate()
            .filter_map(|(number, server)| (server.backup == backup).then_some(number))
            .collect();
        let chosen = members.iter().filter_map(|number| servers.get(*number));
        let weights: Vec<i64> = chosen.map(|server| i64::from(server.weight)).collect();
        let turns = schedule(&weights).into_iter().filter_map(|turn| members.get(turn).copied());
        Self {
            schedule: turns.collect(),
            ring: (hashes && !members.is_empty()).then(|| HashRing::new(servers, &members)),
            members,
        }
    }

    /// The server of a turn.
    pub(super) fn at(&self, turn: u64) -> Option<usize> {
        let turn = usize::try_from(turn % (self.schedule.len().max(1) as u64)).ok()?;
        self.schedule.get(turn).copied()
    }

    /// Two different turns chosen at random. With two servers, both are found.
    pub(super) fn two(&self, random: u64) -> Option<(usize, usize)> {
        let first = random >> 32;
        let step = random & 0xffff_ffff;
        let others = (self.schedule.len() as u64).saturating_sub(1).max(1);
        Some((self.at(first)?, self.at(first + 1 + step % others)?))
    }
}

/// One round in which each server has as many turns as its weight, as far apart as possible (smooth
/// weighted round robin, as in nginx). Dividing the weights by their common divisor keeps the round
/// short.
fn schedule(weights: &[i64]) -> Vec<usize> {
    let shared = weights.iter().copied().fold(0, gcd).max(1);
    let weights: Vec<i64> = weights.iter().map(|weight| weight / shared).collect();
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0; weights.len()];
    let mut turns = Vec::new();
    for _ in 0..total {
        for (credit, weight) in credit.iter_mut().zip(&weights) {
            *credit += weight;
        }
        // The first of equals is taken, so that servers of equal weight take turns in the order of
        // the configuration.
        let best = credit.iter().copied().max().unwrap_or_default();
        if let Some(index) = credit.iter().position(|credit| *credit == best)
            && let Some(credit) = credit.get_mut(index)
        {
            *credit -= total;
            turns.push(index);
        }
    }
    turns
}

/// The greatest common divisor.
fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The points of a ring in order. A key belongs to the first point at or after its place.
pub(super) struct HashRing {
    /// Place and server.
    points: Vec<(u32, u32)>,
    /// For each prefix of a place, the first point with that prefix or after it. It makes a search
    /// independent of the number of points.
    starts: Vec<u32>,
    shift: u32,
}

impl HashRing {
    /// A ring for the servers with the numbers `members`.
    fn new(servers: &[&PoolServer], members: &[usize]) -> Self {
        let chosen = || members.iter().filter_map(|number| Some((*number, servers.get(*number)?)));
        let weight: u64 = chosen().map(|(_, server)| u64::from(server.weight)).sum();
        let mut each = POINTS;
        // The number is halved, not scaled, so that the points that remain keep their places.
        while each > 1 && each.saturating_mul(weight) > MAX_POINTS {
            each /= 2;
        }
        let mut points = Vec::new();
        for (number, server) in chosen() {
            let Ok(number) = u32::try_from(number) else { continue };
            let own = digest(server.name.as_bytes());
            let place = |point| place(mix64(own.wrapping_add(point)));
            points.extend((0..each * u64::from(server.weight)).map(|at| (place(at), number)));
        }
        points.sort_unstable();
        let bits = points.len().next_power_of_two().ilog2().clamp(1, 31);
        let shift = u32::BITS - bits;
        let mut from = 0_usize;
        let starts = (0..1_u32 << bits).map(|start| {
            while points.get(from).is_some_and(|(place, _)| *place < start << shift) {
                from += 1;
            }
            u32::try_from(from).unwrap_or(u32::MAX)
        });
        Self { starts: starts.collect(), points, shift }
    }

    /// The server of a key, then the servers of the following points, all around the ring.
    pub(super) fn after(&self, key: u64) -> impl Iterator<Item = usize> {
        let key = place(key);
        let start = self.starts.get((key >> self.shift) as usize).copied().unwrap_or_default();
        let near = self.points.get(start as usize..).unwrap_or_default();
        let at = near.iter().position(|(place, _)| *place >= key).unwrap_or(near.len());
        let at = (start as usize + at).min(self.points.len());
        let (before, after) = self.points.split_at(at);
        after.iter().chain(before).map(|(_, server)| *server as usize)
    }
}

/// The place of a key on the ring.
fn place(key: u64) -> u32 {
    u32::try_from(key >> 32).unwrap_or(u32::MAX)
}

/// The hash key of a request. If the request lacks the configured value, then the client's address
/// is used. IPv6 clients count by their network, because one client can use all addresses of it.
pub(super) fn key(by: &HashBy, headers: &HeaderMap, facts: &HeaderFacts<'_>) -> Option<u64> {
    let found = match by {
        HashBy::Client => None,
        HashBy::Subject => {
            facts.identity.map(|identity| digest(identity.subject.as_str().as_bytes()))
        }
        HashBy::Header(name) => headers.get(name).map(|value| digest(value.as_bytes())),
        HashBy::Cookie(name) => cookie(headers, name.as_bytes()).map(digest),
    };
    let address = || match address_group(facts.client.address?) {
        std::net::IpAddr::V4(address) => Some(digest(&address.octets())),
        std::net::IpAddr::V6(address) => Some(digest(&address.octets())),
    };
    found.or_else(address)
}

/// The value of a cookie, if it is present and not empty.
fn cookie<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    let lines = headers.get_all(header::COOKIE).iter();
    let mut pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?;
        Some(value).filter(|value| !value.is_empty())
    })
}

/// FNV-1a with its bits spread. All gateways must compute the same value for ever, so it cannot be
/// secret: a client that can choose its key can choose its server. Only the balance suffers from
/// such a choice: no rule depends on the server.
fn digest(bytes: &[u8]) -> u64 {
    let mixed = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |mixed: u64, byte| {
        (mixed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix64(mixed)
}

/// Spreads a counter over 64 bits (the finalizer of splitmix64). Balancing needs no secret
/// randomness, and a counter needs no lock. It is also used to draw two unrelated random numbers
/// from one counter.
pub(super) fn mix64(counter: u64) -> u64 {
    let mut mixed = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::sample;
    use super::*;
    use crate::settings::{self, BalancePolicy, ServerAddress};

    fn servers(weights: &[u32]) -> Vec<PoolServer> {
        let pool = sample(BalancePolicy::Hash(HashBy::Client), Vec::new());
        let server = |(number, weight): (usize, &u32)| {
            let name = format!("http://10.0.0.{number}");
            let address = ServerAddress::Echo;
            let one = settings::ServerSettings { name, address, weight: *weight, backup: false };
            PoolServer::new(&one, None, &pool, 1)
        };
        weights.iter().enumerate().map(server).collect()
    }

    fn ring(servers: &[PoolServer]) -> HashRing {
        let servers: Vec<&PoolServer> = servers.iter().collect();
        let members: Vec<usize> = (0..servers.len()).collect();
        HashRing::new(&servers, &members)
    }

    const KEYS: u64 = 20_000;

    fn owners(ring: &HashRing) -> Vec<usize> {
        (0..KEYS).map(|key| ring.after(mix64(key)).next().unwrap()).collect()
    }

    #[test]
    fn turns_follow_the_weights_and_are_spread_out() {
        for (weights, expected, why) in [
            (&[1, 1, 1][..], &[0, 1, 2][..], "equal weights take turns"),
            (&[50, 50], &[0, 1], "weights are relative"),
            (&[2, 1], &[0, 1, 0], "a heavier server has its turns apart"),
        ] {
            assert_eq!(schedule(weights), expected, "{why}");
        }
    }

    #[test]
    fn a_server_that_is_added_takes_its_share_and_moves_no_other_key() {
        for number in [1_usize, 2, 10, 100] {
            let before = owners(&ring(&servers(&vec![1; number])));
            let after = owners(&ring(&servers(&vec![1; number + 1])));

            let moved: Vec<usize> = before
                .iter()
                .zip(&after)
                .filter_map(|(before, after)| (before != after).then_some(*after))
                .collect();
            assert!(moved.iter().all(|owner| *owner == number), "only to the new one");
            let fair = KEYS as f64 / (number + 1) as f64;
            let share = moved.len() as f64 / fair;
            assert!((0.6..1.4).contains(&share), "{share} of a fair share, of {number}");
        }
    }

    #[test]
    fn every_server_of_a_thousand_has_its_share_of_the_keys() {
        let mut counts = HashMap::new();
        for owner in owners(&ring(&servers(&[1; 1000]))) {
            *counts.entry(owner).or_insert(0_u64) += 1;
        }

        assert!(counts.len() > 990, "{} of a thousand", counts.len());
        assert!(counts.values().all(|count| *count < 60), "20 would be fair: {counts:?}");
    }

    #[test]
    fn a_share_of_the_keys_follows_the_weight() {
        let owners = owners(&ring(&servers(&[3, 1])));

        let heavy = owners.iter().filter(|owner| **owner == 0).count() as f64 / KEYS as f64;
        assert!((0.7..0.8).contains(&heavy), "{heavy}");
    }

    #[test]
    fn a_walk_round_the_ring_comes_to_every_server() {
        let ring = ring(&servers(&[1, 1, 1]));

        for key in [0, u64::MAX, 1 << 63, 0x1234_5678_9abc_def0] {
            let mut seen: Vec<usize> = ring.after(key).collect();
            assert_eq!(seen.len(), 3 * 256);
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, [0, 1, 2]);
        }
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        for (line, expected) in [
            ("sid=a", Some("a")),
            ("xsid=b; sid=a; sid=c", Some("a")),
            ("sid=", None),
            ("sidx=a; s=sid=a", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, line.parse().unwrap());

            assert_eq!(cookie(&headers, b"sid"), expected.map(str::as_bytes), "{line}");
        }
    }
}
