//! Tokens that only their issuer understands: asked about there, remembered for a while.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use tollhouse::config;
use tollhouse::identity::Subject;

use crate::harness::gateway::{PASSWORD, START};
use crate::harness::upstream::ReceivedRequest;
use crate::harness::{Client, Gateway, GatewayBuilder, OpenIdProvider, Reply, Upstream};
use crate::login::opaque_tokens::OPAQUE;

const ISSUER: &str = "https://hydra.example/";

/// An issuer that knows the tokens it is given, and records what it is asked.
struct Hydra {
    server: Upstream,
    known: Arc<Mutex<HashMap<String, Value>>>,
    odd: Arc<Mutex<Option<Response<Bytes>>>>,
    secret: tempfile::NamedTempFile,
}

impl Hydra {
    async fn start() -> Self {
        let known = Arc::new(Mutex::new(HashMap::<String, Value>::new()));
        let odd = Arc::new(Mutex::new(None::<Response<Bytes>>));
        let (knows, says) = (known.clone(), odd.clone());
        let server = Upstream::answering(move |request| {
            if let Some(odd) = &*says.lock().unwrap() {
                return copy(odd);
            }
            let known = knows.lock().unwrap();
            let answer = form(request).get("token").and_then(|token| known.get(token)).cloned();
            let answer = answer.unwrap_or_else(|| json!({ "active": false }));
            Response::new(answer.to_string().into())
        });
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        secret.write_all(b"s3cr+t:\xc3\xa9").unwrap();
        Self { server: server.await, known, odd, secret }
    }

    /// Knows a token, changed from a good one: `null` removes a member.
    fn knows(&self, token: &str, changes: Value) {
        let mut answer = good();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(answer.as_object_mut().unwrap().remove(name)),
                value => answer[name] = value.clone(),
            }
        }
        self.known.lock().unwrap().insert(token.to_owned(), answer);
    }

    fn forgets(&self, token: &str) {
        self.known.lock().unwrap().remove(token);
    }

    /// Answers everything with this, until told otherwise.
    fn says(&self, answer: Option<Response<Bytes>>) {
        *self.odd.lock().unwrap() = answer;
    }

    /// How often it was asked.
    fn asked(&self) -> usize {
        self.server.received().len()
    }

    fn section(&self, keys: &str) -> String {
        section("hydra", ISSUER, &self.server.url(), &self.secret, keys)
    }
}

fn section(
    name: &str,
    issuer: &str,
    url: &str,
    secret: &tempfile::NamedTempFile,
    keys: &str,
) -> String {
    let audience = if keys.contains("audience") { "" } else { "audience = [\"legacy\"]\n" };
    format!(
        "[[issuer]]\nname = \"{name}\"\nissuer = \"{issuer}\"\nallow_http = true\n{audience}\
         introspection = {{ url = \"{url}/introspect\", client_id = \"gate:way\",\n\
         client_secret = {{ file = {:?} }} }}\n{keys}\n",
        secret.path()
    )
}

fn good() -> Value {
    json!({
        "active": true, "iss": ISSUER, "sub": "user-7", "aud": ["legacy", "other"],
        "exp": START.secs() + 3600, "iat": START.secs(), "scope": "read write",
        "roles": ["clerk"], "preferred_username": "zoe", "token_type": "Bearer",
    })
}

fn form(request: &ReceivedRequest) -> HashMap<String, String> {
    form_urlencoded::parse(&request.body).into_owned().collect()
}

fn copy(answer: &Response<Bytes>) -> Response<Bytes> {
    let mut copy = Response::new(answer.body().clone());
    (*copy.status_mut(), *copy.headers_mut()) = (answer.status(), answer.headers().clone());
    copy
}

fn answer(status: u16, body: &str) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn gateway(upstream: &Upstream, issuers: &str) -> GatewayBuilder {
    Gateway::builder().moving().login("native").route_to(upstream, "").config(issuers)
}

async fn get(gateway: &Gateway, token: &str) -> Reply {
    gateway.client().get("/").bearer(token).send().await
}

