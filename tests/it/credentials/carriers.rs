//! Tokens where the logins of a route carry them (`auth = ["login"]`, `[call]` of a dialect): in a
//! field, a cookie, the query, by any scheme, and as pairs.

use http::Method;
use serde_json::json;
use tollhouse::server::ExplainRequest;

use super::{ask, assert_refused};
use crate::harness::client::TestRequest;
use crate::harness::gateway::PASSWORD;
use crate::harness::listener::eventually;
use crate::harness::{Client, Gateway, GatewayBuilder, Reply, Upstream};

/// Tokens in every place, and a dialect whose tokens have a key.
const DIALECTS: &str = r#"
[[dialect]]
name = "own"
[[dialect.endpoint]]
step = "login"
request = "POST /login"
credential = [{ json = { username = "name", password = "password" } }]
[dialect.endpoint.reply]
json = { token = "$access.token" }
headers = { X-Auth-Token = "$access.token" }
cookies = [{ name = "SID", value = "$access.token" }]
[dialect.call]
carriers = [
    { scheme = "Token" },
    { scheme = "" },
    { field = "X-Auth-Token" },
    { cookie = "SID" },
    { query = "token" },
]

[[dialect]]
name = "paired"
[[dialect.endpoint]]
step = "login"
request = "POST /paired/login"
credential = [{ json = { username = "name", password = "password" } }]
reply = { json = { token = "$access.token", key = "$session.key" } }
[dialect.call]
carriers = [{ pair = { token = { cookie = "PAIR" }, key = { field = "X-Session-Key" } } }]

[[login]]
dialect = "own"
[[login]]
dialect = "paired"
"#;

/// Where a token is: parameters of the query, and fields.
#[derive(Clone, Default)]
struct Place {
    query: Vec<String>,
    fields: Vec<(&'static str, String)>,
}

impl Place {
    fn query(pair: String) -> Self {
        Self { query: vec![pair], ..Self::default() }
    }

    fn field(name: &'static str, value: String) -> Self {
        Self { fields: vec![(name, value)], ..Self::default() }
    }

    fn and(mut self, other: Self) -> Self {
        self.query.extend(other.query);
        self.fields.extend(other.fields);
        self
    }

    fn call<'g>(&self, client: &'g Client, path: &str) -> TestRequest<'g> {
        let query = self.query.join("&");
        let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        self.fields.iter().fold(client.get(&path), |call, (name, value)| call.header(name, value))
    }
}

/// Every carrier of the dialect `own`.
fn carriers(token: &str) -> [(&'static str, Place); 5] {
    [
        ("scheme", Place::field("authorization", format!("Token {token}"))),
        ("bare", Place::field("authorization", token.to_owned())),
        ("field", Place::field("X-Auth-Token", token.to_owned())),
        ("cookie", Place::field("cookie", format!("SID={token}"))),
        ("query", Place::query(format!("token={token}"))),
    ]
}

fn gateway(upstream: &Upstream, keys: &str) -> GatewayBuilder {
    Gateway::builder().config(DIALECTS).login("native").route_to(upstream, keys)
}

async fn log_in(gateway: &Gateway, path: &str) -> Reply {
    let login = json!({ "name": "alice", "password": PASSWORD });
    let reply = gateway.client().post(path).json(login).send().await;
    reply.assert_status(200);
    reply
}

/// Asserts that the upstream has seen nothing of the token.
#[track_caller]
fn assert_unseen(upstream: &Upstream, token: &str, why: &str) {
    let received = upstream.last();
    assert!(!received.target.contains(token), "{why}: {}", received.target);
    for (name, value) in &received.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        assert!(!value.contains(token), "{why}: {name}: {value}");
    }
}

#[track_caller]
fn assert_unlogged(gateway: &Gateway, token: &str) {
    let logs = gateway.running().access_lines() + &gateway.running().audit_lines();
    assert!(!logs.is_empty() && !logs.contains(token), "{logs}");
}

