//! Which route or endpoint a table finds, and which routes it refuses to add.

use http::Request;

use super::*;
use crate::client::RequestBounds;
use crate::routing::RouteLoss;

fn target(method: &str, host: &str, path: &str) -> Target {
    let request =
        Request::builder().method(method).uri(path).header("host", host).body(()).unwrap();
    let limits = RequestBounds {
        uri_bytes: 8192,
        header_count: 100,
        body_idle: std::time::Duration::ZERO,
        body_rate: None,
    };
    Target::parse(&request.into_parts().0, limits).unwrap()
}

fn table(
    routes: &[(&str, &str, &[Method], &'static str)],
) -> RouteTable<&'static str, &'static str> {
    let mut table = RouteTable::new();
    for (host, path, methods, name) in routes {
        let hosts = [(*host).to_owned()];
        let pattern = Pattern::parse(path).unwrap();
        let place = RouteEntry {
            hosts: &hosts,
            pattern: &pattern,
            methods,
            allowed: PathAnomalies::default(),
            case_insensitive: host.starts_with("folded"),
        };
        table.add_route(&place, name).unwrap();
    }
    let hosts = &["*".to_owned()];
    for (path, method, falls_through, name) in
        [("/login", &Method::POST, false, "login"), ("/about", &Method::GET, true, "about")]
    {
        table.add_login(&LoginEntry { hosts, path, method, falls_through }, &name);
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
    let route = RouteMatch::Route;
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
        ("GET", "a.example", "/api", RouteMatch::NoRoute, "no falling back to another host"),
        ("GET", "c.example", "/api", route(&"wild"), "a wildcard"),
        ("GET", "c.d.example", "/api", route(&"api"), "a wildcard is one label"),
        ("GET", "folded.test", "/aDMIN/x", route(&"admin"), "without regard to case"),
        ("POST", "b", "/login", RouteMatch::Login(&"login"), "an endpoint"),
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
    let about = RouteMatch::LoginOrRoute { login: &"about", route: Some(&"about route") };
    assert_eq!(table.find(&target("GET", "b", "/about")), about);
}

#[test]
fn two_routes_that_take_the_same_requests_make_no_table() {
    let route = |path, methods, folded| (Pattern::parse(path).unwrap(), methods, folded);
    let get = &[Method::GET][..];
    let post = &[Method::POST, Method::PUT][..];
    for (first, second, good, why) in [
        (route("/Files/", &[][..], true), route("/files/", &[], true), false, "one, folded"),
        (route("/Files/", &[], true), route("/files/", &[], false), false, "one folds"),
        (route("/files/", &[], false), route("/FILES", &[], true), false, "or the other"),
        (route("/Files/", &[], false), route("/files/", &[], false), true, "case counts"),
        (route("/files/", &[], false), route("/files", &[], false), false, "the same prefix"),
        (route("/{a}/x", &[], false), route("/{b}/x", &[], false), false, "any segment"),
        (route("/files", get, true), route("/FILES", post, true), true, "other methods"),
        (route("/files", get, true), route("/FILES", get, true), false, "a shared method"),
        (route("/files", &[], true), route("/FILES", post, true), false, "every method"),
        (route("/files", &[], false), route("=/files", &[], false), true, "exact beside prefix"),
        (route("/\u{3c3}", &[], true), route("/\u{3c2}", &[], true), false, "one capital sigma"),
    ] {
        let mut table = RouteTable::<(), ()>::new();
        let mut add = |(pattern, methods, folded): &(Pattern, &[Method], bool)| {
            let hosts = &["*".to_owned()];
            let allowed = PathAnomalies::default();
            let folded = *folded;
            table.add_route(
                &RouteEntry { hosts, pattern, methods, allowed, case_insensitive: folded },
                &(),
            )
        };
        add(&first).unwrap();
        assert_eq!(add(&second).is_ok(), good, "{why}: {first:?}, {second:?}");
    }
}

#[test]
fn letters_that_a_server_may_fold_to_ascii_are_refused_where_case_does_not_count() {
    let routes = [("folded.test", "/users/", &[][..], "users"), ("plain.test", "/", &[], "all")];
    let mut table = table(&routes);
    let hosts = &["folded.test".to_owned()];
    let pattern = &Pattern::parse("/").unwrap();
    let allowed = PathAnomalies::default();
    let open = RouteEntry { hosts, pattern, methods: &[], allowed, case_insensitive: true };
    table.add_route(&open, &"open").unwrap();
    for (path, expected) in [
        ("/USERS/1", RouteMatch::Route(&"users")),
        ("/u%C5%BFers/1", RouteMatch::AmbiguousPath),
        ("/%C4%B1d", RouteMatch::AmbiguousPath),
        ("/%C4%B0d", RouteMatch::AmbiguousPath),
        ("/%E2%84%AA", RouteMatch::AmbiguousPath),
        ("/caf%C3%A9", RouteMatch::Route(&"open")),
    ] {
        assert_eq!(table.find(&target("GET", "folded.test", path)), expected, "{path}");
    }
    let plain = table.find(&target("GET", "plain.test", "/u%C5%BFers/1"));
    assert_eq!(plain, RouteMatch::Route(&"all"), "where case counts they are letters");
}

#[test]
fn a_wrong_method_is_told_what_is_taken() {
    let table = table(&[("*", "/", &[], "root"), ("*", "/a", &[Method::GET, Method::PUT], "a")]);

    let found = table.find(&target("POST", "b", "/a/b"));
    let allow = vec![Method::GET, Method::PUT];
    assert_eq!(found, RouteMatch::WrongMethod { allow, login: None, route: Some(&"a") });

    let found = table.find(&target("DELETE", "b", "/login"));
    let allow = vec![Method::POST];
    assert_eq!(found, RouteMatch::WrongMethod { allow, login: Some(&"login"), route: None });
}

#[test]
fn only_an_exact_route_is_beside_a_dialect() {
    let found = table(&[("*", "/{page}", &[], "page")]);
    let found = found.find(&target("DELETE", "b", "/login"));
    let allow = vec![Method::POST];
    assert_eq!(found, RouteMatch::WrongMethod { allow, login: Some(&"login"), route: None });

    let table = table(&[("*", "=/login", &[Method::GET], "page")]);
    let found = table.find(&target("DELETE", "b", "/login"));
    let allow = vec![Method::POST, Method::GET];
    assert_eq!(found, RouteMatch::WrongMethod { allow, login: Some(&"login"), route: None });
}

#[test]
fn an_odd_spelling_takes_one_route_in_every_reading_or_none() {
    let mut table = table(&[("*", "/", &[], "root"), ("*", "/legacy/admin", &[], "admin")]);
    let hosts = ["*".to_owned()];
    let allowed = PathAnomalies {
        semicolon: true,
        double_slash: true,
        encoded_slash: true,
        ..PathAnomalies::default()
    };
    for (path, name) in [("/legacy/", "legacy"), ("/old/{x}/deep/", "deep")] {
        let pattern = &Pattern::parse(path).unwrap();
        let place =
            RouteEntry { hosts: &hosts, pattern, methods: &[], allowed, case_insensitive: false };
        table.add_route(&place, &name).unwrap();
    }

    for (path, expected, why) in [
        ("/legacy/a;x=1", RouteMatch::Route(&"legacy"), "a parameter"),
        ("/legacy//a", RouteMatch::Route(&"legacy"), "two slashes"),
        ("/legacy/a%2fb", RouteMatch::Route(&"legacy"), "an encoded slash"),
        ("/legacy/;x/a", RouteMatch::Route(&"legacy"), "parameters alone"),
        ("/legacy/admin;x", RouteMatch::AmbiguousPath, "a servlet reads the other route"),
        ("/legacy//admin", RouteMatch::AmbiguousPath, "merged it is the other route"),
        ("/legacy/;/admin", RouteMatch::AmbiguousPath, "without parameters and merged"),
        ("/legacy%2fx", RouteMatch::AmbiguousPath, "undecoded it is another prefix"),
        ("/legacy;x/a", RouteMatch::AmbiguousPath, "not let through above"),
        ("/old/a%2fdeep/x", RouteMatch::AmbiguousPath, "undecoded it is too short"),
        ("/other;x", RouteMatch::AmbiguousPath, "not let through there"),
        ("//login", RouteMatch::AmbiguousPath, "merged it is an endpoint"),
    ] {
        assert_eq!(table.find(&target("POST", "b", path)), expected, "{path}: {why}");
    }
}

#[test]
fn what_is_encoded_twice_or_folds_takes_one_route_in_every_reading_or_none() {
    let strict = [("*", "/", &[][..], "root"), ("*", "/legacy/admin", &[], "admin")];
    let mut table = table(&strict);
    let hosts = ["*".to_owned()];
    let allowed = PathAnomalies { percent: true, unicode: true, ..PathAnomalies::default() };
    let pattern = &Pattern::parse("/legacy/").unwrap();
    let place =
        RouteEntry { hosts: &hosts, pattern, methods: &[], allowed, case_insensitive: false };
    table.add_route(&place, &"legacy").unwrap();

    for (path, expected, why) in [
        ("/legacy/%2541", RouteMatch::Route(&"legacy"), "a letter encoded twice"),
        ("/legacy/100%25", RouteMatch::Route(&"legacy"), "no escape"),
        ("/legacy/a%3fb", RouteMatch::Route(&"legacy"), "a question mark"),
        ("/legacy/a%23b", RouteMatch::Route(&"legacy"), "a hash"),
        ("/legacy/a%ef%bc%8fb", RouteMatch::Route(&"legacy"), "a full-width slash"),
        ("/legacy/caf%c3%a9", RouteMatch::Route(&"legacy"), "a letter like others"),
        ("/legacy/%2561dmin", RouteMatch::AmbiguousPath, "decoded again it is the other route"),
        ("/legacy/%252561dmin", RouteMatch::AmbiguousPath, "decoded twice more"),
        ("/legacy/%25252525252541", RouteMatch::AmbiguousPath, "deeper than is looked"),
        ("/legacy/admin%3fx", RouteMatch::AmbiguousPath, "cut off it is the other route"),
        ("/legacy/admin%23x", RouteMatch::AmbiguousPath, "this too"),
        ("/legacy/admin%253fx", RouteMatch::AmbiguousPath, "cut off when decoded again"),
        ("/legacy/x/%25252e%25252e/admin", RouteMatch::AmbiguousPath, "dots when decoded again"),
        ("/legacy%ef%bc%8fadmin", RouteMatch::AmbiguousPath, "not below what lets it through"),
        ("/legacy/admin%ef%bc%8fx", RouteMatch::AmbiguousPath, "folded it is the other route"),
        ("/legacy/%ef%bd%81dmin", RouteMatch::Route(&"legacy"), "letters alone are the upstream's"),
        ("/legacy/%e2%80%a5/admin", RouteMatch::AmbiguousPath, "folded it is two dots"),
        ("/legacy/%ef%bc%8e%ef%bc%8e/admin", RouteMatch::AmbiguousPath, "full-width dots"),
        ("/x%2541", RouteMatch::AmbiguousPath, "not let through there"),
        ("/x%3f", RouteMatch::AmbiguousPath, "nor this"),
        ("/x%ef%bc%8e", RouteMatch::AmbiguousPath, "nor this"),
        ("/x%25", RouteMatch::Route(&"root"), "a percent sign alone"),
        ("/x%c3%a9", RouteMatch::Route(&"root"), "a letter"),
    ] {
        assert_eq!(table.find(&target("GET", "b", path)), expected, "{path}: {why}");
    }
}

#[test]
fn a_route_loses_for_a_reason_exactly_if_it_does_not_take_the_request() {
    type Place = (&'static str, &'static str, &'static [Method], &'static str);
    let routes: [Place; 8] = [
        ("*", "/", &[], "root"),
        ("*", "/api/", &[], "api"),
        ("*", "/api/{id}/x", &[Method::GET], "pattern"),
        ("*", "=/login", &[Method::GET], "login page"),
        ("*", "/about", &[], "about"),
        ("a.example", "/only", &[Method::POST], "a"),
        ("*.example", "/", &[], "wild"),
        ("folded.test", "/Admin", &[], "admin"),
    ];
    let table = table(&routes);
    let loss = |(host, path, methods, name): &Place, target: &Target| {
        let hosts = [(*host).to_owned()];
        let pattern = Pattern::parse(path).unwrap();
        let place = RouteEntry {
            hosts: &hosts,
            pattern: &pattern,
            methods,
            allowed: PathAnomalies::default(),
            case_insensitive: host.starts_with("folded"),
        };
        table.loss(target, &place, |value| value == name)
    };

    for host in ["x.test", "a.example", "b.example", "folded.test"] {
        for path in ["/", "/api", "/api/7/x", "/api;x", "/login", "/about", "/only", "/aDMIN/x"] {
            for method in ["GET", "POST"] {
                let target = target(method, host, path);
                let takes = match table.find(&target) {
                    RouteMatch::Route(name)
                    | RouteMatch::LoginOrRoute { route: Some(name), .. } => Some(name),
                    _ => None,
                };
                for route in &routes {
                    let taken = takes == Some(&route.3);
                    let loss = loss(route, &target);
                    assert_eq!(loss.is_none(), taken, "{method} {host}{path}: {route:?} {loss:?}");
                }
            }
        }
    }
    for (route, method, host, path, expected) in [
        (0, "GET", "x.test", "/api", RouteLoss::ShorterPath),
        (0, "GET", "a.example", "/only", RouteLoss::OuterHost),
        (5, "GET", "a.example", "/only", RouteLoss::Method),
        (5, "POST", "x.test", "/only", RouteLoss::Host),
        (2, "GET", "x.test", "/api", RouteLoss::Path),
        (0, "POST", "x.test", "/login", RouteLoss::ShorterPath),
        (3, "POST", "x.test", "/login", RouteLoss::Method),
        (1, "GET", "x.test", "/api;x", RouteLoss::Path),
        (0, "GET", "x.test", "/;x", RouteLoss::Spelling),
    ] {
        let target = target(method, host, path);
        assert_eq!(loss(&routes[route], &target), Some(expected), "{method} {host}{path}");
    }
}
