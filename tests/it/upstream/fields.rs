//! Header fields on their way: what a client cannot say, what the upstream is told.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use tollhouse::client::Client;
use tollhouse::clock::Timestamp;
use tollhouse::headers::{
    CredentialFields, ForwardedCredential, HeaderEdits, HeaderFacts, PathPrefix, RequestId,
    ReservedHeaders, count_hop, identity_fields, remove_credentials, set_forwarded, set_identity,
    strip_inbound,
};
use tollhouse::identity::{Identity, SessionId, Subject};
use tollhouse::secret::RandomPool;
use tollhouse::settings::{HeaderRules, ValuePart, ValueTemplate};

use crate::harness::scripted_upstream::{self, GET, ScriptedUpstream, settings_to};

fn client(trusted_proxy: bool) -> Client {
    let peer = "10.0.0.1:5000".parse().unwrap();
    Client {
        address: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
        ..scripted_upstream::client(peer, trusted_proxy)
    }
}

fn head(lines: &[(&str, &str)]) -> http::request::Parts {
    let mut request = http::Request::new(());
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
    }
    request.into_parts().0
}

fn protected() -> ReservedHeaders {
    ReservedHeaders::new([&HeaderName::from_static("x-tenant")])
}

/// The fields as they go to the upstream.
fn forwarded(lines: &[(&str, &str)], trusted: bool) -> HeaderMap {
    let client = client(trusted);
    let mut head = head(lines);
    let request_id =
        RequestId::choose(&head.headers, &client, Timestamp::from_secs(1), &RandomPool::default());
    strip_inbound(&mut head, &protected(), &client, false);
    let facts = HeaderFacts {
        client: &client,
        identity: None,
        request_id: &request_id,
        host: "api.example",
        authority: "api.example:8443",
        prefix: Some(PathPrefix { outer: "/api", inner: "" }),
    };
    set_forwarded(&mut head.headers, &facts);
    head.headers
}

fn identity() -> Identity {
    Identity {
        subject: Subject::new("u-1"),
        username: "zoë".into(),
        source: "staff".into(),
        issuer: "self".into(),
        login: "webitel".into(),
        session: Some(SessionId::parse("0190b2c4-7d3a-7000-8000-000000000001").unwrap()),
        roles: vec!["admin".into(), "a,b".into()],
        scopes: vec![],
        claims: serde_json::json!({ "tenant": { "id": 7 }, "tags": ["x", "y,z"], "none": null })
            .as_object()
            .unwrap()
            .clone(),
    }
}