#[tokio::test]
async fn a_token_in_any_carrier_is_accepted_once_and_goes_no_further() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "auth = [\"login\"]").start().await;
    let token = log_in(&gateway, "/login").await.member("token");
    let client = gateway.client();

    for (name, place) in carriers(&token) {
        place.call(&client, "/a").send().await.assert_status(200);
        assert_eq!(upstream.last().header("x-auth-username"), Some("alice"), "{name}");
        assert_unseen(&upstream, &token, name);
        assert_eq!(upstream.last().target, "/a", "{name}");
    }
    // What stands around the token stays, byte for byte.
    let around = client.get(&format!("/a?b=%20&t%6Fken={token}&c=+&d"));
    let around = around.header("referer", &format!("https://x.example/?token={token}"));
    around.send().await.assert_status(200).assert_header("cache-control", "private");
    assert_eq!(upstream.last().target, "/a?b=%20&c=+&d");
    assert_eq!(upstream.last().header("referer"), Some("https://x.example/?token=***"));
    let around = client.get("/a").header("cookie", &format!("a=1; SID=\"{token}\"; b=2"));
    around.header("cookie", "c=3").send().await.assert_status(200);
    let cookies: Vec<String> = upstream
        .last()
        .headers
        .get_all("cookie")
        .iter()
        .flat_map(|field| {
            field.to_str().unwrap().split("; ").map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(cookies, ["a=1", "b=2", "c=3"]);
    for scheme in ["token", "TOKEN"] {
        let call = client.get("/a").header("authorization", &format!("{scheme} {token}"));
        call.send().await.assert_status(200);
    }
    assert_unlogged(&gateway, &token);
}

#[tokio::test]
async fn two_tokens_are_ambiguous_wherever_they_are() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "auth = [\"login\", \"bearer\", \"basic\"]").start().await;
    let token = log_in(&gateway, "/login").await.member("token");
    let client = gateway.client();

    let mut calls: Vec<(String, Place)> = Vec::new();
    for (number, (name, place)) in carriers(&token).into_iter().enumerate() {
        calls.push((format!("{name} twice"), place.clone().and(place.clone())));
        for (other_name, other) in carriers(&token).into_iter().skip(number + 1) {
            calls.push((format!("{name} and {other_name}"), place.clone().and(other)));
        }
        let bearer = Place::field("authorization", format!("Bearer {token}"));
        calls.push((format!("{name} and Bearer"), place.clone().and(bearer)));
        let basic = Place::field("authorization", "Basic YWxpY2U6eA==".to_owned());
        calls.push((format!("{name} and Basic"), place.clone().and(basic)));
        let broken = Place::field("authorization", "Bearer ?".to_owned());
        calls.push((format!("{name} and a malformed Bearer"), place.clone().and(broken)));
    }
    let field = |name, value: String| Place::field(name, value);
    let cookie = || field("cookie", format!("SID={token}"));
    for (name, place) in [
        ("a cookie twice in one field", field("cookie", format!("SID={token}; a=1; SID={token}"))),
        ("a cookie in two fields", field("cookie", "a=1; SID=x".to_owned()).and(cookie())),
        ("an empty cookie beside it", field("cookie", "SID=".to_owned()).and(cookie())),
        ("an encoded name", Place::query(format!("token={token}&t%6Fken={token}"))),
        ("two values", Place::query(format!("token={token}&token=x"))),
        (
            "a name in another case",
            field("X-AUTH-TOKEN", token.clone()).and(field("x-auth-token", token.clone())),
        ),
        ("half a pair beside it", cookie().and(field("X-Session-Key", "key".to_owned()))),
    ] {
        calls.push((name.to_owned(), place));
    }
    for (why, place) in calls {
        let reply = place.call(&client, "/").send().await;
        assert_refused(&reply, 400, "ambiguous_credential", &why);
    }
    upstream.assert_untouched();
    assert_unlogged(&gateway, &token);
}

