//! Logins that a legacy system decides: in every dialect that it may speak, through whole gateways.

mod imports;
mod kept;
mod kept_apart;
mod legacy;
mod nonsense;
mod spoken;
mod tried;
mod twins;

use serde_json::{Value, json};
use tollhouse::clock::{Clock, TestClock};
use tollhouse::identity::{IdRule, IdRules, UserId};
use tollhouse::session::{AccountStore, EmbeddedOptions, EmbeddedStore, Store};

use self::legacy::Webitel;
use crate::harness::certs::Certificate;
use crate::harness::gateway::{PASSWORD, START, hash_of};
use crate::harness::{Gateway, GatewayBuilder, Reply, Upstream};

/// A gateway with these sections of users and the native login.
pub fn front(users: &str) -> GatewayBuilder {
    Gateway::builder().with_users(users).login("native")
}

/// The keys of `[token]` of a legacy system.
const LEGACY_TOKEN: &str = "issuer = \"https://legacy.example\"\naudience = [\"legacy\"]";

/// A section of delegated users.
pub fn http(url: &str, dialect: &str, keys: &str) -> String {
    format!(
        "[[users]]\nname = \"legacy\"\nkind = \"http\"\nurl = \"{url}\"\ndialect = \"{dialect}\"\n{keys}\n"
    )
}

pub async fn log_in(gateway: &Gateway, name: &str, password: &str) -> Reply {
    let login = json!({ "username": name, "password": password });
    gateway.client().post("/auth/login").json(login).send().await
}

pub async fn refresh(gateway: &Gateway, session: &Reply) -> Reply {
    let token = json!({ "refresh_token": session.member("refresh_token") });
    gateway.client().post("/auth/refresh").json(token).send().await
}

/// What the upstream is told of the caller.
async fn identity(gateway: &Gateway, upstream: &Upstream, session: &Reply) -> [Option<String>; 3] {
    let call = gateway.client().get("/").bearer(&session.member("access_token")).send().await;
    call.assert_status(200);
    let seen = upstream.last();
    ["x-auth-subject", "x-auth-username", "x-auth-roles"]
        .map(|name| seen.header(name).map(str::to_owned))
}

#[tokio::test]
async fn a_login_is_delegated_in_every_dialect_that_can_carry_it() {
    let upstream = Upstream::start().await;
    let legacy = ["webitel", "datarhei", "aviate", "nomic", "native"]
        .iter()
        .fold(Gateway::builder(), |gateway, dialect| gateway.login(dialect))
        .start()
        .await;
    for (dialect, name, roles) in [
        ("webitel", "alice", Some("admin")),
        ("datarhei", "alice", None),
        ("aviate", "alice@example.com", None),
        ("nomic", "alice", None),
        ("native", "alice", None),
    ] {
        let url = format!("http://{}", legacy.address());
        let gateway = front(&http(&url, dialect, "")).route_to(&upstream, "").start().await;

        let session = log_in(&gateway, name, PASSWORD).await;

        session.assert_status(200);
        let [subject, username, told] = identity(&gateway, &upstream, &session).await;
        assert_eq!(username.as_deref().map(|name| name.replace("%40", "@")), Some(name.to_owned()));
        assert_eq!(told.filter(|roles| !roles.is_empty()).as_deref(), roles, "{dialect}");
        refresh(&gateway, &session).await.assert_status(200);
        let again = log_in(&gateway, name, PASSWORD).await;
        assert_eq!(
            identity(&gateway, &upstream, &again).await[0],
            subject,
            "{dialect}: one person"
        );
        let seen = upstream.received().len();
        for (name, password) in
            [(name, "wrong"), ("nobody@example.com", PASSWORD), ("dora", PASSWORD), (name, "")]
        {
            let refused = log_in(&gateway, name, password).await;
            let status = if password.is_empty() { 400 } else { 401 };
            assert_eq!(refused.status.as_u16(), status, "{dialect}: {}", refused.text());
        }
        assert_eq!(upstream.received().len(), seen, "{dialect}");
        let logs = gateway.running().access_lines() + &gateway.running().audit_lines();
        assert!(!logs.contains(PASSWORD) && !logs.contains("eyJ"), "{logs}");
    }
}

