//! Which endpoint or route takes a request: by host, then path, then method.
//!
//! A request is looked up once on each side. The most specific host that has routes decides, then
//! the longest pattern, then its methods; there is no falling back to a shorter path or to `*`,
//! because a route that protects a path must not be escaped by asking differently. Login
//! endpoints go before routes, and an exact route wins over a dialect's 405 (DECISIONS 20).

use std::collections::HashMap;

use http::Method;

use super::pattern::{Pattern, Segment};
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
    /// The path is spelled in a way that its route does not let through.
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

/// The paths of one host; those matched without regard to case are apart, lower-cased.
#[derive(Debug)]
struct Paths<T> {
    plain: Node<T>,
    folded: Node<T>,
}

#[derive(Debug)]
struct Node<T> {
    literal: HashMap<Box<str>, Self>,
    any: Option<Box<Self>>,
    /// This path and everything below.
    prefix: Vec<Entry<T>>,
    /// Exactly this path, without and with a slash at its end.
    exact: [Vec<Entry<T>>; 2],
}

#[derive(Debug)]
struct Entry<T> {
    /// Empty: all.
    methods: Vec<Method>,
    allowed: Oddities,
    /// A login endpoint that takes only what is not authenticated.
    falls_through: bool,
    value: T,
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

impl<L: Clone, R: Clone> RouteTable<L, R> {
    /// An empty table.
    pub fn new() -> Self {
        Self { logins: Hosts::default(), routes: Hosts::default() }
    }

    /// Adds a login endpoint at an exact path.
    pub fn add_login(
        &mut self,
        hosts: &[String],
        path: &str,
        method: &Method,
        falls_through: bool,
        login: L,
    ) {
        for host in hosts {
            let node = self.logins.host(host).plain.at(&literals(path));
            let slash = usize::from(path.len() > 1 && path.ends_with('/'));
            let entry = Entry {
                methods: vec![method.clone()],
                allowed: Oddities::default(),
                falls_through,
                value: login.clone(),
            };
            if let Some(entries) = node.exact.get_mut(slash) {
                entries.push(entry);
            }
        }
    }

    /// Adds a route.
    pub fn add_route(&mut self, place: &Placement<'_>, route: &R) {
        for host in place.hosts {
            let paths = self.routes.host(host);
            let node = if place.folded {
                paths.folded.at(&fold(&place.pattern.segments))
            } else {
                paths.plain.at(&place.pattern.segments)
            };
            let entry = Entry {
                methods: place.methods.to_vec(),
                allowed: place.allowed,
                falls_through: false,
                value: route.clone(),
            };
            if place.pattern.prefix {
                node.prefix.push(entry);
            } else {
                let [plain, slashed] = &mut node.exact;
                if place.pattern.slash { slashed.push(entry) } else { plain.push(entry) }
            }
        }
    }

    /// What takes `target`.
    pub fn find(&self, target: &Target) -> Found<'_, L, R> {
        let host = target.host().unwrap_or_default();
        let login = self.find_login(host, target);
        if let Some(entry) = login.and_then(|entries| of_method(entries, target.method())) {
            if !entry.falls_through {
                return Found::Login(&entry.value);
            }
            let route = match self.find_route(host, target) {
                Found::Route(route) => Some(route),
                _ => None,
            };
            return Found::LoginOr { login: &entry.value, route };
        }
        let route = self.routes.paths(host).find(target.path());
        match login {
            // An exact route of that method wins over the dialect's 405.
            Some(_) if route.as_ref().is_some_and(|found| found.takes(target.method())) => {
                self.find_route(host, target)
            }
            Some(entries) => Found::WrongMethod {
                allow: methods(entries),
                login: entries.first().map(|entry| &entry.value),
                route: None,
            },
            None => self.find_route(host, target),
        }
    }

    /// A login with `*` among its hosts is served on every host; one of the very host goes first.
    fn find_login(&self, host: &str, target: &Target) -> Option<&[Entry<L>]> {
        if target.oddities().any() {
            return None;
        }
        let exact = self.logins.exact.get(host);
        let wildcard = parent(host).and_then(|parent| self.logins.wildcard.get(parent));
        [exact, wildcard, Some(&self.logins.any)]
            .into_iter()
            .flatten()
            .find_map(|paths| paths.find(target.path()))
            .map(|found| found.entries)
    }

    fn find_route(&self, host: &str, target: &Target) -> Found<'_, L, R> {
        let Some(found) = self.routes.paths(host).find(target.path()) else {
            return if target.oddities().any() { Found::Odd } else { Found::NoRoute };
        };
        match of_method(found.entries, target.method()) {
            Some(entry) if target.oddities().within(entry.allowed) => Found::Route(&entry.value),
            Some(_) => Found::Odd,
            None => Found::WrongMethod {
                allow: methods(found.entries),
                login: None,
                route: found.entries.first().map(|entry| &entry.value),
            },
        }
    }
}

impl<L: Clone, R: Clone> Default for RouteTable<L, R> {
    fn default() -> Self {
        Self::new()
    }
}

fn of_method<'t, T>(entries: &'t [Entry<T>], method: &Method) -> Option<&'t Entry<T>> {
    entries.iter().find(|entry| entry.methods.is_empty() || entry.methods.contains(method))
}

fn methods<T>(entries: &[Entry<T>]) -> Vec<Method> {
    let mut methods: Vec<Method> =
        entries.iter().flat_map(|entry| entry.methods.iter().cloned()).collect();
    methods.dedup();
    methods
}