#[tokio::test]
async fn what_is_no_token_of_a_login_is_refused_in_every_carrier() {
    let upstream = Upstream::start().await;
    let keys = "auth = [\"login\"]\nlogins = [\"own\"]";
    let gateway = gateway(&upstream, keys).start().await;
    let token = log_in(&gateway, "/login").await.member("token");
    let others = gateway.token("alice").await;
    let client = gateway.client();

    let forged = format!("{token}x");
    for (kind, value) in
        [("of another login", others.as_str()), ("forged", &forged), ("no token", "made-up")]
    {
        for (name, place) in carriers(value) {
            let reply = place.call(&client, "/").send().await;
            assert_refused(&reply, 401, "token_invalid", &format!("{kind}: {name}"));
        }
    }
    for (why, place) in [
        ("an empty field", Place::field("X-Auth-Token", String::new())),
        ("a space", Place::field("X-Auth-Token", format!("{token} {token}"))),
        ("a comma", Place::field("X-Auth-Token", format!("{token},{token}"))),
        ("an empty cookie", Place::field("cookie", "SID=".to_owned())),
        ("a comma in a cookie", Place::field("cookie", "SID=a,b".to_owned())),
        ("no value of the scheme", Place::field("authorization", "Token".to_owned())),
        ("two values of the scheme", Place::field("authorization", format!("Token {token} x"))),
        ("an empty parameter", Place::query("token=".to_owned())),
        ("a space in a parameter", Place::query("token=a+b".to_owned())),
        ("no UTF-8", Place::query("token=%ff".to_owned())),
        ("very long", Place::field("X-Auth-Token", "a".repeat(8193))),
    ] {
        let reply = place.call(&client, "/").send().await;
        assert_refused(&reply, 401, "token_invalid", why);
    }
    for (why, place) in [
        ("nothing", Place::default()),
        (
            "Bearer, which this login does not have",
            Place::field("authorization", format!("Bearer {token}")),
        ),
        ("only a scheme", Place::field("authorization", "Digest".to_owned())),
        ("another spelling", Place::field("X_Auth_Token", token.clone())),
        ("a longer name", Place::query(format!("mytoken={token}"))),
        ("another case of a cookie", Place::field("cookie", format!("sid={token}"))),
        ("the token of another login's pair", Place::field("cookie", format!("PAIR={token}"))),
    ] {
        let reply = place.call(&client, "/").send().await;
        assert_refused(&reply, 401, "credential_missing", why);
    }
    upstream.assert_untouched();
    assert_unlogged(&gateway, &token);
}

#[tokio::test]
async fn a_route_that_takes_no_logins_neither_counts_nor_forwards_their_tokens() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "auth = [\"bearer\"]")
        .route(&upstream, "/open/", "auth = []")
        .route(&upstream, "/told/", "auth = [\"login\"]\nforward_credential = true")
        .start()
        .await;
    let token = log_in(&gateway, "/login").await.member("token");
    let others = gateway.token("alice").await;
    let client = gateway.client();

    for (name, place) in carriers(&token) {
        let reply = place.call(&client, "/").send().await;
        assert_refused(&reply, 401, "credential_missing", name);
    }
    upstream.assert_untouched();
    for (name, place) in carriers(&token) {
        place.call(&client, "/open/").send().await.assert_status(200);
        assert_unseen(&upstream, &token, name);
        if !matches!(name, "scheme" | "bare") {
            place.call(&client, "/").bearer(&others).send().await.assert_status(200);
            assert_unseen(&upstream, &token, name);
        }
        place.call(&client, "/told/").send().await.assert_status(200);
        let received = upstream.last();
        let fields =
            received.headers.values().filter(|value| value.to_str().unwrap().contains(&token));
        let found = fields.count() + usize::from(received.target.contains(&token));
        assert_eq!(found, 1, "{name}: the verified one goes along");
    }
    for spelling in ["X_Auth_Token", "x.auth-token"] {
        client.get("/open/").header(spelling, &token).send().await.assert_status(200);
        assert_unseen(&upstream, &token, spelling);
    }
}

