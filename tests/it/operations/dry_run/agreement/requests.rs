//! The requests of the comparison, generated: methods, hosts, paths in odd spellings, credentials of
//! every kind, fields that lie, bodies, addresses. The same seed gives the same requests.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use tollhouse::server::ExplainRequest;

use super::super::text;
use super::SECRET;
use crate::harness::Gateway;
use crate::harness::gateway::{PASSWORD, START};
use crate::security::signed;

/// A generator that gives the same numbers in every run (splitmix64).
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, number: usize) -> usize {
        usize::try_from(self.draw() % number as u64).unwrap()
    }

    fn one_in(&mut self, number: usize) -> bool {
        self.below(number) == 0
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }
}

/// A request, and the body that is sent with it.
pub(super) struct Generated {
    pub(super) asked: ExplainRequest,
    body: &'static str,
}

/// The parts that requests are put together from.
pub(super) struct Parts {
    credentials: Vec<Vec<(&'static str, String)>>,
    queries: Vec<String>,
}

const METHODS: [&str; 12] = [
    "GET", "GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get",
    "PROPFIND",
];

const HOSTS: [&str; 9] = [
    "localhost",
    "localhost",
    "localhost:8080",
    "api.example",
    "API.Example.",
    "a.wild.example",
    "b.a.wild.example",
    "[::1]:80",
    "two words",
];

const PATHS: [&str; 16] = [
    "/orders",
    "/orders/7",
    "/chiefs/x",
    "/open",
    "/open/x",
    "/posts",
    "/few",
    "/keys/1",
    "/pairs",
    "/either",
    "/watched",
    "/strip/me/x",
    "/moved/x",
    "/fixed",
    "/auth/login",
    "/nowhere",
];

/// Odd ends and beginnings of paths; `{}` is the path.
const SPELLINGS: [&str; 18] = [
    "{}/",
    "{}//x",
    "/{}",
    "{};x=1",
    "{}/%2e%2e/x",
    "{}/./x",
    "{}%2fx",
    "{}%2Fx",
    "{}%5cx",
    "{}%00",
    "{}/%25",
    "{}/%252f",
    "{}/%zz",
    "{}/%E2%84%AA",
    "{}/\u{e9}",
    "{}/a\\b",
    "{}/%20",
    "/%6frders",
];

const FIELDS: [(&str, &str); 24] = [
    ("X-Auth-Subject", "root"),
    ("x_auth_roles", "admin"),
    ("X-Forwarded-For", "203.0.113.7, 192.0.2.1"),
    ("X-Forwarded-For", "nonsense"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Proto", "http"),
    ("X-Request-Id", "mine"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Original-URL", "/admin"),
    ("Connection", "x-tenant"),
    ("Connection", "keep-alive"),
    ("X-Tenant", "acme"),
    ("TE", "trailers"),
    ("Cookie", "a=b"),
    ("Origin", "https://app.example"),
    ("Access-Control-Request-Method", "POST"),
    ("Accept", "application/json"),
    ("User-Agent", "a test"),
    ("Max-Forwards", "0"),
    ("Max-Forwards", "7"),
    ("Remote-User", "root"),
    ("Via", "1.0 fred"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("X-Set", "by the client"),
];

const ADDRESSES: [[u8; 4]; 4] = [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3], [127, 0, 0, 9]];
fn foreign(audience: &str) -> String {
    let at = START.secs();
    let claims = json!({
        "iss": "https://legacy.example/", "aud": audience, "sub": "7",
        "iat": at, "exp": at + 36_000, "tenant": "acme",
    });
    signed(&json!({ "alg": "HS256", "typ": "JWT" }), &claims, SECRET)
}

/// Good, expired, revoked, forged and foreign credentials, none, and several.
pub(super) async fn parts(gateway: &Gateway, api_key: &str) -> Parts {
    let expired = gateway.token("alice").await;
    gateway.advance(Duration::from_secs(7200));
    let [alice, bob, revoked] =
        [gateway.token("alice").await, gateway.token("bob").await, gateway.token("bob").await];
    let logout = gateway.client().post("/auth/logout").bearer(&revoked).send().await;
    assert!(logout.status.is_success());
    let forged = format!("{}AAAA", &alice[..alice.len() - 4]);
    let pair = json!({ "username": "alice", "password": PASSWORD });
    let pair = gateway.client().post("/old/login").json(pair).send().await;
    let pair = pair.assert_status(200).json();
    let (token, key) = (text(&pair, "token").to_owned(), text(&pair, "key").to_owned());
    let bearer = |token: &str| vec![("Authorization", format!("Bearer {token}"))];
    let of_pair = |token: &str, key: &str| {
        vec![("X-Access-Token", token.to_owned()), ("X-Key", key.to_owned())]
    };
    let mut credentials = vec![
        Vec::new(),
        bearer(&alice),
        bearer(&alice),
        bearer(&bob),
        bearer(&expired),
        bearer(&revoked),
        bearer(&forged),
        bearer("opaque"),
        bearer(""),
        bearer(&foreign("legacy")),
        bearer(&foreign("others")),
        bearer(&token),
        of_pair(&token, &key),
        of_pair(&token, "another"),
        of_pair(&alice, &key),
        vec![("X-Key", key.clone())],
        vec![("X-Api-Key", api_key.to_owned())],
        vec![("X-Api-Key", format!("{api_key}0"))],
        vec![("Authorization", "Basic YWxpY2U6eA==".to_owned())],
        vec![("Authorization", "Digest x".to_owned())],
    ];
    let several = [&bearer(&alice)[..], &[("X-Api-Key", api_key.to_owned())]].concat();
    credentials.push(several);
    credentials.push([bearer(&alice), bearer(&bob)].concat());
    let queries = vec![
        String::new(),
        String::new(),
        "?x=1".to_owned(),
        "?".to_owned(),
        "?x=%20&y=a+b".to_owned(),
        "?_method=DELETE".to_owned(),
        format!("?access_token={token}&x_key={key}&z"),
        "?access_token=a&x_key=b".to_owned(),
    ];
    Parts { credentials, queries }
}

impl Parts {
    pub(super) fn generate(&self, numbers: &mut Numbers) -> Generated {
        // Most paths are spelled plainly, so that most requests come far.
        let spelling = if numbers.one_in(4) { numbers.of(&SPELLINGS) } else { "{}" };
        let path = spelling.replace("{}", numbers.of(&PATHS));
        let method = numbers.of(&METHODS);
        let mut fields = vec![("Host".to_owned(), numbers.of(&HOSTS).to_owned())];
        // Most requests are for a host with routes, so that most of them come far.
        if !numbers.one_in(4) {
            fields[0].1 = "localhost".to_owned();
        }
        for (name, value) in numbers.of(&self.credentials) {
            fields.push((name.to_owned(), value));
        }
        for _ in 0..numbers.below(4) {
            let (name, value) = numbers.of(&FIELDS);
            fields.push((name.to_owned(), value.to_owned()));
        }
        // The body of a chunked request is not known before, and `posts` has a small limit.
        let kinds = if path.contains("posts") { 3 } else { 4 };
        let body = match numbers.below(kinds) {
            0 => {
                let body = numbers.of(&["abc", "a longer body"]);
                fields.push(("Content-Length".to_owned(), body.len().to_string()));
                body
            }
            1 => {
                fields.push(("Content-Length".to_owned(), "0".to_owned()));
                ""
            }
            2 => "",
            _ => {
                fields.push(("Transfer-Encoding".to_owned(), "chunked".to_owned()));
                "3\r\nabc\r\n0\r\n\r\n"
            }
        };
        // A login would hash, and a logout would end the sessions of the test.
        let method = if path.starts_with("/auth") && method == "POST" { "GET" } else { method };
        let from = numbers.of(&ADDRESSES);
        let asked = ExplainRequest {
            method: method.to_owned(),
            url: format!("{path}{}", numbers.of(&self.queries)),
            fields,
            as_user: None,
            from: Some(IpAddr::from(from)),
        };
        Generated { asked, body }
    }
}

impl Generated {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let ExplainRequest { method, url, fields, .. } = &self.asked;
        let mut text = format!("{method} {url} HTTP/1.1\r\n");
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(self.body);
        text.into_bytes()
    }
}
