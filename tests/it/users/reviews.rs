//! Users change while one of their sources does not answer, or while a password is looked at.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tollhouse::identity::SessionId;
use tollhouse::session::{InjectedFaults, Session, SessionStore, Store};

use crate::credentials::exchange::reload;
use crate::harness::gateway::{STAFF, START, users};
use crate::harness::{Gateway, GatewayBuilder, Postgres, Relay, Reply, Upstream, postgres};
use crate::protocol::streams::{
    EchoWebSocket, Socket, assert_closed, assert_echo, basic, open_with,
};
use crate::users::contract::{ALICE, Account, BOB, PASSWORD};
use crate::users::sql::{Engine, OnPostgres};

/// Users in a database, behind a port that can fall silent; then those of a file.
struct Shop {
    database: String,
    relay: Relay,
    _secret: tempfile::TempDir,
    users: String,
}

impl Shop {
    async fn open(timeout: &str) -> Self {
        let postgres = Postgres::shared().await;
        let insert = OnPostgres::insert(&ALICE);
        let database = postgres.database(&format!("{}; {insert}", OnPostgres::TABLE)).await;
        let (relay, folder) = (Relay::to(postgres.port).await, tempfile::tempdir().unwrap());
        let secret = folder.path().join("url");
        crate::harness::slapd::write_secret(&secret, &postgres::url(relay.port, &database));
        let users = format!(
            "[[users]]\nname = \"shop\"\nkind = \"sql\"\nurl = {{ file = {secret:?} }}\n\
             timeout = \"{timeout}\"\nquery = \"{}\"\n{STAFF}",
            OnPostgres::query("name"),
        );
        Self { database, relay, _secret: folder, users }
    }

    /// The same, where the database thinks for so many seconds about each user, one at a time.
    async fn thinking(seconds: &'static str) -> Self {
        let shop = Self::open("60s").await;
        let query = OnPostgres::query("name");
        let slow = query.replacen("select *", &format!("select *, pg_sleep({seconds})"), 1);
        let users = shop
            .users
            .replace(&query, &slow)
            .replace("timeout = \"60s", "parallel = 1\ntimeout = \"60s");
        Self { users, ..shop }
    }

    fn gateway(&self) -> GatewayBuilder {
        Gateway::builder().moving().with_users(&self.users).login("native")
    }

    async fn replace(&self, account: &Account) {
        let sql = format!("delete from users; {}", OnPostgres::insert(account));
        Postgres::shared().await.execute(&self.database, &sql).await;
    }
}

/// `users.toml` without these: others have their names and ids.
fn without(names: &[&str]) -> String {
    names.iter().fold(users(), |text, name| {
        let id = format!("00000{}\"\nname = \"{name}\"", &name[..1]);
        text.replacen(&id, &id.replace("00000", "00010").replace("= \"", "= \"not-"), 1)
    })
}

async fn log_in(gateway: &Gateway, name: &str) -> Reply {
    let login = json!({ "username": name, "password": PASSWORD });
    let reply = gateway.client().post("/auth/login").json(login).send().await;
    reply.assert_status(200);
    reply
}

async fn call(gateway: &Gateway, login: &Reply) -> u16 {
    let token = login.member("access_token");
    gateway.client().get("/").bearer(&token).send().await.status.as_u16()
}

