//! One reading of a request: the strings that other gateways were bypassed with, and what holds
//! for every path there is.

use std::time::Duration;

use http::{Method, Request, Version, request};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use proptest::prelude::*;
use tollhouse::client::RequestBounds;
use tollhouse::dialect::Reason;
use tollhouse::routing::{PathAnomalies, Pattern, RouteEntry, RouteMatch, RouteTable, Target};

const BOUNDS: RequestBounds = RequestBounds {
    uri_bytes: 8192,
    header_count: 100,
    body_idle: Duration::ZERO,
    body_rate: None,
};

/// A request line and fields, as hyper hands them over.
fn head(line: &str, fields: &[(&str, &str)]) -> request::Parts {
    let (method, rest) = line.split_once(' ').unwrap();
    let (target, version) = rest.rsplit_once(' ').unwrap();
    let version = match version {
        "1.0" => Version::HTTP_10,
        "1.1" => Version::HTTP_11,
        _ => Version::HTTP_2,
    };
    let mut request = Request::builder().method(method).uri(target).version(version);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn parse(line: &str, fields: &[(&str, &str)]) -> Result<Target, Reason> {
    Target::parse(&head(line, fields), BOUNDS).map_err(|error| error.reason)
}

/// A GET for `path` on `host`; `None` where it is refused, by the `http` crate's own URI too.
fn get(path: &str) -> Option<Target> {
    let request = Request::builder().uri(path).header("host", "a.example").body(()).ok()?;
    Target::parse(&request.into_parts().0, BOUNDS).ok()
}

type Table = RouteTable<&'static str, usize>;

fn add(table: &mut Table, pattern: &str, allowed: PathAnomalies, number: usize) {
    let hosts = ["a.example".to_owned()];
    let place = RouteEntry {
        hosts: &hosts,
        pattern: &Pattern::parse(pattern).unwrap(),
        methods: &[],
        allowed,
        case_insensitive: false,
    };
    // The patterns of a property may be the same path twice: the first keeps it.
    let _ = table.add_route(&place, &number);
}

fn table(patterns: &[String]) -> Table {
    let mut table = RouteTable::new();
    for (number, pattern) in patterns.iter().enumerate() {
        add(&mut table, pattern, PathAnomalies::default(), number);
    }
    table
}

const NOTHING_ODD: fn() -> PathAnomalies = PathAnomalies::default;

#[test]
fn no_spelling_that_bypassed_another_gateway_reaches_the_open_route() {
    let mut table = Table::new();
    add(&mut table, "/public/", NOTHING_ODD(), 1);
    add(&mut table, "/admin/", NOTHING_ODD(), 2);
    for (path, why) in [
        ("/public/../admin", "CVE-2026-33494: cleaned after the match"),
        ("/public/..", "a dot segment at the end"),
        ("/public/./admin", "a single dot"),
        ("/public/%2e%2e/admin", "CVE-2026-42274: matched raw, read decoded"),
        ("/public/%2E%2E/admin", "the same in capitals"),
        ("/public/.%2e/admin", "half of it encoded"),
        ("/public/%252e%252e/admin", "encoded twice"),
        ("/public%2f..%2fadmin", "CVE-2026-42272: encoded slashes"),
        ("/public%2F..%2Fadmin", "CVE-2026-42272: in capitals"),
        ("/public%252fadmin", "an encoded slash, twice"),
        ("/public/%5c../admin", "CVE-2021-29492: an encoded backslash"),
        ("/public\\..\\admin", "raw backslashes"),
        ("/public/..%5cadmin", "dots and a backslash"),
        ("/public/..;/admin", "a servlet's parameters"),
        ("/public/..;x=1/admin", "with a value"),
        ("/public/.%2e;/admin", "with half of it encoded"),
        ("/public;/../admin", "parameters before it"),
        ("/public/%3b/admin", "an encoded semicolon"),
        ("/public/%253b/admin", "encoded twice"),
        ("/public/%00/../admin", "NUL"),
        ("/public/a%2500", "NUL encoded twice"),
        ("/public/%0d%0aX:%20y", "a line end"),
        ("/public/%7f", "DEL"),
        ("/public/%c0%ae%c0%ae/admin", "overlong dots"),
        ("/public/%c0%afadmin", "an overlong slash"),
        ("/public/%ff", "no UTF-8"),
        ("/public/%", "a percent sign alone"),
        ("/public/%2", "half an escape"),
        ("/public/%u002e/admin", "an escape of another kind"),
        ("//public/admin", "CVE-2026-26205: read as an authority"),
        ("//a.example/public", "the same with our host"),
        ("/public//admin", "an empty segment"),
        ("/public../admin", "CVE-2026-48020: no segment of its own"),
        ("/publicadmin", "a prefix ends at a segment"),
        ("/Public/x", "another case is another path"),
        ("/private?path=/public/", "CVE-2025-54576: the query is no path"),
        ("/x%3F/public/", "CVE-2026-32811: an encoded question mark is text"),
        ("/x%23/public/", "CVE-2026-41059: an encoded fragment is text"),
    ] {
        let open = get(path).is_some_and(|target| table.find(&target) == RouteMatch::Route(&1));
        assert!(!open, "{path}: {why}");
    }
    for (path, why) in [
        ("/admin#/public/", "CVE-2023-47106: the fragment does not count"),
        ("/admin/x?/../public/", "nor does what is in the query"),
        ("/%61dmin", "an escape that was not needed"),
        ("/admin/%41", "below it"),
    ] {
        let target = get(path).unwrap();
        assert_eq!(table.find(&target), RouteMatch::Route(&2), "{path}: {why}");
    }
}

#[test]
fn a_host_is_read_in_one_way_or_refused() {
    let host = |host| [("host", host)];
    for (line, fields, expected, why) in [
        ("GET / 1.1", &host("A.Example")[..], Ok(Some("a.example")), "CVE-2026-42273: case"),
        ("GET / 1.1", &host("a.example.:443"), Ok(Some("a.example")), "a dot and a port"),
        ("GET / 1.1", &host("[::1]:8443"), Ok(Some("[::1]")), "IPv6"),
        ("GET / 1.1", &host("xn--bcher-kva.example"), Ok(Some("xn--bcher-kva.example")), "IDNA"),
        ("GET / 1.1", &[], Err(400), "no Host"),
        ("GET / 1.1", &host(""), Err(400), "an empty Host"),
        ("GET / 1.1", &[("host", "a"), ("host", "a")], Err(400), "two Hosts, though equal"),
        ("GET / 1.1", &host("a,b"), Err(400), "a list"),
        ("GET / 1.1", &host("a/b"), Err(400), "a path in it"),
        ("GET / 1.1", &host("u@a"), Err(400), "user information"),
        ("GET / 1.1", &host("a:b"), Err(400), "a port that is no number"),
        ("GET / 1.1", &host("a:-1"), Err(400), "a signed port"),
        ("GET / 1.1", &host("a:65536"), Err(400), "a port too high"),
        ("GET / 1.1", &host("a%2eb"), Err(400), "an escape"),
        ("GET / 1.1", &host("[::1"), Err(400), "an open bracket"),
        ("GET / 1.1", &host("[::1]x"), Err(400), "letters after the bracket"),
        ("GET / 1.1", &host(".a"), Err(400), "an empty label"),
        ("GET / 1.1", &host("*"), Err(400), "a star"),
        ("GET http://a/ 1.1", &host("A."), Ok(Some("a")), "the absolute form agrees"),
        ("GET http://a/ 1.1", &host("b"), Err(400), "the absolute form differs"),
        ("GET http://a:80/ 1.1", &host("a:81"), Err(400), "its port differs"),
        ("GET http://u@a/ 1.1", &host("a"), Err(400), "user information in it"),
        ("GET http://a/ 1.1", &[], Err(400), "the absolute form without Host"),
        ("GET ftp://a/ 1.1", &host("a"), Err(400), "another scheme"),
        ("GET a:443 1.1", &host("a:443"), Err(400), "the form of CONNECT"),
        ("GET https://a/ 2", &[], Ok(Some("a")), ":authority alone"),
        ("GET https://a/ 2", &host("a"), Ok(Some("a")), ":authority and Host agree"),
        ("GET https://a/ 2", &host("b"), Err(400), ":authority and Host differ"),
        ("GET / 2", &[], Err(400), "neither :authority nor Host"),
        ("GET / 1.0", &[], Ok(None), "HTTP/1.0 may leave it out"),
        ("GET / 1.0", &host("a"), Ok(Some("a")), "or name it"),
    ] {
        let found = parse(line, fields);
        let found = match &found {
            Ok(target) => Ok(target.host()),
            Err(reason) => Err(reason.status().as_u16()),
        };
        assert_eq!(found, expected, "{line}, {fields:?}: {why}");
    }
}

#[test]
fn fields_that_decide_where_a_request_ends_are_read_in_one_way_or_refused() {
    let (cl, te, expect) = ("content-length", "transfer-encoding", "expect");
    for (line, fields, status, why) in [
        ("POST / 1.1", &[(cl, "5")][..], 200, "a length"),
        ("POST / 1.1", &[(cl, "5"), (cl, "5")], 400, "two, though equal"),
        ("POST / 1.1", &[(cl, "5"), (cl, "6")], 400, "two that differ"),
        ("POST / 1.1", &[(cl, "5,6")], 400, "a list"),
        ("POST / 1.1", &[(cl, "+5")], 400, "a sign"),
        ("POST / 1.1", &[(cl, "0x5")], 400, "another base"),
        ("POST / 1.1", &[(cl, "")], 400, "empty"),
        ("POST / 1.1", &[(cl, "18446744073709551616")], 400, "more than can be counted"),
        ("POST / 1.1", &[(te, "Chunked")], 200, "chunked in any case"),
        ("POST / 1.1", &[(te, "chunked"), (cl, "5")], 400, "both"),
        ("POST / 1.1", &[(te, "gzip, chunked")], 501, "a coding we would lose"),
        ("POST / 1.1", &[(te, "chunked, chunked")], 501, "chunked twice"),
        ("POST / 1.1", &[(te, "chunked"), (te, "chunked")], 501, "in two lines"),
        ("POST / 1.1", &[(te, "xchunked")], 501, "almost"),
        ("POST / 1.0", &[(te, "chunked")], 400, "in HTTP/1.0"),
        ("POST / 2", &[(te, "chunked")], 400, "in HTTP/2"),
        ("POST / 1.1", &[(expect, "100-Continue")], 200, "the one expectation"),
        ("POST / 1.1", &[(expect, "tea")], 417, "another"),
        ("POST / 1.1", &[(expect, "100-continue"), (expect, "tea")], 417, "another beside it"),
        ("GET / 1.1", &[("authorization", "a"), ("authorization", "a")], 400, "Authorization"),
        ("GET / 1.1", &[("x-access-token", "a"), ("X-Access-Token", "b")], 400, "the token"),
        ("GET / 1.1", &[("x-key", "a"), ("x-key", "b")], 400, "its key"),
        ("CONNECT a:1 1.1", &[], 405, "CONNECT"),
        ("trace / 1.1", &[], 405, "TRACE to a server that does not mind case"),
        ("connect / 1.1", &[], 405, "CONNECT likewise"),
        ("get / 1.1", &[], 405, "any standard method"),
        ("Delete / 1.1", &[], 405, "however it is spelled"),
        ("purge / 1.1", &[], 200, "another's own method"),
        ("TRACE / 1.1", &[], 405, "TRACE"),
        ("OPTIONS * 1.1", &[], 200, "the server as a whole"),
        ("GET * 1.1", &[], 400, "only with OPTIONS"),
    ] {
        let fields: Vec<_> = fields.iter().copied().chain([("host", "a")]).collect();
        let found = parse(line, &fields).map_or_else(|reason| reason.status().as_u16(), |_| 200);
        assert_eq!(found, status, "{line}, {fields:?}: {why}");
    }
    let twice = [("host", "a"), ("x-key", "a"), ("x-key", "b")];
    assert_eq!(parse("GET / 1.1", &twice).unwrap_err(), Reason::AmbiguousCredential);
}

#[test]
fn the_query_and_an_empty_path_are_forwarded_as_they_came() {
    for (line, forwarded) in [
        ("GET /a?x=%2e%2e/&y=%00;// 1.1", "/a?x=%2e%2e/&y=%00;//"),
        ("GET /a? 1.1", "/a?"),
        ("GET http://a?x=1 1.1", "/?x=1"),
        ("GET http://a 1.1", "/"),
        ("GET /%61?a#b 1.1", "/%61?a"),
    ] {
        let target = parse(line, &[("host", "a")]).unwrap();
        assert_eq!(target.raw().as_str(), forwarded, "{line}");
    }
    let target = parse("GET /api/a?x=%2f 1.1", &[("host", "a")]).unwrap();
    let rest = target.replace_prefix("/api", "", Some("x=%2f"), NOTHING_ODD()).unwrap();
    assert_eq!(rest.as_str(), "/a?x=%2f");
}

#[test]
fn a_head_beyond_its_bounds_is_refused() {
    let bounds = RequestBounds { uri_bytes: 10, header_count: 2, ..BOUNDS };
    let reason = |line, fields: &[_]| {
        Target::parse(&head(line, fields), bounds).map(|_| ()).map_err(|error| error.reason)
    };

    assert_eq!(reason("GET /456789ab 1.1", &[("host", "a")]), Ok(()));
    assert_eq!(reason("GET /456?89abcd 1.1", &[("host", "a")]), Err(Reason::UriTooLong));
    let three = [("host", "a"), ("x", "1"), ("x", "2")];
    assert_eq!(reason("GET / 1.1", &three), Err(Reason::HeadersTooLarge));
}

/// Paths made of what path handling goes wrong with.
fn raw_path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", "/", "/", ".", "..", "a", "b", "api", "%61", "%2f", "%2F", "%2e", "%5c", "\\", ";",
        "%3b", "%", "%25", "%252e", "%252f", "%00", "%0a", "%c3%a9", "%c0%af", "%ff", "2e", "é",
        ":", "@", "~", "{", "}", "*",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn pattern() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "{x}"]);
    let segments = prop::collection::vec(segment, 0..4);
    (segments, any::<bool>(), any::<bool>()).prop_map(|(segments, exact, slash)| {
        let exact = exact && !segments.contains(&"{x}");
        let path = format!("/{}", segments.join("/"));
        let slash = if slash && !segments.is_empty() { "/" } else { "" };
        format!("{}{path}{slash}", if exact { "=" } else { "" })
    })
}

