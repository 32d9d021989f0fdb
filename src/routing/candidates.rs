//! Why a route did not take a request, for an operator who asks.
//!
//! The table answers which route takes a request; this file asks it about one route at a time, with
//! the code that finds the route: the host that decides, a tree with the one pattern, the entries of
//! the best match. Requests do not come here. The dry run of the pipeline is the caller.

use std::borrow::Cow;

use super::table::{HostTable, RouteEntry, RouteMatch, RouteTable, parent};
use super::tree::{PathEntry, PathTree, of_method};
use super::{PathAnomalies, Target};

/// The first reason in the order of the search (host, path, method) for which a route loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteLoss {
    /// The route is not for this host.
    Host,
    /// The route is for this host too, but a host that is named more exactly has routes of its own,
    /// and there is no fallback from it.
    OuterHost,
    /// The pattern does not match the path.
    Path,
    /// The pattern matches, but that of another route matches more of the path.
    ShorterPath,
    /// The path is the route's, the method is not.
    Method,
    /// A login endpoint has this very path, and endpoints go before routes.
    Endpoint,
    /// The path is spelled in a way that the route does not allow, or that could be read as a path
    /// of another route.
    Spelling,
}

/// A login endpoint with the path of a request.
#[derive(Debug)]
pub struct EndpointCandidate<'t, L> {
    pub login: &'t L,
    /// True if the endpoint takes the request, perhaps only without a valid credential.
    pub is_taken: bool,
}

impl<L: Clone, R: Clone> RouteTable<L, R> {
    /// Why the route that was added as `place` does not take `target`; `None` if it does. `is_it`
    /// recognises the route among the values of the table.
    pub fn loss(
        &self,
        target: &Target,
        place: &RouteEntry<'_>,
        is_it: impl Fn(&R) -> bool,
    ) -> Option<RouteLoss> {
        let takes = match self.find(target) {
            RouteMatch::Route(route) | RouteMatch::LoginOrRoute { route: Some(route), .. } => {
                is_it(route)
            }
            _ => false,
        };
        if takes {
            return None;
        }
        let host = target.host().unwrap_or_default();
        let deciding = self.routes.deciding(host);
        if !place.hosts.iter().any(|named| *named == deciding) {
            let is_for = place.hosts.iter().any(|named| covers(named, host));
            return Some(if is_for { RouteLoss::OuterHost } else { RouteLoss::Host });
        }
        if !matches_alone(place, target.path()) {
            return Some(RouteLoss::Path);
        }
        let found = self.routes.paths(host).find(target.path());
        let entries = found.as_ref().map_or(&[][..], |found| found.entries);
        if !entries.iter().any(|entry| is_it(&entry.value)) {
            return Some(RouteLoss::ShorterPath);
        }
        let is_endpoint = !target.oddities().any() && self.login_at(host, target.path()).is_some();
        let by_method = of_method(entries, target.method());
        Some(match by_method.is_some_and(|entry| is_it(&entry.value)) {
            false => RouteLoss::Method,
            true if is_endpoint => RouteLoss::Endpoint,
            true => RouteLoss::Spelling,
        })
    }

    /// The login endpoints with the path of `target`, on the host that decides among endpoints.
    pub fn endpoints(&self, target: &Target) -> Vec<EndpointCandidate<'_, L>> {
        // As in `find`: endpoints are matched by their plain spelling only.
        if target.oddities().any() {
            return Vec::new();
        }
        let host = target.host().unwrap_or_default();
        let Some(entries) = self.login_at(host, target.path()) else { return Vec::new() };
        let chosen = of_method(entries, target.method());
        let is_taken = |entry: &PathEntry<L>| chosen.is_some_and(|one| std::ptr::eq(one, entry));
        entries
            .iter()
            .map(|entry| EndpointCandidate { login: &entry.value, is_taken: is_taken(entry) })
            .collect()
    }
}

impl<T> HostTable<T> {
    /// The configured host whose entries decide for `host`; see `paths`.
    fn deciding<'h>(&self, host: &'h str) -> Cow<'h, str> {
        if self.exact.contains_key(host) {
            return host.into();
        }
        match parent(host).filter(|parent| self.wildcard.contains_key(*parent)) {
            Some(parent) => format!("*.{parent}").into(),
            None => "*".into(),
        }
    }
}

/// True if a configured host includes `host`.
fn covers(named: &str, host: &str) -> bool {
    match named.strip_prefix("*.") {
        Some(above) => parent(host) == Some(above),
        None => named == "*" || named == host,
    }
}

/// True if the route would take the path if it were the only one.
fn matches_alone(place: &RouteEntry<'_>, path: &str) -> bool {
    let mut alone = PathTree::default();
    let entry = PathEntry {
        methods: Vec::new(),
        allowed: PathAnomalies::default(),
        falls_through: false,
        literal: place.pattern.is_literal(),
        value: (),
    };
    // Invariant: nothing conflicts with the first entry of a tree.
    alone.insert(place.pattern, place.case_insensitive, entry).is_ok() && alone.find(path).is_some()
}