/// Waits for this status, while the gateway's clock goes on by a second for each try.
async fn comes_to(gateway: &Gateway, login: &Reply, status: u16) {
    for _ in 0..100 {
        if call(gateway, login).await == status {
            return;
        }
        gateway.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never {status}");
}

async fn socket(gateway: &Gateway, name: &str) -> Option<Socket> {
    let value = basic(name, PASSWORD);
    open_with(&gateway.client(), Some(("authorization", value.as_str()))).await.ok()
}

#[tokio::test]
async fn a_start_waits_once_for_a_source_that_is_silent_and_asks_it_again_later() {
    let (mut shop, upstream) = (Shop::open("1s").await, Upstream::start().await);
    let gateway = shop.gateway().route_to(&upstream, "").start().await;
    let mut alices = Vec::new();
    for _ in 0..8 {
        alices.push(log_in(&gateway, "alice").await);
    }
    let bob = log_in(&gateway, "bob").await;
    let dir = gateway.stop().await;
    std::fs::write(dir.path().join("users.toml"), without(&["bob"])).unwrap();
    shop.relay.mute().await;

    let begun = Instant::now();
    let gateway = shop.gateway().on(dir).route_to(&upstream, "").start().await;
    let took = begun.elapsed();

    assert!(took < Duration::from_secs(4), "one time-out of eight: {took:?}");
    assert_eq!(call(&gateway, &bob).await, 401, "who is in a file is known to be gone");
    upstream.assert_untouched();
    assert_eq!(call(&gateway, &alices[0]).await, 200, "nobody said that she is not who she was");
    shop.relay.cut().await;
    shop.relay.mend().await;
    shop.replace(&Account { disabled: true, ..ALICE }).await;
    for alice in &alices {
        comes_to(&gateway, alice, 401).await;
    }
}

#[tokio::test]
async fn a_silent_source_does_not_keep_what_others_have_open() {
    let (mut shop, parrot) = (Shop::open("60s").await, EchoWebSocket::start().await);
    let keys = parrot.config("auth = [\"bearer\", \"basic\"]");
    let gateway = shop.gateway().config(&keys).start().await;
    let mut alice = socket(&gateway, "alice").await.unwrap();
    let by_password = socket(&gateway, "bob").await.unwrap();
    let login = log_in(&gateway, "bob").await;
    log_in(&gateway, "alice").await;
    let bearer = format!("Bearer {}", login.member("access_token"));
    let by_token = open_with(&gateway.client(), Some(("authorization", bearer.as_str()))).await;
    shop.relay.mute().await;

    std::fs::write(gateway.dir().join("users.toml"), without(&["bob"])).unwrap();
    let looks = async {
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            gateway.advance(Duration::from_secs(1));
        }
    };
    let closed = async {
        assert_closed(by_token.unwrap(), "his session has ended").await;
        assert_closed(by_password, "his password is nobody's").await;
    };
    tokio::join!(closed, looks);

    assert_echo(&mut alice, Message::text("still here")).await;
}

#[tokio::test]
async fn who_is_removed_while_his_password_is_looked_at_opens_nothing() {
    let (faults, parrot) =
        (std::sync::Arc::new(InjectedFaults::default()), EchoWebSocket::start().await);
    let keys = parrot.config("auth = [\"basic\"]");
    let gateway = Gateway::builder().moving().faults(&faults).config(&keys).start().await;
    let bob = socket(&gateway, "bob").await.unwrap();
    let synced = faults.synced();
    let held = async {
        // His try is counted; that it was right is not written yet.
        while faults.synced() == synced {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        faults.hold_syncs(true);
        tokio::time::sleep(Duration::from_secs(1)).await;
        std::fs::write(gateway.dir().join("users.toml"), without(&["alice", "bob"])).unwrap();
        let looks = async {
            for _ in 0..40 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                gateway.advance(Duration::from_secs(1));
            }
        };
        tokio::join!(assert_closed(bob, "no password is known any more"), looks);
        faults.hold_syncs(false);
    };

    let (alice, ()) = tokio::join!(socket(&gateway, "alice"), held);

    assert!(alice.is_none(), "no review of that change would end what she opens now");
}