#[tokio::test]
async fn a_pair_needs_both_of_its_halves() {
    let upstream = Upstream::start().await;
    let keys = "auth = [\"login\"]\nlogins = [\"paired\"]";
    let gateway = gateway(&upstream, keys).start().await;
    let session = log_in(&gateway, "/paired/login").await;
    let (token, key) = (session.member("token"), session.member("key"));
    let client = gateway.client();

    let cookie = Place::field("cookie", format!("PAIR={token}"));
    let with = |key: &str| cookie.clone().and(Place::field("X-Session-Key", key.to_owned()));
    for (why, place) in [
        ("no key", cookie.clone()),
        ("no token", Place::field("X-Session-Key", key.clone())),
        ("another key", with("00000000-0000-0000-0000-000000000000")),
        ("an empty key", with("")),
    ] {
        assert_refused(&place.call(&client, "/").send().await, 401, "token_invalid", why);
    }
    upstream.assert_untouched();
    with(&key).call(&client, "/").send().await.assert_status(200);
    assert_unseen(&upstream, &token, "the token");
    assert_unseen(&upstream, &key, "the key");
    assert_unlogged(&gateway, &key);
}

#[tokio::test]
async fn a_request_that_another_site_made_a_browser_send_is_refused() {
    let upstream = Upstream::start().await;
    let strict = DIALECTS.replacen("[dialect.call]\n", "[dialect.call]\ncsrf = \"strict\"\n", 1);
    let keys = "auth = [\"login\"]\nlogins = [\"own\"]";
    let lenient = gateway(&upstream, keys).start().await;
    let strict = Gateway::builder().config(&strict).route_to(&upstream, keys).start().await;

    for (gateway, is_strict) in [(&lenient, false), (&strict, true)] {
        let login = async |fields: &[(&str, &str)]| {
            let body = json!({ "name": "alice", "password": PASSWORD });
            let client = gateway.client();
            let call = client.post("/login").json(body);
            let call = fields.iter().fold(call, |call, (name, value)| call.header(name, value));
            call.send().await
        };
        let from_here = [("origin", "http://localhost")];
        let token = login(&from_here).await.assert_status(200).member("token");
        for (fields, status, why) in [
            (&[][..], if is_strict { 403 } else { 200 }, "a program"),
            (&[("sec-fetch-site", "same-origin")], 200, "a page of this site"),
            (&[("sec-fetch-site", "same-site")], 403, "a sibling"),
            (&[("sec-fetch-site", "cross-site")], 403, "another site"),
            (&[("origin", "http://localhost:81")], 403, "another port"),
            (&[("origin", "https://localhost")], 403, "another scheme"),
            (&[("origin", "null")], 403, "no origin"),
            (&[("referer", "http://evil.example/")], 403, "another page"),
        ] {
            let client = gateway.client();
            let before = upstream.received().len();
            let call = |method: Method, name, value: &str| {
                let call = client.call(method, "/").header(name, value);
                fields.iter().fold(call, |call, (name, value)| call.header(name, value))
            };
            let cookie = format!("SID={token}");
            let reply = call(Method::POST, "cookie", &cookie).send().await;
            assert_eq!(reply.status, status, "{why}: {}", reply.text());
            if status == 403 {
                reply.assert_code("not_permitted");
                assert_eq!(upstream.received().len(), before, "{why}");
            }
            assert_eq!(login(fields).await.status, status, "a login that sets a cookie: {why}");
            call(Method::GET, "cookie", &cookie).send().await.assert_status(200);
            let by_field = call(Method::POST, "X-Auth-Token", &token).send().await;
            by_field.assert_status(200);
        }
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_site_is_the_one_that_the_proxy_tells() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "auth = [\"login\"]")
        .listener("trusted_proxies = [\"127.0.0.0/8\"]")
        .start()
        .await;
    let token = log_in(&gateway, "/login").await.member("token");
    let cookie = format!("SID={token}");
    let client = gateway.client();
    let call = |fields: &[(&str, &str)]| {
        let call = client.post("/").header("cookie", &cookie);
        fields.iter().fold(call, |call, (name, value)| call.header(name, value))
    };

    let told = [("x-forwarded-proto", "https"), ("x-forwarded-host", "app.example, inner")];
    for (origin, fields, status) in [
        ("https://app.example", &told[..], 200),
        ("https://localhost", &told[..1], 200),
        ("http://localhost", &[], 200),
        ("http://app.example", &told[..], 403),
        ("https://localhost", &told[..], 403),
        ("https://inner", &told[..], 403),
        ("http://localhost", &told[..1], 403),
    ] {
        let before = upstream.received().len();
        let reply = call(fields).header("origin", origin).send().await;
        assert_eq!(reply.status, status, "{origin} {fields:?}: {}", reply.text());
        assert_eq!(upstream.received().len() - before, usize::from(status == 200));
    }
}