#[tokio::test]
async fn an_active_token_is_whose_its_issuer_says() {
    let (upstream, hydra) = (Upstream::start().await, Hydra::start().await);
    hydra.knows("opaque+/=", json!({}));
    let gateway = gateway(&upstream, &hydra.section("")).start().await;

    get(&gateway, "opaque+/=").await.assert_status(200);

    let asked = hydra.server.only();
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/introspect"));
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    let basic = STANDARD.encode("gate%3Away:s3cr%2Bt%3A%C3%A9");
    assert_eq!(asked.header("authorization"), Some(format!("Basic {basic}").as_str()));
    let form = form(&asked);
    assert_eq!(form["token"], "opaque+/=");
    assert_eq!(form["token_type_hint"], "access_token");
    let seen = upstream.only();
    assert_eq!(seen.header("x-auth-username"), Some("zoe"));
    assert_eq!(seen.header("x-auth-roles"), Some("clerk"));
    assert_eq!(seen.header("x-auth-scopes"), Some("read,write"));
    assert_eq!(seen.header("x-auth-subject"), Some(Subject::foreign(ISSUER, "user-7").as_str()));
}

#[tokio::test]
async fn what_the_rules_do_not_take_is_refused_though_it_is_active() {
    let (upstream, hydra) = (Upstream::start().await, Hydra::start().await);
    let gateway = gateway(&upstream, &hydra.section("subjects = [\"user-7\"]")).start().await;
    let (past, future) = (START.secs() - 1, START.secs() + 600);
    for (number, (changes, why)) in [
        (json!({ "active": false }), "not active"),
        (json!({ "active": "true" }), "not true"),
        (json!({ "active": null }), "not said"),
        (json!({ "aud": "other" }), "for others"),
        (json!({ "aud": null }), "for nobody"),
        (json!({ "aud": 7 }), "of the wrong type"),
        (json!({ "iss": "https://hydra.example" }), "another issuer"),
        (json!({ "iss": 7 }), "of the wrong type"),
        (json!({ "sub": null }), "nobody's"),
        (json!({ "sub": "" }), "nobody's"),
        (json!({ "sub": "user-8" }), "not among the subjects"),
        (json!({ "exp": past }), "expired"),
        (json!({ "exp": "never" }), "of the wrong type"),
        (json!({ "nbf": future }), "not yet"),
        (json!({ "nbf": "now" }), "of the wrong type"),
        (json!({ "iat": future }), "not yet"),
        (json!({ "iat": [] }), "of the wrong type"),
        (json!({ "token_type": "refresh_token" }), "another use"),
        (json!({ "token_type": "DPoP" }), "bound to a key"),
        (json!({ "token_use": "refresh_token" }), "another use"),
        (json!({ "typ": "Refresh" }), "another use"),
        (json!({ "token_use": "id" }), "an ID token"),
        (json!({ "nonce": "n-1" }), "an ID token"),
        (json!({ "at_hash": "h" }), "an ID token"),
        (json!({ "events": {} }), "an event token"),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("token{number}");
        hydra.knows(&token, changes);

        let reply = get(&gateway, &token).await;

        assert_eq!(reply.status, 401, "{why}: {}", reply.text());
    }
    get(&gateway, "made-up").await.assert_status(401);
    upstream.assert_untouched();
}

#[tokio::test]
async fn any_audience_is_one_only_where_the_operator_says_so() {
    let (upstream, hydra) = (Upstream::start().await, Hydra::start().await);
    let gateway = gateway(&upstream, &hydra.section("audience = \"any\"")).start().await;
    for (number, aud) in [json!("other"), Value::Null, json!([])].into_iter().enumerate() {
        let (token, status) = (format!("token{number}"), if aud == json!([]) { 401 } else { 200 });
        hydra.knows(&token, json!({ "aud": aud }));

        get(&gateway, &token).await.assert_status(status);
    }
    assert_eq!(upstream.received().len(), 2, "a list of nobody is none");
}

#[tokio::test]
async fn the_last_day_of_an_issuer_is_its_last() {
    let (upstream, hydra) = (Upstream::start().await, Hydra::start().await);
    hydra.knows("opaque", json!({ "exp": START.secs() + 7 * 24 * 3600 }));
    let gateway = gateway(&upstream, &hydra.section("until = \"2026-11-22\"")).start().await;
    get(&gateway, "opaque").await.assert_status(200);

    gateway.advance(Duration::from_secs(15 * 3600));

    get(&gateway, "opaque").await.assert_status(401);
    assert_eq!((hydra.asked(), upstream.received().len()), (1, 1), "nobody is asked any more");
}

