//! Each verdict, with the check that failed and the key that decided.

use std::time::Duration;

use serde_json::{Value, json};
use tollhouse::authn::new_key;

use super::{explain, failed_check, request, text};
use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Upstream};

/// Routes to one upstream, each with a rule of its own.
async fn start(upstream: &Upstream, more: &str) -> Gateway {
    let route = |name: &str, keys: &str| {
        format!("[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"api\"\n{keys}\n")
    };
    let routes = [
        route("orders", ""),
        route("chiefs", "require = { roles = [\"chief\"] }"),
        route("writers", "require = { scopes = [\"write\", \"audit\"] }"),
        route("tenants", "require = { claims = { tenant = \"other\" } }"),
        route("open", "auth = []\naccept = [\"open_above\"]"),
        route("posts", "methods = [\"POST\"]\nbody_limit = \"10B\""),
        route("watched", "enforce = false\nrequire = { roles = [\"chief\"] }"),
        route("limited", "rate_limit = { requests = 1, per = \"1h\", by = \"client\" }"),
        route("closed", "maintenance = { message = \"later\" }"),
        route("passwords", "auth = [\"basic\"]"),
        route("keys", "auth = [\"api_key\"]"),
        route("elsewhere", "logins = [\"other\"]"),
        "[[route]]\nname = \"moved\"\npath = \"/moved\"\nredirect = { to = \"/orders\" }\n"
            .to_owned(),
    ];
    Gateway::builder()
        .moving()
        .login("native")
        .config("[[login]]\nname = \"other\"\ndialect = \"native\"\nprefix = \"/other\"")
        .config(&format!("[[upstream]]\nname = \"api\"\nservers = [\"{}\"]", upstream.url()))
        .config(&routes.concat())
        .config(more)
        .start()
        .await
}

/// The line of `gateway.toml` that an explanation names.
fn decided_line(explained: &Value) -> String {
    let place = &explained["verdict"]["decided_by"];
    let line = place["line"].as_u64().unwrap_or_else(|| panic!("no line in {explained:#}"));
    let text = std::fs::read_to_string(text(place, "file")).unwrap();
    text.lines().nth(usize::try_from(line).unwrap() - 1).unwrap().to_owned()
}

#[tokio::test]
async fn each_refusal_names_its_check_and_the_line_that_decided() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, "").await;
    let old = gateway.token("alice").await;
    gateway.advance(Duration::from_secs(7200));
    let token = gateway.token("alice").await;
    let good = format!("Bearer {token}");
    let forged = format!("Bearer {}AAAA", &token[..token.len() - 4]);
    let old = format!("Bearer {old}");
    let bearer = [("authorization", good.as_str())];
    for (method, path, fields, status, reason, check, line) in [
        ("GET", "/orders", &[][..], 401, "credential_missing", "credential", "[[route]]"),
        ("GET", "/orders", &[("authorization", &*forged)], 401, "token_invalid", "signature", ""),
        ("GET", "/orders", &[("authorization", &*old)], 401, "token_expired", "time", ""),
        ("GET", "/chiefs", &bearer, 403, "not_permitted", "require.roles", "roles = [\"chief\"]"),
        ("GET", "/writers", &bearer, 403, "not_permitted", "require.scopes", "\"audit\""),
        ("GET", "/tenants", &bearer, 403, "not_permitted", "require.claims", "\"other\""),
        ("GET", "/elsewhere", &bearer, 401, "token_invalid", "logins", "logins = [\"other\"]"),
        ("GET", "/posts", &bearer, 405, "method_not_allowed", "route", "methods = [\"POST\"]"),
        ("GET", "/closed", &bearer, 503, "unavailable", "maintenance", "maintenance = "),
        ("GET", "/orders/%2e%2e/x", &bearer, 400, "malformed_request", "target", ""),
        ("GET", "/orders;x", &bearer, 400, "malformed_request", "route", ""),
        ("GET", "/nowhere", &bearer, 404, "not_found", "route", ""),
        ("GET", "/auth/login", &bearer, 405, "method_not_allowed", "route", "[[login]]"),
    ] {
        let explained = explain(&gateway, &request(method, path, fields)).await;
        let client = gateway.client();
        let mut call = client.call(method.parse().unwrap(), path);
        for (name, value) in fields {
            call = call.header(name, value);
        }
        let reply = call.send().await;

        let verdict = &explained["verdict"];
        assert_eq!(verdict["status"], reply.status.as_u16(), "{path}: {explained:#}");
        assert_eq!(verdict["status"], status, "{path}");
        assert_eq!(text(verdict, "reason"), reason, "{path}: {explained:#}");
        assert_eq!(failed_check(&explained), Some(check), "{path}: {explained:#}");
        assert_eq!(text(verdict, "outcome"), "refused", "{path}");
        if !line.is_empty() {
            let decided = decided_line(&explained);
            assert!(decided.contains(line), "{path}: {decided}");
        }
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_body_over_the_limit_and_a_used_up_budget_are_known_before() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, "").await;
    let good = format!("Bearer {}", gateway.token("alice").await);
    let bearer = ("authorization", good.as_str());

    let large = request("POST", "/posts", &[bearer, ("content-length", "11")]);
    let large = explain(&gateway, &large).await;
    let first = explain(&gateway, &request("GET", "/limited", &[bearer])).await;
    gateway.client().get("/limited").header(bearer.0, bearer.1).send().await.assert_status(200);
    let second = explain(&gateway, &request("GET", "/limited", &[bearer])).await;

    assert_eq!(large["verdict"]["status"], 413);
    assert_eq!(failed_check(&large), Some("body_limit"));
    assert!(decided_line(&large).contains("body_limit"));
    assert_eq!(first["verdict"]["outcome"], "forwarded");
    assert!(text(&first["limits"][0], "state").contains("none left"), "{first:#}");
    assert_eq!(second["verdict"]["status"], 429);
    assert_eq!(failed_check(&second), Some("rate_limit"));
    assert!(decided_line(&second).contains("rate_limit"));
}