#[tokio::test]
async fn a_legacy_system_that_dies_and_comes_back_is_503_and_never_401() {
    let upstream = Upstream::start().await;
    let port = crate::harness::process::free_port();
    let builder = |port: u16| {
        let listener = format!("[[listener]]\naddress = \"127.0.0.1:{port}\"");
        Gateway::builder().listeners(&listener).token(LEGACY_TOKEN).login("datarhei")
    };
    let legacy = builder(port).start().await;
    let url = format!("http://127.0.0.1:{port}");
    let gateway = front(&http(&url, "datarhei", "")).route_to(&upstream, "").start().await;
    let session = log_in(&gateway, "alice", PASSWORD).await;
    session.assert_status(200);

    let dir = legacy.stop().await;
    for password in [PASSWORD, "wrong"] {
        log_in(&gateway, "alice", password).await.assert_status(503).assert_code("unavailable");
    }
    log_in(&gateway, "nobody", PASSWORD).await.assert_status(503);
    // Who is in stays in: the store remembers him.
    refresh(&gateway, &session).await.assert_status(200);
    let ready = gateway.running().admin_address().unwrap();
    let ready = crate::harness::Client::plain(ready).get("/readyz?verbose").send().await;
    assert!(ready.text().contains("legacy"), "{}", ready.text());

    let _legacy = builder(port).on(dir).start().await;
    log_in(&gateway, "alice", PASSWORD).await.assert_status(200);
    log_in(&gateway, "alice", "wrong").await.assert_status(401);
    upstream.assert_untouched();
}