#[test]
fn a_strangers_word_on_where_it_came_from_is_replaced() {
    let headers = forwarded(
        &[
            ("X-Forwarded-For", "1.1.1.1"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "evil"),
            ("X-Forwarded-Port", "1"),
            ("X-Forwarded-Prefix", "/evil"),
            ("X-Forwarded-User", "root"),
            ("X-Real-IP", "1.1.1.1"),
            ("Forwarded", "for=1.1.1.1"),
            ("X-Request-Id", "mine"),
            ("Via", "1.0 other"),
            ("X-Original-URL", "/admin"),
            ("X-HTTP-Method-Override", "DELETE"),
        ],
        false,
    );

    for (name, value) in [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-real-ip", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "api.example:8443"),
        ("x-forwarded-port", "8443"),
        ("x-forwarded-prefix", "/api"),
        ("host", "api.example:8443"),
    ] {
        assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
    }
    for name in ["forwarded", "x-forwarded-user", "x-original-url", "x-http-method-override"] {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert_ne!(headers["x-request-id"], "mine");
    assert_eq!(headers.get_all("via").iter().collect::<Vec<_>>(), ["1.0 other", "1.1 tollhouse"]);
}

#[test]
fn a_trusted_proxys_word_is_continued() {
    let headers = forwarded(
        &[
            ("X-Forwarded-For", "1.1.1.1"),
            ("X-Forwarded-For", "192.0.2.7"),
            ("X-Forwarded-Host", "outer.example"),
            ("X-Forwarded-Prefix", "/outer/"),
            ("X-Request-Id", "theirs"),
        ],
        true,
    );

    assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 192.0.2.7, 10.0.0.1");
    assert_eq!(headers["x-real-ip"], "192.0.2.7");
    assert_eq!(headers["x-forwarded-host"], "outer.example");
    assert_eq!(headers["x-forwarded-prefix"], "/outer/api");
    assert_eq!(headers["x-request-id"], "theirs");
}

#[test]
fn naming_a_field_of_ours_in_connection_does_not_remove_it() {
    let listed = "x-forwarded-for, X-Real-Ip, x-request-id, via, host, close";
    let headers = forwarded(&[("Connection", listed), ("Keep-Alive", "5")], false);

    for name in ["x-forwarded-for", "x-real-ip", "x-request-id", "via", "host"] {
        assert!(headers.contains_key(name), "{name}");
    }
    assert!(!headers.contains_key("connection") && !headers.contains_key("keep-alive"));
}

#[test]
fn only_upgrades_that_can_be_tunnelled_stay() {
    for (connection, protocol, stays, why) in [
        ("keep-alive, Upgrade", "websocket", true, "a WebSocket"),
        ("Upgrade", "foo/2", true, "some other protocol"),
        ("Upgrade, HTTP2-Settings", "h2c", false, "HTTP/2 would pass unseen"),
        ("Upgrade", "HTTP/2.0", false, "and in this spelling"),
        ("Upgrade", "TLS/1.0", false, "so would TLS"),
        ("Upgrade", "websocket, h2c", false, "a choice of protocols"),
        ("keep-alive", "websocket", false, "not named in Connection"),
    ] {
        let headers = forwarded(&[("Connection", connection), ("Upgrade", protocol)], false);
        let kept = headers.get("upgrade").is_some();

        assert_eq!(kept, stays, "{why}");
        assert_eq!(headers.get("connection").is_some_and(|c| c == "upgrade"), stays, "{why}");
    }
}

#[test]
fn credentials_stay_here_unless_they_were_the_ones_verified() {
    let lines = [
        ("Authorization", "Bearer a"),
        ("X-Access-Token", "b"),
        ("X-Key", "c"),
        ("X-Api-Key", "d"),
    ];
    let key = HeaderName::from_static("x-api-key");
    let fields =
        CredentialFields { in_query: true, api_key: Some(&key), ..CredentialFields::default() };
    for (kept, left) in [
        (ForwardedCredential::Nothing, vec!["/f?a=1"]),
        (ForwardedCredential::Authorization, vec!["Bearer a", "/f?a=1"]),
        (ForwardedCredential::TokenKey, vec!["b", "c", "/f?a=1"]),
        (ForwardedCredential::Query, vec!["/f?access_token=b&a=1&x_key=c"]),
        (ForwardedCredential::ApiKey, vec!["d", "/f?a=1"]),
        (
            ForwardedCredential::All,
            vec!["b", "Bearer a", "c", "d", "/f?access_token=b&a=1&x_key=c"],
        ),
    ] {
        let mut head = head(&lines);
        head.uri = "/f?access_token=b&a=1&x_key=c".parse().unwrap();

        remove_credentials(&mut head, kept, fields);

        let mut found: Vec<String> =
            head.headers.values().map(|value| value.to_str().unwrap().to_owned()).collect();
        found.sort_unstable_by_key(|value| value.to_ascii_lowercase());
        found.push(head.uri.to_string());
        assert_eq!(found, left, "{kept:?}");
    }
}

#[test]
fn a_field_for_keys_is_known_in_every_spelling_and_as_a_trailer() {
    let key = HeaderName::from_static("x-api-key");
    let protected = ReservedHeaders::new([]).with_credentials([&key]);
    let mut head = head(&[("X-API-Key", "a"), ("X_API_Key", "b"), ("X-Api.Key", "c")]);

    strip_inbound(&mut head, &protected, &client(false), false);

    let left: Vec<_> = head.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(left, ["x-api-key"], "only what is read, and removed later");
}

#[test]
fn identity_is_written_so_that_it_reads_one_way() {
    let mut headers = HeaderMap::new();

    set_identity(&mut headers, &identity_fields(&identity()));

    assert_eq!(headers["x-auth-subject"], "u-1");
    assert_eq!(headers["x-auth-username"], "zo%C3%AB");
    assert_eq!(headers["x-auth-roles"], "admin,a%2Cb");
    assert_eq!(headers["x-auth-session"], "0190b2c4-7d3a-7000-8000-000000000001");
    assert_eq!(headers["x-auth-source"], "staff");
    assert!(!headers.contains_key("x-auth-scopes"), "no value is no field");
}

#[test]
fn a_rule_without_its_value_sets_no_field() {
    let claim =
        |path: &[&str]| ValuePart::Claim(path.iter().map(|name| (*name).to_owned()).collect());
    let text = |text: &str| ValuePart::Text(text.to_owned());
    for (parts, identified, expected, why) in [
        (vec![text("v1")], false, Some("v1"), "plain text"),
        (vec![text("t-"), claim(&["tenant", "id"])], true, Some("t-7"), "a number in text"),
        (vec![claim(&["tags"])], true, Some("x,y%2Cz"), "a list, its commas encoded"),
        (vec![text("t-"), claim(&["missing"])], true, None, "no such claim"),
        (vec![claim(&["none"])], true, None, "null is no value"),
        (vec![claim(&["tenant"])], true, None, "an object has no form"),
        (vec![ValuePart::Subject], false, None, "nobody is known"),
        (vec![ValuePart::Scopes], true, None, "an empty list"),
        (vec![ValuePart::Host], false, Some("api.example"), "the host"),
    ] {
        let name = HeaderName::from_static("x-tenant");
        let rules = HeaderRules { set: vec![(name, ValueTemplate(parts))], remove: vec![] };
        let (client, identity) = (client(false), identity());
        let facts = HeaderFacts {
            client: &client,
            identity: identified.then_some(&identity),
            request_id: &RequestId::new(Timestamp::from_secs(1), &RandomPool::default()),
            host: "api.example",
            authority: "api.example",
            prefix: None,
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-tenant", HeaderValue::from_static("stale"));

        HeaderEdits::build(&rules).unwrap().apply(&mut headers, &facts);

        assert_eq!(headers.get("x-tenant").map(|v| v.to_str().unwrap()), expected, "{why}");
    }
}

#[test]
fn hops_are_counted_where_they_are_limited() {
    for (method, left, passes, then) in [
        ("OPTIONS", "1", true, "0"),
        ("OPTIONS", "0", false, "0"),
        ("GET", "0", true, "0"),
        ("OPTIONS", "x", true, "x"),
    ] {
        let mut head = head(&[("Max-Forwards", left)]);
        head.method = method.parse().unwrap();

        assert_eq!(count_hop(&mut head), passes);
        assert_eq!(head.headers["max-forwards"], then);
    }
}

#[tokio::test]
async fn an_answers_fields_are_cleaned_and_its_location_leads_back_here() {
    let fake = ScriptedUpstream::start().await;
    let mut settings = settings_to(vec![fake.server()]);
    settings.prefix = Some("/api");
    let rules = HeaderRules {
        set: vec![(
            HeaderName::from_static("x-a"),
            ValueTemplate(vec![ValuePart::Text("1".into())]),
        )],
        remove: vec![http::header::SERVER],
    };
    settings.response_rules = HeaderEdits::build(&rules).unwrap();
    let gate = settings.start().await;

    let mut client = gate.ask(GET).await;
    let mut upstream = fake.accept().await;
    let sent = upstream.head().await;
    let address = fake.address();
    upstream
        .send(format!(
            "HTTP/1.1 302 Found\r\nLocation: http://{address}/login?x#y\r\nServer: old/1\r\n\
             Alt-Svc: h3=\":443\"\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
             Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
    let answer = client.head().await;

    assert!(sent.contains("x-forwarded-prefix: /api"), "{sent}");
    assert!(answer.contains("location: https://gateway:8443/api/login?x#y\r\n"), "{answer}");
    assert!(answer.contains("set-cookie: a=1\r\nset-cookie: b=2\r\n"), "{answer}");
    assert!(answer.contains("x-a: 1"), "{answer}");
    for gone in ["alt-svc", "x-hop", "keep-alive", "server:"] {
        assert!(!answer.contains(gone), "{gone} in {answer}");
    }
}

/// A protected name in any spelling that some server reads as the same.
fn spelling() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "x-auth-subject",
        "x-auth-username",
        "x-auth-roles",
        "x-auth-scopes",
        "x-auth-session",
        "x-auth-source",
        "x-auth-anything",
        "x-tenant",
        "x-real-ip",
        "x-forwarded-for",
        "x-forwarded-user",
        "x-http-method-override",
        "x-rewrite-url",
    ]);
    (names, prop::collection::vec(0..4_usize, 32), any::<u32>()).prop_map(|(name, dashes, case)| {
        let spell = |(at, c): (usize, char)| match c {
            '-' => ['-', '_', '.', '~'][dashes[at % dashes.len()]],
            c if case >> (at % 32) & 1 == 1 => c.to_ascii_uppercase(),
            c => c,
        };
        name.chars().enumerate().map(spell).collect()
    })
}

/// A name as the most generous server reads it.
fn as_read(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

proptest! {
    #[test]
    fn nothing_a_client_says_of_itself_survives_in_any_spelling(
        names in prop::collection::vec(spelling(), 1..8),
        connection in prop::collection::vec(spelling(), 0..3),
        trusted: bool,
    ) {
        let connection = connection.join(", ");
        let mut lines: Vec<(&str, &str)> =
            names.iter().map(|name| (name.as_str(), "evil")).collect();
        lines.push(("Connection", &connection));

        let mut headers = forwarded(&lines, trusted);
        set_identity(&mut headers, &identity_fields(&identity()));

        for (name, value) in &headers {
            let read = as_read(name.as_str());
            let passed = trusted && name.as_str() == "x-forwarded-for";
            prop_assert!(value != "evil" || passed, "{name} as {read}");
        }
        prop_assert_eq!(headers.get_all("x-auth-subject").iter().collect::<Vec<_>>(), ["u-1"]);
        prop_assert_eq!(headers.get_all("x-real-ip").iter().collect::<Vec<_>>(), ["192.0.2.7"]);
    }
}
