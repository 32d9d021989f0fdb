//! Which endpoint or route takes a request: by host, then path, then method.
//!
//! A request is looked up once on each side. The most specific host that has routes decides, then
//! the longest pattern, then its methods; there is no falling back to a shorter path or to `*`,
//! because a route that protects a path must not be escaped by asking differently. Login
//! endpoints go before routes, and an exact route wins over a dialect's 405. A spelling that
//! only some routes let through has to lead to the same route however a server reads it.

use std::collections::HashMap;

use http::Method;

use super::path::readings;
use super::pattern::Pattern;
use super::tree::{AmbiguousPath, Best, Entry, Paths, methods, of_method};
use super::{Oddities, Target};

/// Letters beyond ASCII that some server takes for one of ASCII when it disregards case: dotted I,
/// dotless i, long s, and the sign of the kelvin. To Java's `equalsIgnoreCase` they are `i`, `i`,
/// `s` and `k`, to others none, one or two of them are.
const FOLDS_TO_ASCII: [char; 4] = ['\u{130}', '\u{131}', '\u{17f}', '\u{212a}'];

/// Login endpoints `L` and routes `R`.
#[derive(Debug)]
pub struct RouteTable<L, R> {
    logins: Hosts<L>,
    routes: Hosts<R>,
}

/// What takes a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'t, L, R> {
    /// A login endpoint.
    Login(&'t L),
    /// A login endpoint for requests without a good token; the route for the others.
    LoginOr { login: &'t L, route: Option<&'t R> },
    /// A route.
    Route(&'t R),
    /// The path is taken, the method is not; one of those that take the path.
    WrongMethod { allow: Vec<Method>, login: Option<&'t L>, route: Option<&'t R> },
    /// The path is spelled in a way that its route does not let through, or that another server
    /// could take for another route's.
    Odd,
    /// Nothing.
    NoRoute,
}

/// One side of the table.
#[derive(Debug)]
struct Hosts<T> {
    exact: HashMap<String, Paths<T>>,
    /// By parent domain: `*.example.com` is under `example.com`.
    wildcard: HashMap<String, Paths<T>>,
    any: Paths<T>,
}

/// What is to be put into a table.
#[derive(Clone, Debug)]
pub struct Placement<'a> {
    pub hosts: &'a [String],
    pub pattern: &'a Pattern,
    pub methods: &'a [Method],
    pub allowed: Oddities,
    /// Matched without regard to case.
    pub folded: bool,
}

/// Where a login endpoint is to be put.
#[derive(Clone, Copy, Debug)]
pub struct EndpointPlacement<'a> {
    pub hosts: &'a [String],
    /// Exactly this.
    pub path: &'a str,
    pub method: &'a Method,
    /// Takes only what is not authenticated.
    pub falls_through: bool,
}

impl<L: Clone, R: Clone> RouteTable<L, R> {
    /// An empty table.
    pub fn new() -> Self {
        Self { logins: Hosts::default(), routes: Hosts::default() }
    }

    /// Adds a login endpoint.
    pub fn add_login(&mut self, place: &EndpointPlacement<'_>, login: &L) {
        for host in place.hosts {
            let entry = Entry {
                methods: vec![place.method.clone()],
                allowed: Oddities::default(),
                falls_through: place.falls_through,
                literal: true,
                value: login.clone(),
            };
            self.logins.host(host).insert_exact(place.path, entry);
        }
    }

    /// Adds a route.
    ///
    /// # Errors
    /// Where another route takes some of the same requests.
    pub fn add_route(&mut self, place: &Placement<'_>, route: &R) -> Result<(), AmbiguousPath> {
        for host in place.hosts {
            let entry = Entry {
                methods: place.methods.to_vec(),
                allowed: place.allowed,
                falls_through: false,
                literal: place.pattern.is_literal(),
                value: route.clone(),
            };
            self.routes.host(host).insert(place.pattern, place.folded, entry)?;
        }
        Ok(())
    }

