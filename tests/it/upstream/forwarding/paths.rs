//! The path a route was chosen by is the path the upstream receives.

use std::cell::Cell;

use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::harness::{Gateway, Upstream};

/// The routes by name, all open: what is below each is its own.
const ROUTES: [(&str, &str); 5] =
    [("root", "/"), ("a", "/a/"), ("a-b", "/a/b/"), ("c-d", "/c d/"), ("umlaut", "/ä/x/")];

/// The route's name of a decoded path, worked out in the simplest way there is.
fn route_of(path: &str) -> &'static str {
    let covers = |(_, route): &&(&str, &str)| format!("{path}/").starts_with(route);
    ROUTES.iter().filter(covers).max_by_key(|(_, route)| route.len()).unwrap().0
}

/// Paths with every spelling of the letters that decide, and much that is refused.
fn paths() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b", "c", "x", "%61", "%62", "%63", "%20", "+", "%C3%A4", "%c3%a4", "A", "%41", "~",
        "%7E", "!", "$", "&", "'", "(", ")", "*", ",", "=", ":", "@", "%25", "%2541", "%3F", "%23",
        ".", "%2e", ";", "%3b", "%2F", "%2f", "%5c", "%", "%zz", "%C3", "%00", "%0a", "d",
    ]);
    let segment = prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat());
    let likely = prop::sample::select(vec!["a", "%61", "b", "%62", "c%20d", "%63%20%64", "%C3%A4"]);
    let segment = prop_oneof![2 => segment, 3 => likely.prop_map(str::to_owned)];
    prop::collection::vec(segment, 1..6).prop_map(|segments| format!("/{}", segments.join("/")))
}

#[test]
fn the_path_a_route_is_chosen_by_is_the_path_that_arrives() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (gateway, upstream) = runtime.block_on(async {
        let upstream = Upstream::start().await;
        let mut builder = Gateway::builder();
        for (name, route) in ROUTES {
            let keys = format!("name = \"{name}\"\nauth = []");
            builder = builder.route(&upstream, route, &keys);
        }
        (builder.start().await, upstream)
    });
    let (client, forwarded, asked) = (gateway.client(), Cell::new(0), Cell::new(0));
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };

    let checked = TestRunner::new(config).run(&paths(), |path| {
        let path = format!("{path}?q=%2F..");
        asked.set(asked.get() + 1);
        let reply = runtime.block_on(client.get(&path).send());
        let received = upstream.received();
        if reply.status == 400 {
            prop_assert_eq!(received.len(), forwarded.get(), "nothing arrives of {}", path);
            return Ok(());
        }
        prop_assert_eq!(reply.status, 200);
        forwarded.set(forwarded.get() + 1);
        prop_assert_eq!(received.len(), forwarded.get());
        let arrived = &received[received.len() - 1].target;
        prop_assert_eq!(arrived, &path, "byte for byte");
        let decoded = arrived.split('?').next().unwrap();
        let decoded = percent_decode_str(decoded).decode_utf8().unwrap();
        let log = gateway.access_log();
        prop_assert_eq!(&log[log.len() - 1]["http.route"], route_of(&decoded));
        Ok(())
    });

    checked.unwrap();
    let (forwarded, asked) = (forwarded.get(), asked.get());
    assert!(forwarded > 50 && forwarded < asked, "{forwarded} of {asked} were forwarded");
}

#[tokio::test]
async fn a_case_insensitive_upstream_has_its_routes_guarded_in_every_case() {
    let upstream = Upstream::start().await;
    let config = format!(
        "[[upstream]]\nname = \"iis\"\nservers = [\"{}\"]\ncase_insensitive = true\n\
         [[route]]\npath = \"/Admin/\"\nupstream = \"iis\"\nrequire = {{ roles = [\"admin\"] }}\n\
         [[route]]\npath = \"/\"\nupstream = \"iis\"\nauth = []",
        upstream.url()
    );
    let gateway = Gateway::builder().login("native").config(&config).start().await;
    let (alice, bob) = (gateway.token("alice").await, gateway.token("bob").await);
    let client = gateway.client();

    for path in ["/Admin/x", "/admin/x", "/ADMIN/x", "/%41dmin/x", "/aDMIN"] {
        client.get(path).send().await.assert_status(401);
        client.get(path).bearer(&bob).send().await.assert_status(403);
    }
    upstream.assert_untouched();

    client.get("/aDmin/X").bearer(&alice).send().await.assert_status(200);
    assert_eq!(upstream.only().target, "/aDmin/X", "forwarded as it was written");
}

#[tokio::test]
async fn a_letter_encoded_twice_reaches_no_server_that_decodes_twice() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .route(&upstream, "/", "auth = []")
        .route(&upstream, "/admin/", "")
        .route(&upstream, "/legacy/", "auth = []\nallow_path = [\"percent\"]")
        .start()
        .await;
    let client = gateway.client();

    for path in [
        "/%2561dmin/x",
        "/x/%25252e%25252e/admin/x",
        "/admin%253fx",
        "/admin%3fx",
        "/admin%23x",
        "/legacy/%25252e%25252e/admin/x",
    ] {
        client.get(path).send().await.assert_status(400);
    }
    upstream.assert_untouched();

    for path in ["/100%25", "/legacy/%2541?a=%2541", "/legacy/a%3fb"] {
        client.get(path).send().await.assert_status(200);
        assert_eq!(upstream.last().target, path, "byte for byte");
    }
}

#[tokio::test]
async fn a_full_width_slash_or_dot_reaches_no_server_that_folds_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .route(&upstream, "/", "auth = []")
        .route(&upstream, "/admin/", "")
        .route(&upstream, "/texts/", "auth = []\nallow_path = [\"unicode\"]")
        .start()
        .await;
    let client = gateway.client();

    for letter in [
        "%ef%bc%8f",
        "%ef%bc%8e",
        "%e2%80%a5",
        "%ef%bc%bc",
        "%ef%b9%a8",
        "%ef%bc%85",
        "%ef%bc%9b",
        "%cd%be",
        "%ef%bc%9f",
        "%ef%bc%83",
        "%e2%80%a6",
        "%e2%84%80",
    ] {
        client.get(&format!("/x{letter}y")).send().await.assert_status(400);
        let target = format!("/admin{letter}");
        client.get(&target).send().await.assert_status(400);
    }
    client.get("/texts/%ef%bc%8e%ef%bc%8e/admin/x").send().await.assert_status(400);
    upstream.assert_untouched();

    for path in ["/caf%c3%a9", "/%e6%97%a5%e6%9c%ac", "/texts/wait%e2%80%a6", "/texts/a%ef%bc%8fb"]
    {
        client.get(path).send().await.assert_status(200);
        assert_eq!(upstream.last().target, path, "byte for byte");
    }
}

#[tokio::test]
async fn a_standard_method_in_another_case_is_not_taken() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().route_to(&upstream, "auth = []").start().await;
    let client = gateway.client();

    for name in ["trace", "connect", "Trace", "get", "delete", "oPTIONS"] {
        let method = http::Method::from_bytes(name.as_bytes()).unwrap();
        client.call(method, "/x").send().await.assert_status(405);
    }
    upstream.assert_untouched();

    let own = http::Method::from_bytes(b"purge").unwrap();
    client.call(own, "/x").send().await.assert_status(200);
    assert_eq!(upstream.only().method.as_str(), "purge");
}