#[tokio::test]
async fn a_client_goes_on_with_what_the_login_gave_it() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "auth = [\"login\"]").start().await;
    let reply = log_in(&gateway, "/login").await;
    let client = gateway.client();

    let cookie = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let field = reply.header("x-auth-token").unwrap().to_owned();
    let token = reply.member("token");
    for call in [
        client.get("/").header("cookie", &cookie),
        client.get("/").header("x-auth-token", &field),
        client.get("/").header("authorization", &format!("Token {token}")),
        client.get(&format!("/?token={token}")),
    ] {
        call.send().await.assert_status(200);
        assert_eq!(upstream.last().header("x-auth-username"), Some("alice"));
        assert_unseen(&upstream, &token, "the journey");
    }
    // A session that has ended is over in every carrier.
    let (status, _) = ask(&gateway, Method::DELETE, "/sessions?user=alice", None).await;
    assert_eq!(status, 200);
    let before = upstream.received().len();
    for (name, place) in carriers(&token) {
        let reply = place.call(&client, "/").send().await;
        assert_refused(&reply, 401, "token_revoked", name);
    }
    assert_eq!(upstream.received().len(), before);
}

#[tokio::test]
async fn a_route_that_observes_forwards_foreign_tokens_and_never_ours() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "auth = [\"login\"]\nenforce = false").start().await;
    let token = log_in(&gateway, "/login").await.member("token");
    let client = gateway.client();

    client.get("/").header("cookie", "SID=legacy").send().await.assert_status(200);
    assert_eq!(upstream.last().header("cookie"), Some("SID=legacy"));
    assert_eq!(upstream.last().header("x-auth-username"), None);
    for (name, place) in carriers(&token) {
        place.call(&client, "/").send().await.assert_status(200);
        assert_unseen(&upstream, &token, name);
    }
    let before = upstream.received().len();
    let twice = client.get(&format!("/?token={token}")).header("cookie", "SID=legacy").send().await;
    assert_refused(&twice, 400, "ambiguous_credential", "not even here");
    assert_eq!(upstream.received().len(), before);
}

