//! Two sources that number their users: the same number is not the same user.

use http::Method;
use serde_json::{Value, json};
use tollhouse::admin::client;

use super::{Engine, OnSqlite};
use crate::contract_users::{ALICE, BOB, PASSWORD};
use crate::harness::{Gateway, Reply};

const HEAD: &str = r#"
[process]
drain_delay = "0s"
drain_timeout = "2s"
[[listener]]
address = "127.0.0.1:0"
[token]
issuer = "https://gateway.example"
audience = ["legacy"]
"#;

async fn gateway() -> (Gateway, [OnSqlite; 2]) {
    let shops = [OnSqlite::with(&[ALICE]).await, OnSqlite::with(&[BOB]).await];
    let mut head = HEAD.to_owned();
    for (name, shop) in ["first", "second"].iter().zip(&shops) {
        head += &format!(
            "[[users]]\nname = \"{name}\"\nkind = \"sql\"\nurl = \"{}\"\n\
             query = \"select 7 as id, name, password from users where name = $1\"\n",
            shop.url()
        );
    }
    (Gateway::builder().head(&head).login("webitel").start().await, shops)
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
