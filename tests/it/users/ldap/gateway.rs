//! Logins, refreshes and outages as clients see them.

use serde_json::json;

use super::GROUPS;
use crate::harness::gateway::PASSWORD;
use crate::harness::slapd::{dn, id};
use crate::harness::{Client, Gateway, Reply, Slapd, Upstream};

/// A gateway whose users are in the directory; `/` demands the role `admin`.
async fn start(section: &str, upstream: &Upstream) -> Gateway {
    Gateway::builder()
        .with_users(section)
        .login("native")
        .route_to(upstream, "require = { roles = [\"admin\"] }")
        .start()
        .await
}

async fn log_in(gateway: &Gateway, name: &str, password: &str) -> Reply {
    let login = json!({ "username": name, "password": password });
    gateway.client().post("/auth/login").json(login).send().await
}

async fn refresh(gateway: &Gateway, login: &Reply) -> Reply {
    let body = json!({ "refresh_token": login.member("refresh_token") });
    gateway.client().post("/auth/refresh").json(body).send().await
}

async fn call(gateway: &Gateway, login: &Reply) -> Reply {
    gateway.client().get("/").bearer(&login.member("access_token")).send().await
}

#[tokio::test]
async fn groups_of_the_directory_decide_what_a_user_may() {
    let (slapd, upstream) = (Slapd::start(), Upstream::start().await);
    let gateway = start(&slapd.section(GROUPS), &upstream).await;

    let bob = log_in(&gateway, "bob", PASSWORD).await;
    call(&gateway, &bob).await.assert_status(403);
    upstream.assert_untouched();
    let alice = log_in(&gateway, "alice", PASSWORD).await;
    call(&gateway, &alice).await.assert_status(200);

    let seen = upstream.only();
    assert_eq!(seen.header("x-auth-subject"), Some(id('a').as_str()), "the lasting id");
    assert_eq!(seen.header("x-auth-username"), Some("alice"));
    assert_eq!(seen.header("x-auth-roles"), Some("admin,developer,tester"));
    assert_eq!(seen.header("x-auth-source"), Some("directory"));
}