#[tokio::test]
async fn an_answer_is_remembered_and_never_longer_than_it_says() {
    let (upstream, hydra) = (Upstream::start().await, Hydra::start().await);
    let gateway = gateway(&upstream, &hydra.section("")).start().await;
    hydra.knows("long", json!({}));
    hydra.knows("short", json!({ "exp": START.secs() + 10 }));
    hydra.knows("endless", json!({ "exp": null }));
    for token in ["long", "short", "endless", "made-up"] {
        for _ in 0..3 {
            get(&gateway, token).await;
        }
    }
    assert_eq!(hydra.asked(), 4, "each once");
    let served = upstream.received().len();
    for token in ["long", "short", "endless"] {
        hydra.forgets(token);
    }

    gateway.advance(Duration::from_secs(10));

    get(&gateway, "short").await.assert_status(401);
    assert_eq!(upstream.received().len(), served, "it has expired");
    get(&gateway, "long").await.assert_status(200);
    get(&gateway, "endless").await.assert_status(200);
    hydra.knows("made-up", json!({}));
    get(&gateway, "made-up").await.assert_status(200);
    assert_eq!(hydra.asked(), 6, "the short one and the refused one once more");
    let served = upstream.received().len();
    gateway.advance(Duration::from_secs(20));
    get(&gateway, "long").await.assert_status(401);
    get(&gateway, "endless").await.assert_status(401);
    assert_eq!(upstream.received().len(), served, "withdrawn, and the time is over");
}

#[tokio::test]
async fn a_verdict_says_who_and_never_what_is_permitted() {
    let (upstream, hydra) = (Upstream::start().await, Hydra::start().await);
    hydra.knows("opaque", json!({}));
    let gateway = gateway(&upstream, &hydra.section(""))
        .route(&upstream, "/admin", "require = { roles = [\"admin\"] }")
        .route(&upstream, "/own", "issuers = [\"self\"]")
        .start()
        .await;
    let call = async |path: &'static str| gateway.client().get(path).bearer("opaque").send().await;
    call("/").await.assert_status(200);

    call("/admin").await.assert_status(403);
    call("/own").await.assert_status(401);

    call("/").await.assert_status(200);
    assert_eq!((hydra.asked(), upstream.received().len()), (1, 2));
}

#[tokio::test]
async fn who_waits_for_the_same_token_waits_for_the_same_answer() {
    let (upstream, provider) = (Upstream::start().await, OpenIdProvider::plain().await);
    let secret = secret();
    let url = provider.issuer();
    let issuers = section("hydra", ISSUER, url.trim_end_matches('/'), &secret, "");
    provider.tell_json("/introspect", &good());
    let gateway = gateway(&upstream, &issuers).start().await;
    provider.hold();
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let client = gateway.client();
            tokio::task::spawn(async move { client.get("/").bearer("one").send().await })
        })
        .collect();
    provider.fetched("/introspect", 1).await;
    provider.release();

    for client in clients {
        client.await.unwrap().assert_status(200);
    }

    assert_eq!(provider.fetches("/introspect"), 1);
}

#[tokio::test]
async fn an_issuer_that_is_down_is_503_until_it_is_back() {
    let (upstream, provider) = (Upstream::start().await, OpenIdProvider::start().await);
    let (secret, url) = (secret(), provider.issuer());
    let issuers = section("hydra", ISSUER, url.trim_end_matches('/'), &secret, "");
    let issuers = issuers.replace("allow_http = true", &format!("ca = {:?}", provider.ca()));
    provider.tell_json("/introspect", &good());
    let gateway = gateway(&upstream, &issuers).start().await;
    get(&gateway, "before").await.assert_status(200);
    provider.stop().await;

    get(&gateway, "during").await.assert_status(503);
    get(&gateway, "before").await.assert_status(200);
    assert_eq!(upstream.received().len(), 2, "only what was remembered");
    let told = operators_are_told(&gateway).await;
    assert!(told.contains("note: issuer `hydra` could not be asked: "), "{told}");
    assert!(!told.contains("during"), "{told}");

    provider.resume();
    get(&gateway, "during").await.assert_status(200);
    let told = operators_are_told(&gateway).await;
    for (result, count) in [("succeeded", 2), ("failed", 1)] {
        let labels = format!("{{issuer=\"hydra\",result=\"{result}\"}} {count}");
        assert!(told.contains(&format!("tollhouse_token_questions_total{labels}")), "{told}");
    }
    assert!(!told.contains("note: issuer") && !told.contains("jwks_refresh_total"), "{told}");
}