    /// What takes `target`.
    pub fn find(&self, target: &Target) -> Found<'_, L, R> {
        let host = target.host().unwrap_or_default();
        let found = self.routes.paths(host).find(target.path());
        let endpoints =
            if target.oddities().any() { None } else { self.login_at(host, target.path()) };
        let Some(endpoints) = endpoints else { return self.route(host, target, found) };
        if let Some(entry) = of_method(endpoints, target.method()) {
            if !entry.falls_through {
                return Found::Login(&entry.value);
            }
            let route = match self.route(host, target, found) {
                Found::Route(route) => Some(route),
                _ => None,
            };
            return Found::LoginOr { login: &entry.value, route };
        }
        // An exact route of that method wins over the dialect's 405.
        let exact = found.filter(Best::is_literal);
        if exact.as_ref().is_some_and(|best| best.takes(target.method())) {
            return self.route(host, target, exact);
        }
        let mut allow = methods(endpoints);
        allow.extend(exact.iter().flat_map(|best| methods(best.entries)));
        let login = endpoints.first().map(|entry| &entry.value);
        Found::WrongMethod { allow, login, route: None }
    }

    /// A login with `*` among its hosts is served on every host; one of the very host goes first.
    fn login_at(&self, host: &str, path: &str) -> Option<&[Entry<L>]> {
        let exact = self.logins.exact.get(host);
        let wildcard = parent(host).and_then(|parent| self.logins.wildcard.get(parent));
        [exact, wildcard, Some(&self.logins.any)]
            .into_iter()
            .flatten()
            .find_map(|paths| paths.find(path))
            .map(|found| found.entries)
    }

    fn route<'t>(
        &'t self,
        host: &str,
        target: &Target,
        found: Option<Best<'t, R>>,
    ) -> Found<'t, L, R> {
        let odd = target.oddities().any();
        let Some(found) = found else { return if odd { Found::Odd } else { Found::NoRoute } };
        // However we fold them, the server behind this route may fold them otherwise.
        if found.folded && target.path().contains(FOLDS_TO_ASCII) {
            return Found::Odd;
        }
        match of_method(found.entries, target.method()) {
            Some(entry) if !odd => Found::Route(&entry.value),
            Some(entry)
                if target.oddities().within(entry.allowed)
                    && self.has_one_reading(host, target, &found) =>
            {
                Found::Route(&entry.value)
            }
            Some(_) => Found::Odd,
            None => Found::WrongMethod {
                allow: methods(found.entries),
                login: None,
                route: found.entries.first().map(|entry| &entry.value),
            },
        }
    }

    /// True if an oddly spelled path leads to `found` however the server behind us reads it:
    /// otherwise `/admin;x` would escape the rule of `/admin` by way of a route that lets
    /// semicolons through.
    fn has_one_reading(&self, host: &str, target: &Target, found: &Best<'_, R>) -> bool {
        let paths = self.routes.paths(host);
        let leads_there = |path: &String| {
            self.login_at(host, path).is_none()
                && paths.find(path).is_some_and(|other| std::ptr::eq(other.entries, found.entries))
        };
        readings(target.raw().path(), target.oddities())
            .is_some_and(|readings| readings.iter().all(leads_there))
    }
}

impl<L: Clone, R: Clone> Default for RouteTable<L, R> {
    fn default() -> Self {
        Self::new()
    }
}

fn parent(host: &str) -> Option<&str> {
    host.split_once('.').map(|(_, parent)| parent)
}

impl<T> Hosts<T> {
    fn host(&mut self, host: &str) -> &mut Paths<T> {
        match host.strip_prefix("*.") {
            Some(parent) => self.wildcard.entry(parent.to_owned()).or_default(),
            None if host == "*" => &mut self.any,
            None => self.exact.entry(host.to_owned()).or_default(),
        }
    }

    /// The paths of the most specific host there is.
    fn paths(&self, host: &str) -> &Paths<T> {
        self.exact.get(host).or_else(|| self.wildcard.get(parent(host)?)).unwrap_or(&self.any)
    }
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new(), any: Paths::default() }
    }
}

#[cfg(test)]
mod tests;