#[tokio::test]
async fn a_request_that_is_let_through_is_shown_as_the_upstream_gets_it() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, "").await;
    let token = gateway.token("alice").await;
    let good = format!("Bearer {token}");
    let fields =
        [("authorization", good.as_str()), ("x-auth-roles", "root"), ("cookie", "a=s3cr3t")];

    let explained = explain(&gateway, &request("GET", "/orders/7?x=%20y", &fields)).await;
    let client = gateway.client();
    let mut call = client.get("/orders/7?x=%20y");
    for (name, value) in fields {
        call = call.header(name, value);
    }
    call.send().await.assert_status(200);

    let seen = upstream.only();
    let sent = &explained["upstream"];
    assert_eq!(text(sent, "target"), seen.target);
    assert_eq!(text(sent, "server"), upstream.url());
    assert_eq!(sent["removed"], json!(["authorization"]), "{explained:#}");
    assert_eq!(sent["replaced"], json!(["x-auth-roles"]), "{explained:#}");
    let field = |wanted: &str| {
        let fields = sent["fields"].as_array().unwrap().iter();
        let found = fields.filter(|field| field[0] == wanted).map(|field| field[1].clone());
        found.collect::<Vec<_>>()
    };
    assert_eq!(field("x-auth-roles"), ["admin"], "not the client's");
    assert_eq!(field("x-auth-subject"), [seen.header("x-auth-subject").unwrap()]);
    assert_eq!(field("cookie"), ["…"]);
    assert_eq!(explained["verdict"]["grounds"], "permitted");
    assert_eq!(explained["credential"]["identity"]["username"], "alice");
    let told = explained.to_string();
    assert!(!told.contains(&token) && !told.contains("s3cr3t"), "{explained:#}");
}

#[tokio::test]
async fn a_rule_that_only_observes_is_told_and_the_request_goes_on() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, "").await;
    let good = format!("Bearer {}", gateway.token("alice").await);

    let explained =
        explain(&gateway, &request("GET", "/watched", &[("authorization", &good)])).await;

    assert_eq!(explained["verdict"]["outcome"], "observed");
    assert_eq!(explained["verdict"]["reason"], "not_permitted");
    assert_eq!(failed_check(&explained), Some("require.roles"));
    assert_eq!(explained["upstream"]["upstream"], "api");
}

#[tokio::test]
async fn what_a_dry_run_must_not_find_out_is_said_and_not_guessed() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, "").await;
    let basic = format!("Basic {}", base64_of(&format!("alice:{PASSWORD}")));

    let password =
        explain(&gateway, &request("GET", "/passwords", &[("authorization", &basic)])).await;
    let login = explain(&gateway, &request("POST", "/auth/login", &[])).await;

    assert_eq!(password["verdict"]["outcome"], "undecided");
    assert_eq!(password["verdict"]["status"], Value::Null);
    assert_eq!(failed_check(&password), Some("basic"));
    assert!(text_of_notes(&password).contains("password of `alice` at `staff`"), "{password:#}");
    assert_eq!(login["verdict"]["outcome"], "login");
    assert_eq!(login["routes"][0]["is_taken"], true, "{login:#}");
    assert!(text_of_notes(&login).contains("nothing is tried"), "{login:#}");
    assert!(!password.to_string().contains(&basic[6..]), "the password is not shown");
    // Nor does it say that a password is remembered: that would be a guess that nobody counts.
    gateway.client().get("/passwords").basic("alice", PASSWORD).send().await.assert_status(200);
    let proved =
        explain(&gateway, &request("GET", "/passwords", &[("authorization", &basic)])).await;
    assert_eq!(proved["verdict"], password["verdict"], "{proved:#}");
}