#[tokio::test]
async fn an_explanation_tells_the_carrier_and_shows_no_token() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "auth = [\"login\"]").start().await;
    let token = log_in(&gateway, "/login").await.member("token");
    let asked = |method: &str, url: String, fields: &[(&str, &str)], user: Option<&str>| {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        ExplainRequest {
            method: method.to_owned(),
            url,
            fields: fields.iter().map(owned).collect(),
            as_user: user.map(str::to_owned),
            from: None,
        }
    };
    let cookie = format!("SID={token}");
    let by_cookie = [("cookie", cookie.as_str())];
    let forged = [("cookie", cookie.as_str()), ("origin", "https://evil.example")];

    for (request, carrier, outcome) in [
        (asked("POST", "/a".into(), &by_cookie, None), "{ cookie = \"SID\" }", "forwarded"),
        (
            asked("GET", format!("/a?token={token}"), &[], None),
            "{ query = \"token\" }",
            "forwarded",
        ),
        (asked("POST", "/a".into(), &forged, None), "{ cookie = \"SID\" }", "refused"),
        (asked("GET", "/a".into(), &[], Some("alice")), "{ scheme = \"token\" }", "forwarded"),
    ] {
        let explained = gateway.running().explain(&request).await.unwrap();
        assert_eq!(explained["credential"]["kind"], "login", "{explained:#}");
        assert_eq!(explained["credential"]["carrier"], carrier, "{explained:#}");
        assert_eq!(explained["verdict"]["outcome"], outcome, "{explained:#}");
        assert!(!explained.to_string().contains(&token), "{explained:#}");
        let checks = explained["checks"].as_array().unwrap();
        let failed: Vec<_> = checks.iter().filter(|one| one["outcome"] == "failed").collect();
        let expected = if outcome == "refused" { vec!["site"] } else { Vec::new() };
        assert_eq!(failed.iter().map(|one| &one["check"]).collect::<Vec<_>>(), expected);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_token_without_tls_is_never_sent_on_to_https() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .listeners("[[listener]]\naddress = \"0.0.0.0:0\"\nredirect_to_https = true")
        .config(DIALECTS)
        .route_to(&upstream, "hosts = [\"api.example\"]\nauth = [\"login\"]")
        .start()
        .await;
    let mut client = gateway.client();
    client.address.set_ip([127, 0, 0, 1].into());

    for (name, place) in carriers("made-up") {
        let reply = place.call(&client, "/").host("api.example").send().await;
        assert_refused(&reply, 403, "tls_required", name);
    }
    client.get("/?mytoken=x").host("api.example").send().await.assert_status(308);
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_tunnel_and_another_method_behind_get_are_no_safe_calls() {
    let upstream = Upstream::start().await;
    let keys = "auth = [\"login\"]\nallow_method_override = true";
    let gateway =
        gateway(&upstream, "auth = [\"login\"]").route(&upstream, "/override/", keys).start().await;
    let token = log_in(&gateway, "/login").await.member("token");
    let cookie = format!("SID={token}");
    let client = gateway.client();
    let from_evil = |path: &str| {
        client.get(path).header("cookie", &cookie).header("origin", "https://evil.example")
    };

    let tunnel = from_evil("/").header("connection", "upgrade").header("upgrade", "websocket");
    for call in [tunnel, from_evil("/override/?_method=DELETE")] {
        call.send().await.assert_status(403).assert_code("not_permitted");
    }
    upstream.assert_untouched();
    from_evil("/").send().await.assert_status(200);
}

#[tokio::test]
async fn the_redirect_of_a_route_and_a_mirror_get_no_token() {
    let upstream = Upstream::start().await;
    let mirror = Upstream::start().await;
    let redirect = "[[route]]\npath = \"/old/\"\nauth = [\"login\"]\n\
                    redirect = { to = \"https://new.example\"}";
    let section = format!("[[upstream]]\nname = \"copy\"\nservers = [\"{}\"]", mirror.url());
    let gateway = gateway(
        &upstream,
        "auth = [\"login\"]\nmirror = { upstream = \"copy\" }\nforward_credential = true",
    )
    .config(&section)
    .config(redirect)
    .start()
    .await;
    let token = log_in(&gateway, "/login").await.member("token");
    let client = gateway.client();

    let moved = client.get(&format!("/old/a?b=1&token={token}")).send().await;
    let location = moved.header("location").unwrap();
    assert!(
        location.starts_with("https://new.example") && !location.contains(&token),
        "{location}"
    );
    for (name, place) in carriers(&token) {
        let copies = mirror.received().len();
        place.call(&client, "/").send().await.assert_status(200);
        eventually("a copy", || mirror.received().len() > copies).await;
        assert_unseen(&mirror, &token, name);
    }
}