#[tokio::test]
async fn whose_source_is_removed_while_a_password_is_looked_at_gets_no_session_and_opens_nothing() {
    let (faults, parrot) =
        (std::sync::Arc::new(InjectedFaults::default()), EchoWebSocket::start().await);
    let keys = parrot.config("auth = [\"bearer\", \"basic\"]");
    let guests = "[[users]]\nname = \"guests\"\nkind = \"file\"\npath = \"users.toml\"\n";
    let staff = "[[users]]\nname = \"staff\"\nkind = \"file\"\npath = \"staff.toml\"\n";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("staff.toml"), without(&["alice", "bob"])).unwrap();
    std::fs::write(dir.path().join("users.toml"), users()).unwrap();
    let builder = Gateway::builder().with_users(&format!("{staff}{guests}")).login("native");
    let builder = builder.moving().on(dir).faults(&faults);
    let gateway = builder.config(&keys).start().await;
    let by_password = socket(&gateway, "bob").await.unwrap();
    let synced = faults.synced();
    let held = async {
        // One try is counted; neither has been found right.
        while faults.synced() == synced {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        faults.hold_syncs(true);
        tokio::time::sleep(Duration::from_secs(1)).await;
        reload(&gateway, guests, "");
        // The reviews after the reload have begun, and found what there was.
        assert_closed(by_password, "no source knows this user").await;
        faults.hold_syncs(false);
    };
    let alice = async {
        let login = json!({ "username": "alice", "password": PASSWORD });
        gateway.client().post("/auth/login").json(login).send().await
    };

    // Not bob, whose password is remembered.
    let (alice, opened, ()) = tokio::join!(alice, socket(&gateway, "alice"), held);

    assert_eq!(alice.status, 401, "no review would end this session now");
    assert!(opened.is_none(), "no review would end what this password opens now");
}

/// More sessions like the one that is there, in the store that a gateway left.
async fn multiply(dir: &std::path::Path, more: usize) {
    let store = crate::store::samples::open(&dir.join("state"));
    let one = store.page(None, START).await.unwrap().sessions.remove(0);
    for _ in 0..more {
        let another = Session { id: SessionId::new(START), ..one.clone() };
        store.put(another, NonZeroUsize::MAX, START).await.unwrap();
    }
    store.close().await;
}

#[tokio::test]
async fn a_start_asks_once_about_a_user_with_many_sessions() {
    let (shop, upstream) = (Shop::thinking("0.3").await, Upstream::start().await);
    let gateway = shop.gateway().route_to(&upstream, "").start().await;
    let alice = log_in(&gateway, "alice").await;
    let dir = gateway.stop().await;
    multiply(dir.path(), 99).await;

    let begun = Instant::now();
    let gateway = shop.gateway().on(dir).route_to(&upstream, "").start().await;

    let took = begun.elapsed();
    assert!(took < Duration::from_secs(8), "thirty seconds, one session after another: {took:?}");
    assert_eq!(call(&gateway, &alice).await, 200);
}

#[tokio::test]
async fn a_start_does_not_wait_for_a_slow_source_and_refuses_whom_it_did_not_reach() {
    let (shop, upstream) = (Shop::thinking("1.5").await, Upstream::start().await);
    let others = [ALICE, BOB].map(|account| OnPostgres::insert(&account)).concat();
    Postgres::shared().await.execute(&shop.database, &format!("delete from users; {others}")).await;
    let gateway = shop.gateway().route_to(&upstream, "").start().await;
    let (alice, bob) = (log_in(&gateway, "alice").await, log_in(&gateway, "bob").await);
    let dir = gateway.stop().await;
    let gone = Account { disabled: true, ..BOB };
    let changed = [ALICE, gone].map(|account| OnPostgres::insert(&account)).concat();
    Postgres::shared()
        .await
        .execute(&shop.database, &format!("delete from users; {changed}"))
        .await;
    let seen = upstream.received().len();

    let builder = shop.gateway().on(dir).review_for(Duration::from_millis(200));
    let gateway = builder.route_to(&upstream, "").start().await;

    for login in [&alice, &bob] {
        let token = login.member("access_token");
        let reply = gateway.client().get("/").bearer(&token).send().await;
        reply.assert_status(503).assert_code("unavailable");
    }
    assert_eq!(upstream.received().len(), seen, "nobody knows yet who may come in");
    comes_to(&gateway, &alice, 200).await;
    comes_to(&gateway, &bob, 401).await;
}
