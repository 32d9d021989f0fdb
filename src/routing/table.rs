//! The route table: finds the login endpoint or route for a request by host, then path, then
//! method.
//!
//! The most specific host that has routes decides, then the longest pattern, then its methods.
//! There is no fallback to a shorter path or to `*`: a client must not escape a protecting route by
//! spelling the request differently. Login endpoints are searched before routes. An exact route for
//! the method wins over an endpoint's 405. A spelling that only some routes allow must lead to the
//! same route in every reading. `gateway` builds the table; the pipeline calls `find`.

use std::collections::HashMap;

use http::Method;

use super::path::interpretations;
use super::pattern::Pattern;
use super::tree::{PathConflict, PathEntry, PathMatch, PathTree, methods, of_method};
use super::{PathAnomalies, Target};

/// Letters beyond ASCII that some server equates with an ASCII letter when it ignores case: dotted
/// capital I, dotless i, long s, and the Kelvin sign. Java's `equalsIgnoreCase` equates them with
/// `i`, `i`, `s` and `k`; other servers equate none, one or two of them.
const FOLDS_TO_ASCII: [char; 4] = ['\u{130}', '\u{131}', '\u{17f}', '\u{212a}'];

/// The table of login endpoints `L` and routes `R`.
#[derive(Debug)]
pub struct RouteTable<L, R> {
    logins: HostTable<L>,
    pub(super) routes: HostTable<R>,
}

/// The result of a search.
#[derive(Debug, PartialEq, Eq)]
pub enum RouteMatch<'t, L, R> {
    /// A login endpoint.
    Login(&'t L),
    /// A login endpoint that leaves some requests to the route, if there is one: those with a valid
    /// token, or those that no endpoint of the path takes.
    LoginOrRoute { login: &'t L, route: Option<&'t R> },
    /// A route.
    Route(&'t R),
    /// The path is known, but not by this method. `allow` lists the accepted methods; `login` or
    /// `route` is one of the entries with this path, whose form of answer is used.
    WrongMethod { allow: Vec<Method>, login: Option<&'t L>, route: Option<&'t R> },
    /// The path is spelled in a way that its route does not allow, or that an upstream could read
    /// as a path of another route.
    AmbiguousPath,
    /// No endpoint and no route matches.
    NoRoute,
}

/// The entries of one kind (endpoints or routes), by host.
#[derive(Debug)]
pub(super) struct HostTable<T> {
    pub(super) exact: HashMap<String, PathTree<T>>,
    /// Keyed by parent domain: `*.example.com` is stored under `example.com`.
    pub(super) wildcard: HashMap<String, PathTree<T>>,
    any: PathTree<T>,
}

/// The description of a route that is added to the table.
#[derive(Clone, Debug)]
pub struct RouteEntry<'a> {
    pub hosts: &'a [String],
    pub pattern: &'a Pattern,
    pub methods: &'a [Method],
    pub allowed: PathAnomalies,
    /// The path is matched without regard to case.
    pub case_insensitive: bool,
}

/// The description of a login endpoint that is added to the table.
#[derive(Clone, Copy, Debug)]
pub struct LoginEntry<'a> {
    pub hosts: &'a [String],
    /// The path of the endpoint, which is matched exactly; `{name}` is any one segment.
    pub path: &'a str,
    pub method: &'a Method,
    /// The endpoint leaves some requests to the route below it: those with a valid token, or those
    /// that no endpoint of the path takes.
    pub falls_through: bool,
}

impl<L: Clone, R: Clone> RouteTable<L, R> {
    /// An empty table.
    pub fn new() -> Self {
        Self { logins: HostTable::default(), routes: HostTable::default() }
    }

    /// Adds a login endpoint to each of its hosts. Endpoints are not checked for ambiguity here:
    /// `find` takes the first one of a method.
    pub fn add_login(&mut self, place: &LoginEntry<'_>, login: &L) {
        for host in place.hosts {
            let entry = PathEntry {
                methods: vec![place.method.clone()],
                allowed: PathAnomalies::default(),
                falls_through: place.falls_through,
                literal: true,
                value: login.clone(),
            };
            self.logins.host(host).insert_exact(place.path, entry);
        }
    }

    /// Adds a route to each of its hosts.
    ///
    /// # Errors
    /// Another route already takes some of the same requests.
    pub fn add_route(&mut self, place: &RouteEntry<'_>, route: &R) -> Result<(), PathConflict> {
        for host in place.hosts {
            let entry = PathEntry {
                methods: place.methods.to_vec(),
                allowed: place.allowed,
                falls_through: false,
                literal: place.pattern.is_literal(),
                value: route.clone(),
            };
            self.routes.host(host).insert(place.pattern, place.case_insensitive, entry)?;
        }
        Ok(())
    }