/// Readiness and metrics.
async fn operators_are_told(gateway: &Gateway) -> String {
    let admin = Client::plain(gateway.running().admin_address().unwrap());
    let ready = admin.get("/readyz?verbose").send().await.assert_status(200).text();
    ready + &admin.get("/metrics").send().await.text()
}

fn secret() -> tempfile::NamedTempFile {
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    secret.write_all(b"secret").unwrap();
    secret
}

#[tokio::test]
async fn what_is_no_answer_is_503_and_not_remembered() {
    let (upstream, hydra, trap) =
        (Upstream::start().await, Hydra::start().await, Upstream::start().await);
    hydra.knows("opaque", json!({}));
    let gateway = gateway(&upstream, &hydra.section("")).start().await;
    let redirect = Response::builder().status(307).header("location", trap.url());
    let large = format!("{{\"active\":true,\"pad\":\"{}\"}}", "x".repeat(40_000));
    for (answer, why) in [
        (answer(500, "{\"active\":true}"), "an error"),
        (answer(401, "{\"active\":false}"), "the gateway is not known there"),
        (answer(201, "{\"active\":true}"), "not 200"),
        (redirect.body(Bytes::new()).unwrap(), "elsewhere"),
        (answer(200, &large), "too large"),
        (answer(200, "active"), "no JSON"),
        (answer(200, "[]"), "no object"),
        (answer(200, "{\"active\":false,\"active\":true}"), "said twice"),
    ] {
        hydra.says(Some(answer));

        let reply = get(&gateway, "opaque").await;

        assert_eq!(reply.status, 503, "{why}: {}", reply.text());
    }
    upstream.assert_untouched();
    trap.assert_untouched();
    hydra.says(None);
    get(&gateway, "opaque").await.assert_status(200);
}

#[tokio::test]
async fn tokens_of_others_never_leave() {
    let (upstream, hydra) = (Upstream::start().await, Hydra::start().await);
    let provider = OpenIdProvider::es256().await;
    let issuers = format!("{}{}", hydra.section(""), provider.section("jwt", ""));
    let gateway = gateway(&upstream, &issuers).start().await;
    let own = gateway.token("alice").await;
    let jwt = provider.token().at(START).text();
    get(&gateway, &own).await.assert_status(200);
    get(&gateway, &jwt).await.assert_status(200);
    let served = upstream.received().len();
    let [header, claims, _] = own.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };

    for (token, why) in [
        (format!("{own}x"), "another signature"),
        (format!("{own}.x"), "a part too many"),
        (format!("{own}="), "padded"),
        (format!("{header}.{claims}"), "without its signature"),
        (format!("x{own}"), "with a damaged header"),
        (format!("e30.{claims}.c2ln"), "without an algorithm"),
        (format!("{jwt}x"), "another's, damaged"),
        (
            provider.token().at(START).claim("iss", json!("https://x.example")).text(),
            "a stranger's",
        ),
        (provider.token().at(START).claim("iss", Value::Null).text(), "nobody's"),
    ] {
        let reply = get(&gateway, &token).await;

        assert_eq!(reply.status, 401, "{why}");
    }
    hydra.server.assert_untouched();
    assert_eq!(upstream.received().len(), served);
}

