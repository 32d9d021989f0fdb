//! Places: at logins, and at each source of users.

use futures_util::future::join_all;
use serde_json::json;

use super::{Sender, TWO_LOGINS, guess, live_a_session};
use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Relay, Reply, Slapd, Upstream};

/// A gateway whose directory is at `port`.
async fn gateway(slapd: &Slapd, port: u16, keys: &str, upstream: &Upstream) -> Gateway {
    let directory = slapd.section_at(&format!("ldap://127.0.0.1:{port}"), "tls = \"none\"");
    Gateway::builder()
        .process("drain_timeout = \"0s\"")
        .listener("limits = { connections_per_address = 2000 }")
        .config(&directory)
        .config(TWO_LOGINS)
        .config(keys)
        .route_to(upstream, "auth = [\"bearer\", \"basic\"]\nusers = [\"directory\"]")
        .start()
        .await
}

#[tokio::test]
async fn one_stranger_does_not_hold_all_login_places() {
    let (slapd, upstream) = (Slapd::start(), Upstream::start().await);
    // The directory takes connections and never says anything.
    let mut relay = Relay::to(slapd.plain).await;
    let limits = "[login_limits]\nper_address = { attempts = 100000, per = \"10m\" }";
    let gateway = gateway(&slapd, relay.port, limits, &upstream).await;
    relay.mute().await;

    // More guesses at once than there are places for logins, each on a connection of its own.
    let guessing = (0..1100).map(|number| {
        let to = gateway.address();
        tokio::task::spawn(async move {
            let body = guess(&format!("ghost-{number}"));
            Sender::http1(to).await.post("/dir/auth/login", &body).await.unwrap().as_u16()
        })
    });
    let guessing: Vec<_> = guessing.collect();
    for _ in 0..5 {
        live_a_session(&gateway.client(), "/file", "alice").await;
    }

    let refused: Vec<u16> = join_all(guessing).await.into_iter().map(Result::unwrap).collect();
    assert!(refused.iter().all(|status| matches!(status, 429 | 503)), "{refused:?}");
    let busy = refused.iter().filter(|status| **status == 429).count();
    assert!(busy > 900, "one client has a share of the places: {busy} were refused at once");
    upstream.assert_untouched();
}

#[tokio::test]
async fn over_its_limit_an_address_is_no_search_at_the_directory() {
    let (slapd, upstream) = (Slapd::start(), Upstream::start().await);
    let limits = "[login_limits]\nper_address = { attempts = 6, per = \"10m\" }";
    let gateway = gateway(&slapd, slapd.plain, limits, &upstream).await;
    live_a_session(&gateway.client(), "/dir", "alice").await;
    let before = searches(&slapd);

    let mut sender = Sender::http1(gateway.address()).await;
    for number in 0..30 {
        let body = guess(&format!("ghost-{number}"));
        let status = sender.post("/dir/auth/login", &body).await.unwrap();
        assert_eq!(status, if number < 6 { 401 } else { 429 }, "guess {number}");
    }

    assert_eq!(searches(&slapd) - before, 6, "{}", slapd.log());
    live_a_session(&gateway.client(), "/dir", "alice").await;
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_locked_account_is_no_way_to_search_without_end() {
    let (slapd, upstream) = (Slapd::start(), Upstream::start().await);
    let limits = "[login_limits]\nper_account = { attempts = 2, per = \"10m\" }\n\
                  per_address = { attempts = 10, per = \"10m\" }";
    let gateway = gateway(&slapd, slapd.plain, limits, &upstream).await;
    let before = searches(&slapd);

    let mut sender = Sender::http1(gateway.address()).await;
    for _ in 0..30 {
        sender.post("/dir/auth/login", &guess("bob")).await.unwrap();
    }

    assert_eq!(searches(&slapd) - before, 10, "as many as the address has tries");
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_sick_source_does_not_hold_anothers_users() {
    let (slapd, upstream) = (Slapd::start(), Upstream::start().await);
    let mut relay = Relay::to(slapd.plain).await;
    let gateway = gateway(&slapd, relay.port, "", &upstream).await;
    relay.mute().await;

    // From as many addresses as it takes to have all places at the directory.
    let login = json!({ "username": "alice", "password": PASSWORD });
    let held = (10..40).flat_map(|last| [last; 4]).map(|last| {
        let (gateway, login) = (&gateway, login.clone());
        async move {
            let source = format!("127.0.0.{last}");
            crate::security::post_from(&source, gateway, "/dir/auth/login", login).await
        }
    });
    let others = async {
        for _ in 0..5 {
            live_a_session(&gateway.client(), "/file", "bob").await;
        }
    };
    let (held, ()) = tokio::join!(join_all(held), others);

    let causes = |reply: &Reply| reply.status.as_u16();
    assert!(held.iter().all(|reply| matches!(causes(reply), 429 | 503)), "{held:?}");
    let at_once = held.iter().filter(|reply| reply.header("retry-after").is_some()).count();
    // How many depends on how quickly they come: a place is free again after the time-out.
    assert!(at_once >= 10, "more than the places are refused at once: {at_once}");
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_long_name_is_refused_before_it_is_folded() {
    let (slapd, upstream) = (Slapd::start(), Upstream::start().await);
    let limits = "[login_limits]\nper_address = { attempts = 3, per = \"10m\" }";
    let gateway = gateway(&slapd, slapd.plain, limits, &upstream).await;
    let before = searches(&slapd);
    // One letter of 3 bytes that folds to 18: 5,000 of them are 90,000 letters.
    let long = "\u{fdfa}".repeat(5000);
    let just_too_long = "a".repeat(255);

    let login = |name: &str| json!({ "username": name, "password": PASSWORD });
    let client = gateway.client();
    let wrong = client.post("/file/auth/login").json(login(&long)).send().await;
    wrong.assert_status(401).assert_code("invalid_credentials");
    let wrong = client.post("/dir/auth/login").json(login(&just_too_long)).send().await;
    wrong.assert_status(401).assert_code("invalid_credentials");
    client.get("/").basic(&just_too_long, PASSWORD).send().await.assert_status(401);

    // They were counted, and by the address.
    client.post("/file/auth/login").json(login(&long)).send().await.assert_status(429);
    client.get("/").basic("alice", PASSWORD).send().await.assert_status(429);
    assert_eq!(before, searches(&slapd), "nobody was asked");
    let audit = gateway.running().audit_lines();
    assert!(audit.len() < 20_000, "the name is not written down: {} bytes", audit.len());
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_code_for_a_long_name_is_a_wrong_code() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;

    let code = json!({ "username": "a".repeat(255), "code": "123456", "ticket": "x" });
    let reply = gateway.client().post("/auth/verify").json(code).send().await;

    reply.assert_status(401).assert_code("code_invalid");
    upstream.assert_untouched();
}

/// How often somebody was searched for.
fn searches(slapd: &Slapd) -> usize {
    slapd.log().matches("SRCH base=\"ou=people,dc=example\"").count()
}