    /// Finds the endpoint or route that takes `target`.
    pub fn find(&self, target: &Target) -> RouteMatch<'_, L, R> {
        let host = target.host().unwrap_or_default();
        let found = self.routes.paths(host).find(target.path());
        // Endpoints are matched by their plain spelling only. A path with an odd spelling is looked
        // up among the routes. `has_one_reading` refuses it there if one of its readings is an
        // endpoint.
        let endpoints =
            if target.oddities().any() { None } else { self.login_at(host, target.path()) };
        let Some(endpoints) = endpoints else { return self.route(host, target, found) };
        if let Some(entry) = of_method(endpoints, target.method()) {
            if !entry.falls_through {
                return RouteMatch::Login(&entry.value);
            }
            let route = match self.route(host, target, found) {
                RouteMatch::Route(route) => Some(route),
                _ => None,
            };
            return RouteMatch::LoginOrRoute { login: &entry.value, route };
        }
        // An exact route for this method wins over the endpoint's 405. A login page can therefore
        // be served by GET on the path at which credentials are posted. A prefix route does not
        // win: it would hide the 405 of every endpoint below it.
        let exact = found.filter(PathMatch::is_literal);
        if exact.as_ref().is_some_and(|best| best.takes(target.method())) {
            return self.route(host, target, exact);
        }
        let mut allow = methods(endpoints);
        allow.extend(exact.iter().flat_map(|best| methods(best.entries)));
        let login = endpoints.first().map(|entry| &entry.value);
        RouteMatch::WrongMethod { allow, login, route: None }
    }

    /// The endpoints of a path. An endpoint on the exact host goes first, then one on a wildcard
    /// host, then one on `*`. Unlike routes, endpoints fall back from host to host: an endpoint on
    /// `*` is served on every host.
    pub(super) fn login_at(&self, host: &str, path: &str) -> Option<&[PathEntry<L>]> {
        let exact = self.logins.exact.get(host);
        let wildcard = parent(host).and_then(|parent| self.logins.wildcard.get(parent));
        [exact, wildcard, Some(&self.logins.any)]
            .into_iter()
            .flatten()
            .find_map(|paths| paths.find(path))
            .map(|found| found.entries)
    }

    /// Chooses among the entries of `found` by method. It refuses a spelling that the route does
    /// not allow or that has more than one reading. A path that no route takes is `NoRoute` only in
    /// a plain spelling; an odd one is refused as `AmbiguousPath`.
    fn route<'t>(
        &'t self,
        host: &str,
        target: &Target,
        found: Option<PathMatch<'t, R>>,
    ) -> RouteMatch<'t, L, R> {
        let odd = target.oddities().any();
        let Some(found) = found else {
            return if odd { RouteMatch::AmbiguousPath } else { RouteMatch::NoRoute };
        };
        // The upstream may fold these letters differently than we do. If it equates a long s with
        // `s`, then it sees a path that we matched against no rule. The path is therefore refused.
        if found.case_insensitive && target.path().contains(FOLDS_TO_ASCII) {
            return RouteMatch::AmbiguousPath;
        }
        match of_method(found.entries, target.method()) {
            Some(entry) if !odd => RouteMatch::Route(&entry.value),
            Some(entry)
                if target.oddities().within(entry.allowed)
                    && self.has_one_reading(host, target, &found) =>
            {
                RouteMatch::Route(&entry.value)
            }
            Some(_) => RouteMatch::AmbiguousPath,
            None => RouteMatch::WrongMethod {
                allow: methods(found.entries),
                login: None,
                route: found.entries.first().map(|entry| &entry.value),
            },
        }
    }

    /// True if every reading of an oddly spelled path leads to the entries in `found`, and none to
    /// a login endpoint. Without this check, `/admin;x` would escape the rule of `/admin` through a
    /// route that allows semicolons.
    fn has_one_reading(&self, host: &str, target: &Target, found: &PathMatch<'_, R>) -> bool {
        let paths = self.routes.paths(host);
        let leads_there = |path: &String| {
            self.login_at(host, path).is_none()
                && paths.find(path).is_some_and(|other| std::ptr::eq(other.entries, found.entries))
        };
        interpretations(target.raw().path(), target.oddities())
            .is_some_and(|readings| readings.iter().all(leads_there))
    }
}

impl<L: Clone, R: Clone> Default for RouteTable<L, R> {
    fn default() -> Self {
        Self::new()
    }
}

/// The domain above a host: `b.c` for `a.b.c`.
pub(super) fn parent(host: &str) -> Option<&str> {
    host.split_once('.').map(|(_, parent)| parent)
}

impl<T> HostTable<T> {
    /// The paths of a configured host; creates them if the host is new. `*.example.com` goes to the
    /// wildcard hosts, `*` to every host without entries of its own.
    fn host(&mut self, host: &str) -> &mut PathTree<T> {
        match host.strip_prefix("*.") {
            Some(parent) => self.wildcard.entry(parent.to_owned()).or_default(),
            None if host == "*" => &mut self.any,
            None => self.exact.entry(host.to_owned()).or_default(),
        }
    }

    /// The paths of the most specific host. There is no fallback from a host that has routes to a
    /// wildcard. Without a match on an exact or wildcard host, the entries of `*` apply.
    pub(super) fn paths(&self, host: &str) -> &PathTree<T> {
        self.exact.get(host).or_else(|| self.wildcard.get(parent(host)?)).unwrap_or(&self.any)
    }
}

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new(), any: PathTree::default() }
    }
}

#[cfg(test)]
mod tests;