#[tokio::test]
async fn a_signed_token_of_the_issuer_is_asked_about_and_not_believed() {
    let (upstream, hydra) = (Upstream::start().await, Hydra::start().await);
    let provider = OpenIdProvider::es256().await;
    let gateway = gateway(&upstream, &hydra.section("")).start().await;
    let known = provider.token().at(START).claim("iss", json!(ISSUER)).text();
    let unknown = provider.token().at(START).claim("iss", json!(ISSUER)).sub("root").text();
    let unreadable =
        format!("{}.x.y.z.w", URL_SAFE_NO_PAD.encode(r#"{"alg":"dir","enc":"A256GCM"}"#));
    hydra.knows(&known, json!({}));
    hydra.knows(&unreadable, json!({}));

    get(&gateway, &known).await.assert_status(200);
    get(&gateway, &unreadable).await.assert_status(200);
    get(&gateway, &unknown).await.assert_status(401);

    assert_eq!((hydra.asked(), upstream.received().len()), (3, 2));
}

#[tokio::test]
async fn several_issuers_are_asked_in_order_until_one_knows() {
    let (upstream, first, second) =
        (Upstream::start().await, Hydra::start().await, Hydra::start().await);
    let other = "https://second.example/";
    let issuers = section("second", other, &second.server.url(), &second.secret, "");
    let gateway = gateway(&upstream, &format!("{}{issuers}", first.section(""))).start().await;
    first.knows("firsts", json!({}));
    second.knows("seconds", json!({ "iss": other }));
    second.knows("late", json!({ "iss": other }));

    get(&gateway, "firsts").await.assert_status(200);
    assert_eq!((first.asked(), second.asked()), (1, 0));
    get(&gateway, "seconds").await.assert_status(200);
    assert_eq!((first.asked(), second.asked()), (2, 1));
    get(&gateway, "nobodys").await.assert_status(401);

    first.says(Some(answer(500, "")));
    get(&gateway, "late").await.assert_status(200);
    get(&gateway, "unknown").await.assert_status(503);
    assert_eq!(upstream.received().len(), 3);
    let subject = Subject::foreign(other, "user-7");
    assert_eq!(upstream.last().header("x-auth-subject"), Some(subject.as_str()));
}

#[tokio::test]
async fn an_issuer_whose_access_tokens_look_like_id_tokens_can_be_taken_at_its_word() {
    let (upstream, hydra) = (Upstream::start().await, Hydra::start().await);
    hydra.knows("odd", json!({ "nonce": "n-1" }));
    let gateway = gateway(&upstream, &hydra.section("allow_id_tokens = true")).start().await;

    get(&gateway, "odd").await.assert_status(200);
}

#[tokio::test]
async fn a_route_or_login_that_names_issuers_shows_its_tokens_to_no_other() {
    let (upstream, first, second) =
        (Upstream::start().await, Hydra::start().await, Hydra::start().await);
    let other = "https://second.example/";
    let issuers = section("second", other, &second.server.url(), &second.secret, "");
    second.knows("seconds", json!({ "iss": other }));
    let gateway = Gateway::builder()
        .moving()
        .config(&format!("{}{issuers}", first.section("")))
        .config("[[login]]\ndialect = \"native\"\nexchange = [\"second\"]")
        .route(&upstream, "/", "issuers = [\"self\", \"second\"]")
        .route(&upstream, "/own/", "issuers = [\"self\"]")
        .start()
        .await;
    let client = gateway.client();
    let trade = async |token: &str| client.post("/auth/exchange").bearer(token).send().await;

    client.get("/own/").bearer("seconds").send().await.assert_status(401);
    assert_eq!((first.asked(), second.asked()), (0, 0));
    get(&gateway, "seconds").await.assert_status(200);
    get(&gateway, "made-up").await.assert_status(401);
    trade("seconds").await.assert_status(200);
    trade("nobodys").await.assert_status(401);

    assert_eq!((first.asked(), second.asked()), (0, 3));
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn made_up_tokens_are_asked_about_once_and_push_no_good_one_out() {
    let (upstream, hydra) = (Upstream::start().await, Hydra::start().await);
    hydra.knows("good", json!({}));
    let gateway = gateway(&upstream, &hydra.section("")).start().await;
    get(&gateway, "good").await.assert_status(200);

    for number in 0..200 {
        get(&gateway, &format!("made-up-{}", number % 50)).await.assert_status(401);
    }

    assert_eq!(hydra.asked(), 51);
    get(&gateway, "good").await.assert_status(200);
    assert_eq!((hydra.asked(), upstream.received().len()), (51, 2));
}

#[tokio::test]
async fn an_opaque_token_with_a_key_beside_it_is_no_pair() {
    let (upstream, hydra) = (Upstream::start().await, Hydra::start().await);
    hydra.knows("opaque", json!({}));
    let gateway = gateway(&upstream, &hydra.section("")).start().await;

    gateway.client().get("/").pair("opaque", "key").send().await.assert_status(401);

    hydra.server.assert_untouched();
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_reload_keeps_what_was_said_while_the_issuer_is_the_same() {
    let (upstream, hydra) = (Upstream::start().await, Hydra::start().await);
    hydra.knows("opaque", json!({}));
    let gateway = gateway(&upstream, &hydra.section("")).start().await;
    get(&gateway, "opaque").await.assert_status(200);
    let path = gateway.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let read = || {
        let loaded = config::load(&path, &|_| None).map_err(|issues| issues.to_string())?;
        Ok(loaded.config)
    };

    gateway.running().reload(read).unwrap();
    get(&gateway, "opaque").await.assert_status(200);
    assert_eq!(hydra.asked(), 1, "nothing about the issuer has changed");

    std::fs::write(&path, text.replace("\"gate:way\"", "\"another\"")).unwrap();
    gateway.running().reload(read).unwrap();
    get(&gateway, "opaque").await.assert_status(200);
    assert_eq!(hydra.asked(), 2);
}

#[tokio::test]
async fn an_opaque_token_is_traded_where_a_login_trades_its_issuers() {
    let (upstream, hydra) = (Upstream::start().await, Hydra::start().await);
    hydra.knows("opaque", json!({}));
    let login = "[[login]]\ndialect = \"native\"\nexchange = [\"hydra\"]";
    let gateway = Gateway::builder().moving().config(&hydra.section("")).config(login);
    let gateway = gateway.route_to(&upstream, "").start().await;
    let trade =
        async |token: &str| gateway.client().post("/auth/exchange").bearer(token).send().await;

    trade("made-up").await.assert_status(401);
    let own = trade("opaque").await.assert_status(200).member("access_token");
    get(&gateway, &own).await.assert_status(200);

    let subject = Subject::foreign(ISSUER, "user-7");
    assert_eq!(upstream.only().header("x-auth-subject"), Some(subject.as_str()));
}

#[tokio::test]
async fn a_token_of_the_form_of_our_own_goes_to_its_issuer_only_if_it_is_none_of_ours() {
    let (hydra, upstream) = (Hydra::start().await, Upstream::start().await);
    let gateway = Gateway::builder()
        .moving()
        .config(OPAQUE)
        .config(&hydra.section(""))
        .route_to(&upstream, "")
        .start()
        .await;
    let client = gateway.client();
    let call = async |token: &str| client.get("/").bearer(token).send().await;
    let login = json!({ "user": "alice", "key": PASSWORD });
    let login = client.post("/swift/login").json(login).send().await;
    let ours = login.assert_status(200).member("token");

    call(&ours).await.assert_status(200);
    client.post("/swift/logout").bearer(&ours).send().await.assert_status(200);
    call(&ours).await.assert_status(401);
    assert_eq!(hydra.asked(), 0, "nobody else sees a token of ours");

    let theirs: Vec<String> = (0..5).map(|number| format!("AUTH_tk{number:040}")).collect();
    for token in &theirs {
        hydra.knows(token, json!({}));
        call(token).await.assert_status(200);
    }
    gateway.advance(Duration::from_secs(10));
    for token in &theirs {
        call(token).await.assert_status(200);
    }
    assert_eq!(hydra.asked(), 5, "their verdicts are remembered");
    client.post("/swift/logout").bearer(&theirs[0]).send().await.assert_status(200);
    let before = upstream.received().len();
    call(&theirs[0]).await.assert_status(401);
    call(&format!("AUTH_tk{:040}", 10)).await.assert_status(401);
    assert_eq!(hydra.asked(), 6, "nobody knows it");
    assert_eq!(upstream.received().len(), before, "the upstream saw nothing");
}
