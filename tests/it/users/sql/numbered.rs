//! Two sources that number their users: the same number is not the same user.

use http::Method;
use serde_json::{Value, json};
use tollhouse::admin::client;

use super::{Engine, OnSqlite};
use crate::harness::gateway::STAFF;
use crate::harness::{Gateway, Reply, Upstream};
use crate::users::contract::{ALICE, BOB, PASSWORD};

async fn gateway() -> (Gateway, [OnSqlite; 2]) {
    let shops = [OnSqlite::with(&[ALICE]).await, OnSqlite::with(&[BOB]).await];
    let mut users = String::new();
    for (name, shop) in ["first", "second"].iter().zip(&shops) {
        users += &format!(
            "[[users]]\nname = \"{name}\"\nkind = \"sql\"\nurl = \"{}\"\n\
             query = \"select 7 as id, name, password from users where name = $1\"\n",
            shop.url()
        );
    }
    (Gateway::builder().with_users(&users).login("webitel").start().await, shops)
}

async fn ask(gateway: &Gateway, path: &str, body: Value) -> (u16, Value) {
    let socket = gateway.running().admin_socket();
    let (status, answer) = client::call(socket, Method::POST, path, Some(body)).await.unwrap();
    (status.as_u16(), answer)
}

async fn log_in(gateway: &Gateway, name: &str, password: &str) -> Reply {
    let login = json!({ "username": name, "password": password });
    gateway.client().post("/login").json(login).send().await
}

#[tokio::test]
async fn a_second_step_is_of_one_of_them() {
    let (gateway, _shops) = gateway().await;

    assert_eq!(ask(&gateway, "/totp", json!({ "user": "alice" })).await.0, 200);

    let alice = log_in(&gateway, "alice", PASSWORD).await;
    assert!(alice.status != 200, "she has a second step: {}", alice.text());
    log_in(&gateway, "bob", PASSWORD).await.assert_status(200);
    let removed = ask(&gateway, "/totp/remove", json!({ "user": "bob" })).await;
    assert_eq!(removed.0, 404, "he has none");
    let id = json!({ "user": "0192f0c1-0000-7000-8000-00000000000a" });
    assert_eq!(ask(&gateway, "/totp/remove", id).await.0, 409, "of which source?");
}

#[tokio::test]
async fn guesses_at_one_do_not_lock_the_other_and_are_lifted_by_name() {
    let (gateway, _shops) = gateway().await;
    for _ in 0..10 {
        log_in(&gateway, "alice", "a guess").await.assert_status(401);
    }

    log_in(&gateway, "alice", PASSWORD).await.assert_status(429);
    log_in(&gateway, "bob", PASSWORD).await.assert_status(200);
    assert_eq!(ask(&gateway, "/limits/lift", json!({ "name": "alice" })).await.0, 200);
    log_in(&gateway, "alice", PASSWORD).await.assert_status(200);
}

const ALICE_ID: &str = "0192f0c1-0000-7000-8000-00000000000a";

/// Users in a database who say what their ids are, before those of a file.
async fn beside_the_file(upstream: &Upstream, id: &str, keys: &str) -> (Gateway, OnSqlite) {
    let shop = OnSqlite::with(&[BOB]).await;
    let users = format!(
        "[[users]]\nname = \"shop\"\nkind = \"sql\"\nurl = \"{}\"\n{keys}\n\
         query = \"select '{id}' as id, 'mallory' as name, password from users where $1 = 'mallory'\"\n{STAFF}",
        shop.url()
    );
    let limits = "[login_limits]\nsessions_per_user = 2";
    let builder = Gateway::builder().with_users(&users).config(limits);
    (builder.login("native").route_to(upstream, "").start().await, shop)
}

async fn call(gateway: &Gateway, token: &str) -> u16 {
    gateway.client().get("/").bearer(token).send().await.status.as_u16()
}

#[tokio::test]
async fn an_id_that_a_user_chose_makes_nobody_an_administrator() {
    let upstream = Upstream::start().await;
    let (gateway, _shop) = beside_the_file(&upstream, ALICE_ID, "").await;
    let (alice, mallory) = (gateway.token("alice").await, gateway.token("mallory").await);
    let subject = async |token: &str| {
        assert_eq!(call(&gateway, token).await, 200);
        upstream.last().header("x-auth-subject").unwrap().to_owned()
    };
    assert_eq!(subject(&alice).await, ALICE_ID);
    assert_ne!(subject(&mallory).await, ALICE_ID);

    for _ in 0..5 {
        gateway.token("mallory").await;
    }
    let mallory = gateway.token("mallory").await;
    let client = gateway.client();
    client.post("/auth/logout-all").bearer(&mallory).send().await.assert_status(204);

    assert_eq!(call(&gateway, &mallory).await, 401);
    assert_eq!(call(&gateway, &alice).await, 200, "her sessions are her own");
}

#[tokio::test]
async fn sources_that_share_their_ids_mean_the_same_user() {
    let upstream = Upstream::start().await;
    let (gateway, _shop) = beside_the_file(&upstream, ALICE_ID, "ids = \"shared\"").await;
    let mallory = gateway.token("mallory").await;

    assert_eq!(call(&gateway, &mallory).await, 200);

    assert_eq!(upstream.last().header("x-auth-subject"), Some(ALICE_ID));
}

#[tokio::test]
async fn an_operator_has_to_say_which_of_two_users_of_one_name_is_meant() {
    let (gateway, _shops) = gateway().await;
    let asked = async |method: Method, path: &str| {
        let socket = gateway.running().admin_socket();
        let (status, answer) = client::call(socket, method, path, None).await.unwrap();
        (status.as_u16(), answer)
    };
    log_in(&gateway, "alice", PASSWORD).await.assert_status(200);
    _shops[1].execute("update users set name = 'alice'").await;

    for method in [Method::GET, Method::DELETE] {
        let (status, answer) = asked(method, "/sessions?user=alice").await;
        let problem = answer["error"].as_str().unwrap();
        assert_eq!(status, 409, "{problem}");
        assert!(problem.contains("`first` and `second`"), "{problem}");
        assert!(problem.contains("--source"), "{problem}");
    }

    for (source, ended) in [("second", 0), ("first", 1)] {
        let path = format!("/sessions?user=alice&source={source}");
        let (status, answer) = asked(Method::DELETE, &path).await;
        assert_eq!((status, &answer["ended"]), (200, &json!(ended)), "{source}");
    }
    assert_eq!(asked(Method::DELETE, "/sessions?user=alice&source=third").await.0, 404);
}