/// Segments matched, how many of them literally, whether exactly, and which literally.
type Rank = (usize, usize, bool, Vec<bool>);

/// How well `pattern` matches, told as plainly as the documentation tells it.
fn rank(pattern: &str, path: &str) -> Option<Rank> {
    if let Some(exact) = pattern.strip_prefix('=') {
        let length = exact.split('/').filter(|segment| !segment.is_empty()).count();
        return (exact == path).then(|| (length, length, true, vec![true; length]));
    }
    let wanted: Vec<&str> = pattern.split('/').filter(|segment| !segment.is_empty()).collect();
    let mut given = path.split('/').skip(1);
    for segment in &wanted {
        let given = given.next()?;
        let fits = if *segment == "{x}" { !given.is_empty() } else { given == *segment };
        if !fits {
            return None;
        }
    }
    let whole = given.next().is_none();
    let exact = wanted.contains(&"{x}") && !pattern.ends_with('/');
    let literal: Vec<bool> = wanted.iter().map(|segment| *segment != "{x}").collect();
    let literals = literal.iter().filter(|literal| **literal).count();
    (whole || !exact).then_some((wanted.len(), literals, exact, literal))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

    #[test]
    fn the_path_a_rule_was_chosen_by_is_the_path_that_is_forwarded(raw in raw_path()) {
        let Some(target) = get(&raw) else { return Ok(()) };

        let forwarded = target.raw().path();

        prop_assert_eq!(forwarded, &raw, "byte for byte");
        let decoded = percent_decode_str(forwarded).decode_utf8().unwrap();
        prop_assert_eq!(target.path(), decoded);
    }

    #[test]
    fn an_accepted_path_means_the_same_to_whoever_decodes_it_again(raw in raw_path()) {
        let Some(target) = get(&raw) else { return Ok(()) };
        let path = target.path();

        let again = percent_decode_str(path).decode_utf8_lossy();

        for read in [path, &*again] {
            let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
            prop_assert!(!read.split(['/', '\\']).any(dots), "{read}");
            prop_assert!(!read.contains(['\\', '\0']), "{read}");
            prop_assert_eq!(read.matches('/').count(), path.matches('/').count());
        }
        prop_assert_eq!(path.contains(';'), target.oddities().semicolon);
        prop_assert_eq!(path.contains("//"), target.oddities().double_slash);
        let slashes = |text: &str| text.matches('/').count();
        prop_assert_eq!(slashes(path) != slashes(&raw), target.oddities().encoded_slash);
    }

    #[test]
    fn one_form_is_its_own_form(raw in raw_path()) {
        const ESCAPED: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#').add(b' ');
        let Some(target) = get(&raw) else { return Ok(()) };

        let written = utf8_percent_encode(target.path(), ESCAPED).to_string();
        let again = get(&written);

        let again = again.as_ref().map(Target::path);
        prop_assert_eq!(again, Some(target.path()), "{}", written);
    }

    #[test]
    fn a_stripped_path_is_the_rest_of_the_matched_one(raw in raw_path()) {
        let Some(target) = get(&raw) else { return Ok(()) };
        let allowed = target.oddities();
        let Ok(rest) = target.replace_prefix("/api/", "", None, allowed) else { return Ok(()) };

        let decoded = percent_decode_str(rest.path()).decode_utf8().unwrap();

        let matched = target.path().strip_prefix("/api").unwrap();
        prop_assert_eq!(&decoded, if matched.is_empty() { "/" } else { matched });
        prop_assert!(get(rest.path()).is_some(), "would be accepted by itself");
        prop_assert!(!rest.path().starts_with("//"));
    }

    #[test]
    fn the_best_pattern_takes_a_path(
        patterns in prop::collection::hash_set(pattern(), 1..8),
        segments in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..5),
        slash in any::<bool>(),
    ) {
        let patterns: Vec<String> = patterns.into_iter().collect();
        let slash = if slash && !segments.is_empty() { "/" } else { "" };
        let path = format!("/{}{slash}", segments.join("/"));
        let target = get(&path).unwrap();

        let table = table(&patterns);
        let found = table.find(&target);

        let best = patterns.iter().filter_map(|pattern| rank(pattern, &path)).max();
        match found {
            RouteMatch::Route(number) => prop_assert_eq!(rank(&patterns[*number], &path), best),
            RouteMatch::NoRoute => prop_assert_eq!(best, None),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn an_odd_spelling_never_leaves_the_route_of_the_plain_one(raw in raw_path()) {
        let mut table = Table::new();
        let all = PathAnomalies {
            semicolon: true,
            double_slash: true,
            encoded_slash: true,
            percent: true,
            unicode: true,
        };
        for (number, pattern) in ["/", "/a/", "/a/b/", "/api/"].iter().enumerate() {
            add(&mut table, pattern, all, number);
        }
        let Some(target) = get(&raw) else { return Ok(()) };
        let RouteMatch::Route(number) = table.find(&target) else { return Ok(()) };

        // As a server reads it that merges slashes and cuts parameters off.
        let segments = target.path().split('/').map(|segment| segment.split(';').next().unwrap());
        let plain: Vec<&str> = segments.filter(|segment| !segment.is_empty()).collect();
        let plain = get(&format!("/{}", utf8_percent_encode(&plain.join("/"), CONTROLS)));

        if let Some(plain) = plain {
            prop_assert_eq!(table.find(&plain), RouteMatch::Route(number));
        }
    }

    #[test]
    fn a_host_read_again_is_the_same(host in "[a-zA-Z0-9.:\\[\\]_~@%*-]{0,16}") {
        let Ok(target) = parse("GET / 1.1", &[("host", &host)]) else { return Ok(()) };

        let again = parse("GET / 1.1", &[("host", target.authority())]).unwrap();

        prop_assert_eq!(again.authority(), target.authority());
        prop_assert!(target.host().is_some_and(|host| !host.is_empty() && !host.ends_with('.')));
    }
}

#[test]
fn each_of_ten_thousand_routes_is_found() {
    let patterns: Vec<String> =
        (0..10_000).map(|number| format!("/tenant-{number}/{{id}}/stats")).collect();
    let table = table(&patterns);

    for number in [0, 5_000, 9_999] {
        let target = get(&format!("/tenant-{number}/7/stats")).unwrap();
        assert_eq!(table.find(&target), RouteMatch::Route(&number));
        assert_eq!(target.method(), Method::GET);
    }
}