#[tokio::test]
async fn every_refusal_is_the_same_to_the_client() {
    let (slapd, upstream) = (Slapd::start(), Upstream::start().await);
    let keys = "disabled_filter = \"(employeeType=retired)\"";
    let gateway = start(&slapd.section(keys), &upstream).await;
    let wrong = log_in(&gateway, "alice", "not it").await;
    wrong.assert_status(401);

    for (name, password, why) in [
        ("nobody", PASSWORD, "an unknown user"),
        ("dora", PASSWORD, "a disabled user"),
        ("nopw", PASSWORD, "a user without a password"),
        ("*", PASSWORD, "a filter that matches all"),
        ("alice)(uid=*", PASSWORD, "a filter that matches one"),
        ("alice\0", PASSWORD, "NUL after a name"),
        ("alice", "correct horse battery\0", "NUL after a password"),
    ] {
        let reply = log_in(&gateway, name, password).await;

        let told = |reply: &Reply| {
            (reply.status, reply.member("code"), reply.member("detail"), reply.body.len())
        };
        assert_eq!(told(&reply), told(&wrong), "{why}");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn an_empty_password_never_reaches_the_directory() {
    let (slapd, upstream) =
        (Slapd::start_with("allow bind_anon_cred bind_anon_dn"), Upstream::start().await);
    let gateway = start(&slapd.section(""), &upstream).await;
    log_in(&gateway, "alice", PASSWORD).await.assert_status(200);
    let before = slapd.binds(&dn("alice"));

    let reply = log_in(&gateway, "alice", "").await;

    assert!(reply.status.is_client_error(), "{reply:?}");
    assert_eq!((before, slapd.binds(&dn("alice"))), (1, 1), "{}", slapd.log());
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_directory_that_dies_is_503_until_it_is_back() {
    let (mut slapd, upstream) = (Slapd::start(), Upstream::start().await);
    let gateway = start(&slapd.section(GROUPS), &upstream).await;
    let login = log_in(&gateway, "alice", PASSWORD).await;
    login.assert_status(200);

    slapd.kill();
    let while_down = [
        log_in(&gateway, "alice", PASSWORD).await,
        log_in(&gateway, "alice", "not it").await,
        log_in(&gateway, "nobody", PASSWORD).await,
        refresh(&gateway, &login).await,
    ];
    call(&gateway, &login).await.assert_status(200);
    let admin = Client::plain(gateway.running().admin_address().unwrap());
    let ready = admin.get("/readyz?verbose").send().await;
    slapd.run();

    for reply in &while_down {
        reply.assert_status(503).assert_code("unavailable");
    }
    let told = ready.assert_status(200).text();
    assert!(told.contains("note: users: `directory`"), "{told}");
    log_in(&gateway, "alice", PASSWORD).await.assert_status(200);
    log_in(&gateway, "alice", "not it").await.assert_status(401);
    refresh(&gateway, &login).await.assert_status(200);
}

#[tokio::test]
async fn a_user_who_loses_a_group_loses_the_session_at_the_next_refresh() {
    let (slapd, upstream) = (Slapd::start(), Upstream::start().await);
    let gateway = start(&slapd.section(GROUPS), &upstream).await;
    let login = log_in(&gateway, "alice", PASSWORD).await;
    let other = log_in(&gateway, "bob", PASSWORD).await;
    call(&gateway, &login).await.assert_status(200);
    slapd.modify(
        "dn: cn=dev,ou=groups,dc=example\nchangetype: modify\ndelete: member\n\
         member: uid=alice,ou=people,dc=example\n",
    );

    refresh(&gateway, &login).await.assert_status(401);
    let after = call(&gateway, &login).await;

    after.assert_status(401);
    assert_eq!(upstream.received().len(), 1, "only the call before");
    refresh(&gateway, &other).await.assert_status(200);
    let again = log_in(&gateway, "alice", PASSWORD).await;
    call(&gateway, &again).await.assert_status(200);
    assert_eq!(upstream.last().header("x-auth-roles"), Some("admin"));
}

#[tokio::test]
async fn a_changed_password_and_a_removed_user_end_sessions_at_the_next_refresh() {
    let (slapd, upstream) = (Slapd::start(), Upstream::start().await);
    let gateway = start(&slapd.section(""), &upstream).await;
    let alice = log_in(&gateway, "alice", PASSWORD).await;
    let bob = log_in(&gateway, "bob", PASSWORD).await;
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: userPassword\nuserPassword: another\n\n\
         dn: {}\nchangetype: delete\n",
        dn("alice"),
        dn("bob")
    ));

    refresh(&gateway, &alice).await.assert_status(401);
    refresh(&gateway, &bob).await.assert_status(401);

    log_in(&gateway, "alice", "another").await.assert_status(200);
    log_in(&gateway, "bob", PASSWORD).await.assert_status(401);
    upstream.assert_untouched();
}

#[tokio::test]
async fn the_next_source_is_asked_in_its_stead_only_where_that_is_said() {
    let (mut slapd, upstream) = (Slapd::start(), Upstream::start().await);
    let file = "[[users]]\nname = \"staff\"\nkind = \"file\"\npath = \"users.toml\"\n";
    let honest = start(&(slapd.section("") + file), &upstream).await;
    let section = slapd.section("on_unavailable = \"next\"") + file;
    let lenient = start(&section, &upstream).await;
    log_in(&lenient, "bob", "not it").await.assert_status(401);
    slapd.kill();

    log_in(&honest, "bob", PASSWORD).await.assert_status(503);
    let reply = log_in(&lenient, "bob", PASSWORD).await;

    reply.assert_status(200);
    call(&lenient, &reply).await.assert_status(403);
    upstream.assert_untouched();
}