#[tokio::test]
async fn only_the_configured_authority_is_believed() {
    let upstream = Upstream::start().await;
    let dir = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(dir.path(), "legacy", &["localhost"]);
    let other = Certificate::make(dir.path(), "other", &["localhost"]);
    let builder = Gateway::builder().tls(&certificate, "").token(LEGACY_TOKEN);
    let legacy = builder.login("nomic").start().await;
    let url = format!("https://localhost:{}", legacy.address().port());
    for (keys, status) in [
        (format!("ca = {:?}", certificate.chain), 200),
        (format!("ca = {:?}", other.chain), 503),
        (String::new(), 503),
    ] {
        let gateway = front(&http(&url, "nomic", &keys)).route_to(&upstream, "").start().await;
        log_in(&gateway, "alice", PASSWORD).await.assert_status(status);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn who_it_is_is_taken_from_where_the_configuration_says() {
    let upstream = Upstream::start().await;
    let legacy = Webitel::start().await;
    legacy.add(
        "ann",
        PASSWORD,
        json!({ "user": { "id": 17, "groups": ["dev", "ops", 3] }, "tenant": "acme" }),
    );
    legacy.add("bob", PASSWORD, json!({ "user": { "id": 18, "groups": [] } }));
    legacy.add("eve", PASSWORD, json!({ "user": {} }));
    let map = "role_names = { dev = \"developer\", 3 = \"third\" }\ndefault_roles = [\"guest\"]\n\
               map = { id = \"answer.user.id\", roles = \"answer.user.groups\", claims = { tenant = \"answer.tenant\" } }";
    let gateway = front(&http(&legacy.url(), "webitel", map))
        .route_to(&upstream, "request_headers = { set = { X-Tenant = \"$claims.tenant\" } }")
        .start()
        .await;

    let ann = log_in(&gateway, "Ann", PASSWORD).await;
    let rules = IdRules::new([("legacy".to_owned(), IdRule::Local)]);
    let [seventeen, eighteen] = ["17", "18"].map(|id| rules.subject("legacy", &UserId::new(id)));
    assert_eq!(
        identity(&gateway, &upstream, &ann).await,
        [Some(seventeen.to_string()), Some("ann".into()), Some("developer,third".into())],
        "a role that is not in the table gives nothing, and the name is the system's"
    );
    assert_eq!(upstream.last().header("x-tenant"), Some("acme"));
    let bob = log_in(&gateway, "bob", PASSWORD).await;
    let [subject, _, roles] = identity(&gateway, &upstream, &bob).await;
    assert_eq!((subject.as_deref(), roles.as_deref()), (Some(eighteen.as_str()), Some("guest")));
    // An id that has a place must stand there: another one would be another person.
    log_in(&gateway, "eve", PASSWORD).await.assert_status(503);
}

#[tokio::test]
async fn the_first_source_that_knows_a_name_decides() {
    let upstream = Upstream::start().await;
    let legacy = Webitel::start().await;
    legacy.add("alice", "legacy password", json!({}));
    let file = "[[users]]\nname = \"staff\"\nkind = \"file\"\npath = \"users.toml\"\n";
    let sections =
        |dialect: &str, keys: &str| format!("{}{file}", http(&legacy.url(), dialect, keys));

    // A dialect that tells unknown users: alice of the file is never reached, bob is.
    let telling = front(&sections("webitel", "")).route_to(&upstream, "").start().await;
    log_in(&telling, "alice", PASSWORD).await.assert_status(401);
    log_in(&telling, "alice", "legacy password").await.assert_status(200);
    log_in(&telling, "bob", PASSWORD).await.assert_status(200);
    legacy.down(true);
    log_in(&telling, "bob", PASSWORD).await.assert_status(503);
    let next = front(&sections("webitel", "on_unavailable = \"next\"")).start().await;
    log_in(&next, "bob", PASSWORD).await.assert_status(200);
    legacy.down(false);

    // One that does not: whoever was let in before is known, and nobody else.
    let other = Gateway::builder()
        .users(&format!(
            "[[user]]\nname = \"alice\"\npassword = \"{}\"\n",
            hash_of("legacy password")
        ))
        .login("nomic")
        .start()
        .await;
    let url = format!("http://{}", other.address());
    let sections = format!("{}{file}", http(&url, "nomic", ""));
    let quiet = front(&sections).start().await;
    log_in(&quiet, "bob", PASSWORD).await.assert_status(200);
    log_in(&quiet, "alice", PASSWORD).await.assert_status(200);
    log_in(&quiet, "alice", "legacy password").await.assert_status(200);
    log_in(&quiet, "alice", PASSWORD).await.assert_status(401);
    upstream.assert_untouched();
}

#[tokio::test]
async fn what_the_legacy_system_forgets_or_changes_ends_the_sessions_here() {
    let legacy = Webitel::start().await;
    legacy.add("ann", PASSWORD, json!({ "role": 1 }));
    let gateway = front(&http(&legacy.url(), "webitel", "")).start().await;
    let first = log_in(&gateway, "ann", PASSWORD).await;
    log_in(&gateway, "ann", PASSWORD).await.assert_status(200);
    let first = refreshed(&gateway, &first).await;

    // Somebody else's guess, and the same name in capitals, change nothing: the system is asked for
    // the name that it let in.
    log_in(&gateway, "ann", "guess").await.assert_status(401);
    legacy.tell_case_apart(true);
    log_in(&gateway, "ANN", "guess").await.assert_status(401);
    log_in(&gateway, "ANN", PASSWORD).await.assert_status(200);
    let first = refreshed(&gateway, &first).await;

    legacy.add("ann", PASSWORD, json!({ "role": 0 }));
    let second = log_in(&gateway, "ann", PASSWORD).await;
    refresh(&gateway, &first).await.assert_status(401);
    let second = refreshed(&gateway, &second).await;

    legacy.remove("ann");
    log_in(&gateway, "ann", PASSWORD).await.assert_status(401);
    refresh(&gateway, &second).await.assert_status(401);
}

#[tokio::test]
async fn however_a_system_spells_a_name_it_is_one_user() {
    let (upstream, legacy) = (Upstream::start().await, Webitel::start().await);
    let gateway = front(&http(&legacy.url(), "webitel", "")).route_to(&upstream, "").start().await;
    let subject = async |typed: &str, told: &str| {
        legacy.add("ann", PASSWORD, json!({ "username": told }));
        let session = log_in(&gateway, typed, PASSWORD).await;
        identity(&gateway, &upstream, &session).await[0].clone()
    };

    let first = subject("ann", "ann").await;

    assert_eq!(subject("ANN", "ANN").await, first, "with the second step of the first");
    assert_eq!(subject("ann", "Ann ").await, first);
    assert_ne!(subject("ann", "anne").await, first);
}

#[tokio::test]
async fn an_id_that_was_made_of_a_name_to_the_letter_stays() {
    let (upstream, legacy) = (Upstream::start().await, Webitel::start().await);
    legacy.add("Ann", PASSWORD, json!({}));
    let name = b"tollhouse legacy user 6:legacyAnn";
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name).to_string();
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let clock = Clock::test(TestClock::new(START));
    let options = EmbeddedOptions { clock, ..crate::store::samples::options(&state) };
    let store = EmbeddedStore::open(options).unwrap();
    let known = crate::store::samples::account("legacy", &id, "ann");
    let known = tollhouse::session::KnownAccount { name: "Ann".to_owned(), ..known };
    store.put_account(known).await.unwrap();
    store.close().await;
    drop(store);
    let front = front(&http(&legacy.url(), "webitel", "")).route_to(&upstream, "");
    let gateway = front.moving().on(dir).start().await;

    let session = log_in(&gateway, "ANN", PASSWORD).await;

    assert_eq!(identity(&gateway, &upstream, &session).await[0], Some(id));
}

/// The session after a refresh that succeeded.
pub async fn refreshed(gateway: &Gateway, session: &Reply) -> Reply {
    let reply = refresh(gateway, session).await;
    reply.assert_status(200);
    reply
}

/// Claims of an access token, unverified.
pub fn claims(token: &str) -> Value {
    use base64::Engine;
    let payload = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}