fn parent(host: &str) -> Option<&str> {
    host.split_once('.').map(|(_, parent)| parent)
}

fn literals(path: &str) -> Vec<Segment> {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.map(|segment| Segment::Literal(segment.into())).collect()
}

fn fold(segments: &[Segment]) -> Vec<Segment> {
    let fold = |segment: &Segment| match segment {
        Segment::Literal(text) => Segment::Literal(text.to_lowercase().into()),
        Segment::Any => Segment::Any,
    };
    segments.iter().map(fold).collect()
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

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self { plain: Node::default(), folded: Node::default() }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            literal: HashMap::new(),
            any: None,
            prefix: Vec::new(),
            exact: [Vec::new(), Vec::new()],
        }
    }
}

/// The entries of the longest pattern that matches.
#[derive(Debug)]
struct Best<'t, T> {
    entries: &'t [Entry<T>],
    /// Segments matched; an exact match is longer than a prefix of as many.
    length: usize,
    exact: bool,
}

impl<T> Best<'_, T> {
    /// True for an exact path that takes this method.
    fn takes(&self, method: &Method) -> bool {
        self.exact && of_method(self.entries, method).is_some()
    }

    fn rank(&self) -> (usize, bool) {
        (self.length, self.exact)
    }
}

impl<T> Paths<T> {
    fn find(&self, path: &str) -> Option<Best<'_, T>> {
        let plain = self.plain.find(path);
        if self.folded.is_empty() {
            return plain;
        }
        let folded = self.folded.find(&path.to_lowercase());
        match (plain, folded) {
            (Some(plain), Some(folded)) if folded.rank() > plain.rank() => Some(folded),
            (plain, folded) => plain.or(folded),
        }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.literal.is_empty()
            && self.any.is_none()
            && self.prefix.is_empty()
            && self.exact.iter().all(Vec::is_empty)
    }

    fn at(&mut self, segments: &[Segment]) -> &mut Self {
        segments.iter().fold(self, |node, segment| match segment {
            Segment::Literal(text) => node.literal.entry(text.clone()).or_default(),
            Segment::Any => node.any.get_or_insert_default(),
        })
    }

    fn find(&self, path: &str) -> Option<Best<'_, T>> {
        self.walk(path.strip_prefix('/')?, 0)
    }

    /// `rest` is what follows the slash after this node's segment.
    fn walk(&self, rest: &str, length: usize) -> Option<Best<'_, T>> {
        let (segment, after) = match rest.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (rest, None),
        };
        let best = if segment.is_empty() && after.is_none() {
            None
        } else {
            let literal = self.literal.get(segment);
            let any = self.any.as_deref().filter(|_| !segment.is_empty());
            let found = [literal, any].into_iter().flatten();
            // The literal one goes first, and stays where both are equally long.
            found
                .filter_map(|node| node.enter(after, length + 1))
                .reduce(|first, second| if second.rank() > first.rank() { second } else { first })
        };
        best.or_else(|| self.here(rest.is_empty() && length == 0, length))
    }

    /// This node's segment was matched; `after` is what follows the next slash, if there is one.
    fn enter(&self, after: Option<&str>, length: usize) -> Option<Best<'_, T>> {
        let [plain, slashed] = &self.exact;
        let exact = match after {
            None => plain,
            Some("") => slashed,
            Some(after) => return self.walk(after, length),
        };
        if exact.is_empty() {
            return self.here(false, length);
        }
        Some(Best { entries: exact, length, exact: true })
    }

    /// What this node itself takes: the path that ends at the root, or everything below.
    fn here(&self, root: bool, length: usize) -> Option<Best<'_, T>> {
        let [plain, _] = &self.exact;
        if root && !plain.is_empty() {
            return Some(Best { entries: plain, length, exact: true });
        }
        (!self.prefix.is_empty()).then_some(Best { entries: &self.prefix, length, exact: false })
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
        table.add_login(&["*".into()], "/login", &Method::POST, false, "login");
        table.add_login(&["*".into()], "/about", &Method::GET, true, "about");
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
            ("a.example", "/only", &[Method::GET], "a"),
            ("a.example", "/only", &[Method::POST], "a post"),
            ("*.example", "/", &[], "wild"),
            ("folded.test", "/Admin", &[], "admin"),
        ]);
        let route = Found::Route;
        for (method, host, path, expected, why) in [
            ("GET", "b", "/", route(&"root"), "the root"),
            ("GET", "b", "/apix", route(&"root"), "a prefix ends at a segment"),
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
    fn an_odd_spelling_is_refused_where_its_route_does_not_let_it_through() {
        let mut table = table(&[("*", "/", &[], "root")]);
        let hosts = ["*".to_owned()];
        let place = Placement {
            hosts: &hosts,
            pattern: &Pattern::parse("/legacy/").unwrap(),
            methods: &[],
            allowed: Oddities { semicolon: true, ..Oddities::default() },
            folded: false,
        };
        table.add_route(&place, &"legacy");

        assert_eq!(table.find(&target("GET", "b", "/legacy/a;x=1")), Found::Route(&"legacy"));
        assert_eq!(table.find(&target("GET", "b", "/legacy//a")), Found::Odd);
        assert_eq!(table.find(&target("GET", "b", "/other;x")), Found::Odd);
        assert_eq!(table.find(&target("POST", "b", "//login")), Found::Odd);
    }
}