#[tokio::test]
async fn a_user_is_as_logged_in_and_a_key_by_its_id() {
    let upstream = Upstream::start().await;
    let (key, hash) = new_key("robot");
    let section =
        format!("[[api_key]]\nid = \"robot\"\nhash = \"{}\"\nname = \"Robot\"", hash.hex());
    let gateway = start(&upstream, &section).await;
    let as_user = |path: &str, name: &str| {
        let mut asked = request("GET", path, &[]);
        asked.as_user = Some(name.to_owned());
        asked
    };

    let alice = explain(&gateway, &as_user("/orders", "alice@example.com")).await;
    let refused = explain(&gateway, &as_user("/chiefs", "bob")).await;
    let other = explain(&gateway, &as_user("/elsewhere", "bob")).await;
    let disabled = gateway.running().explain(&as_user("/orders", "dora")).await;
    let robot = explain(&gateway, &request("GET", "/keys", &[("x-api-key", key.expose())])).await;

    assert_eq!(alice["credential"]["identity"]["username"], "alice");
    assert_eq!(alice["verdict"]["outcome"], "forwarded", "{alice:#}");
    assert_eq!(refused["verdict"]["reason"], "not_permitted");
    assert_eq!(other["credential"]["identity"]["login"], "other", "a login that the route takes");
    assert!(disabled.unwrap_err().to_string().contains("`dora` is not known, or disabled"));
    assert_eq!(robot["credential"]["kind"], "api_key");
    assert_eq!(robot["verdict"]["outcome"], "forwarded");
    assert!(!robot.to_string().contains(key.expose()));
    let sessions = gateway.running().audit_lines();
    assert!(!sessions.contains("logged_in"), "no session began: {sessions}");
    upstream.assert_untouched();
}

#[tokio::test]
async fn routes_that_lost_say_why() {
    let upstream = Upstream::start().await;
    let gateway = start(
        &upstream,
        "[[route]]\nname = \"host\"\npath = \"/\"\nhosts = [\"a.example\"]\nupstream = \"api\"\n\
         [[route]]\nname = \"root\"\npath = \"/\"\nupstream = \"api\"",
    )
    .await;

    let explained = explain(&gateway, &request("GET", "http://b.example/orders", &[])).await;
    let outer = explain(&gateway, &request("GET", "http://a.example/orders", &[])).await;

    let lost = |explained: &Value, name: &str| {
        let routes = explained["routes"].as_array().unwrap();
        let route = routes.iter().find(|route| route["name"] == name).unwrap();
        (route["is_taken"].as_bool().unwrap(), text(route, "lost_by").to_owned())
    };
    assert_eq!(lost(&explained, "orders"), (true, "-".to_owned()));
    assert_eq!(lost(&explained, "root"), (false, "shorter_path".to_owned()));
    assert_eq!(lost(&explained, "host"), (false, "host".to_owned()));
    assert_eq!(lost(&explained, "chiefs"), (false, "path".to_owned()));
    assert_eq!(lost(&outer, "host"), (true, "-".to_owned()));
    assert_eq!(lost(&outer, "orders"), (false, "outer_host".to_owned()));
}

#[tokio::test]
async fn what_is_answered_before_routes_is_told_with_its_key() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .config("[health]\npath = \"/healthz\"")
        .login("native")
        .route_to(&upstream, "")
        .start()
        .await;

    let health = explain(&gateway, &request("GET", "/healthz", &[])).await;
    let keys = explain(&gateway, &request("GET", "/.well-known/jwks.json", &[])).await;

    for (explained, key) in [(&health, "health.path"), (&keys, "token.jwks_path")] {
        assert_eq!(explained["verdict"]["outcome"], "answered", "{explained:#}");
        assert_eq!(explained["verdict"]["status"], 200);
        assert_eq!(explained["verdict"]["decided_by"]["key"], key);
        assert_eq!(explained["routes"][0]["lost_by"], "earlier", "{explained:#}");
    }
}

#[tokio::test]
async fn an_endpoint_for_strangers_and_the_route_below_it_are_told_apart() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .config("[[login]]\ndialect = \"datarhei\"")
        .route_to(&upstream, "")
        .start()
        .await;
    let path = "/api";
    let mut known = request("GET", path, &[]);
    known.as_user = Some("alice".to_owned());

    let stranger = explain(&gateway, &request("GET", path, &[])).await;
    let known = explain(&gateway, &known).await;

    let taken = |explained: &Value| {
        let routes = explained["routes"].as_array().unwrap().clone();
        let taken = routes.into_iter().find(|route| route["is_taken"] == true).unwrap();
        text(&taken, "kind").to_owned()
    };
    assert_eq!(taken(&stranger), "endpoint", "{stranger:#}");
    assert_eq!(stranger["verdict"]["outcome"], "login");
    assert_eq!(taken(&known), "route", "{known:#}");
    assert_eq!(known["verdict"]["outcome"], "forwarded", "{known:#}");
}

fn text_of_notes(explained: &Value) -> String {
    explained["notes"].to_string()
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}
