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
use super::tree::{Best, Entry, Paths, methods, of_method};
use super::{Oddities, Target};

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
    pub fn add_route(&mut self, place: &Placement<'_>, route: &R) {
        for host in place.hosts {
            let entry = Entry {
                methods: place.methods.to_vec(),
                allowed: place.allowed,
                falls_through: false,
                literal: place.pattern.is_literal(),
                value: route.clone(),
            };
            self.routes.host(host).insert(place.pattern, place.folded, entry);
        }
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
        // An exact route of that method wins over the dialect's 405 (DECISIONS 20).
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
        readings(target.raw().path()).iter().all(|path| {
            self.login_at(host, path).is_none()
                && paths.find(path).is_some_and(|other| std::ptr::eq(other.entries, found.entries))
        })
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
mod tests {
    use http::Request;

    use super::*;
    use crate::client::RequestBounds;

    fn target(method: &str, host: &str, path: &str) -> Target {
        let request =
            Request::builder().method(method).uri(path).header("host", host).body(()).unwrap();
        let limits = RequestBounds {
            uri_bytes: 8192,
            header_count: 100,
            body_idle: std::time::Duration::ZERO,
        };
        Target::parse(&request.into_parts().0, limits).unwrap()
    }

    fn table(
        routes: &[(&str, &str, &[Method], &'static str)],
    ) -> RouteTable<&'static str, &'static str> {
        let mut table = RouteTable::new();
        for (host, path, methods, name) in routes {
            let (hosts, pattern) = ([(*host).to_owned()], Pattern::parse(path).unwrap());
            let place = Placement {
                hosts: &hosts,
                pattern: &pattern,
                methods,
                allowed: Oddities::default(),
                folded: host.starts_with("folded"),
            };
            table.add_route(&place, name);
        }
        let hosts = &["*".to_owned()];
        for (path, method, falls_through, name) in
            [("/login", &Method::POST, false, "login"), ("/about", &Method::GET, true, "about")]
        {
            table.add_login(&EndpointPlacement { hosts, path, method, falls_through }, &name);
        }
        table
    }

    #[test]
    fn the_longest_pattern_of_the_most_specific_host_takes_a_request() {
        let table = table(&[
            ("*", "/", &[], "root"),
            ("*", "/api/", &[], "api"),
            ("*", "/api/v3/{id}/stats", &[], "stats"),
            ("*", "/api/v3/fixed", &[], "fixed"),
            ("*", "=/api/exact", &[], "exact"),
            ("*", "=/login", &[Method::GET], "login page"),
            ("*", "/about", &[], "about route"),
            ("*", "/{page}", &[], "any page"),
            ("a.example", "/only", &[Method::GET], "a"),
            ("a.example", "/only", &[Method::POST], "a post"),
            ("*.example", "/", &[], "wild"),
            ("folded.test", "/Admin", &[], "admin"),
        ]);
        let route = Found::Route;
        for (method, host, path, expected, why) in [
            ("GET", "b", "/", route(&"root"), "the root"),
            ("GET", "b", "/apix/y", route(&"root"), "a prefix ends at a segment"),
            ("GET", "b", "/api", route(&"api"), "the prefix itself"),
            ("GET", "b", "/api/", route(&"api"), "with its slash"),
            ("GET", "b", "/api/v3/7/stats", route(&"stats"), "a pattern"),
            ("GET", "b", "/api/v3/7/stats/x", route(&"api"), "a pattern is exact"),
            ("GET", "b", "/api/v3/7", route(&"api"), "not all of the pattern"),
            ("GET", "b", "/api/v3/fixed/stats", route(&"stats"), "longer beats literal"),
            ("GET", "b", "/api/exact", route(&"exact"), "exact"),
            ("GET", "b", "/api/exact/", route(&"api"), "exact has no slash"),
            ("GET", "b", "/%61pi", route(&"api"), "matched decoded"),
            ("GET", "A.Example.", "/only/x", route(&"a"), "host in any case"),
            ("POST", "a.example", "/only", route(&"a post"), "methods of one path"),
            ("GET", "a.example", "/api", Found::NoRoute, "no falling back to another host"),
            ("GET", "c.example", "/api", route(&"wild"), "a wildcard"),
            ("GET", "c.d.example", "/api", route(&"api"), "a wildcard is one label"),
            ("GET", "folded.test", "/aDMIN/x", route(&"admin"), "without regard to case"),
            ("POST", "b", "/login", Found::Login(&"login"), "an endpoint"),
            ("GET", "b", "/login", route(&"login page"), "an exact route beats the 405"),
            ("GET", "b", "/login/", route(&"root"), "endpoints are exact"),
            ("GET", "b", "/page", route(&"any page"), "a pattern of one segment"),
        ] {
            assert_eq!(
                table.find(&target(method, host, path)),
                expected,
                "{method} {host}{path}: {why}"
            );
        }
        let about = Found::LoginOr { login: &"about", route: Some(&"about route") };
        assert_eq!(table.find(&target("GET", "b", "/about")), about);
    }

    #[test]
    fn a_wrong_method_is_told_what_is_taken() {
        let table =
            table(&[("*", "/", &[], "root"), ("*", "/a", &[Method::GET, Method::PUT], "a")]);

        let found = table.find(&target("POST", "b", "/a/b"));
        let allow = vec![Method::GET, Method::PUT];
        assert_eq!(found, Found::WrongMethod { allow, login: None, route: Some(&"a") });

        let found = table.find(&target("DELETE", "b", "/login"));
        let allow = vec![Method::POST];
        assert_eq!(found, Found::WrongMethod { allow, login: Some(&"login"), route: None });
    }

    #[test]
    fn only_an_exact_route_is_beside_a_dialect() {
        let found = table(&[("*", "/{page}", &[], "page")]);
        let found = found.find(&target("DELETE", "b", "/login"));
        let allow = vec![Method::POST];
        assert_eq!(found, Found::WrongMethod { allow, login: Some(&"login"), route: None });

        let table = table(&[("*", "=/login", &[Method::GET], "page")]);
        let found = table.find(&target("DELETE", "b", "/login"));
        let allow = vec![Method::POST, Method::GET];
        assert_eq!(found, Found::WrongMethod { allow, login: Some(&"login"), route: None });
    }

    #[test]
    fn an_odd_spelling_takes_one_route_in_every_reading_or_none() {
        let mut table = table(&[("*", "/", &[], "root"), ("*", "/legacy/admin", &[], "admin")]);
        let hosts = ["*".to_owned()];
        let allowed = Oddities { semicolon: true, double_slash: true, encoded_slash: true };
        for (path, name) in [("/legacy/", "legacy"), ("/old/{x}/deep/", "deep")] {
            let pattern = &Pattern::parse(path).unwrap();
            let place = Placement { hosts: &hosts, pattern, methods: &[], allowed, folded: false };
            table.add_route(&place, &name);
        }

        for (path, expected, why) in [
            ("/legacy/a;x=1", Found::Route(&"legacy"), "a parameter"),
            ("/legacy//a", Found::Route(&"legacy"), "two slashes"),
            ("/legacy/a%2fb", Found::Route(&"legacy"), "an encoded slash"),
            ("/legacy/;x/a", Found::Route(&"legacy"), "parameters alone"),
            ("/legacy/admin;x", Found::Odd, "a servlet reads the other route"),
            ("/legacy//admin", Found::Odd, "merged it is the other route"),
            ("/legacy/;/admin", Found::Odd, "without parameters and merged"),
            ("/legacy%2fx", Found::Odd, "undecoded it is another prefix"),
            ("/legacy;x/a", Found::Odd, "not let through above"),
            ("/old/a%2fdeep/x", Found::Odd, "undecoded it is too short"),
            ("/other;x", Found::Odd, "not let through there"),
            ("//login", Found::Odd, "merged it is an endpoint"),
        ] {
            assert_eq!(table.find(&target("POST", "b", path)), expected, "{path}: {why}");
        }
    }
}
