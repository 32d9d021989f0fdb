//! What must never happen, through a whole gateway: each rule is broken once, and the upstream
//! sees nothing of it.

pub(crate) mod admission; // one hostile client beside everybody else: places, bytes, floods
mod bearer;
mod cors;
mod fields;
mod foreign;
mod foreign_users;
mod framing;
mod http2;
mod logins;
mod logs;
mod pairs;
mod sessions;
mod tls;

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Reply, Upstream};

/// Two logins of the same dialect, kept apart by their prefix, and a route to the upstream.
async fn two_logins(upstream: &Upstream) -> Gateway {
    Gateway::builder().moving().config(TWO_LOGINS).route_to(upstream, "").start().await
}

const TWO_LOGINS: &str = "[[login]]\ndialect = \"native\"\nname = \"one\"\nprefix = \"/one\"\n\
     [[login]]\ndialect = \"native\"\nname = \"two\"\nprefix = \"/two\"";

/// Codes by mail from a server that nobody asks in this test.
const NO_MAIL: &str =
    "[mail]\nserver = \"127.0.0.1:9\"\ntls = \"none\"\nfrom = \"gateway@example.com\"";

/// A login's answer.
async fn log_in(gateway: &Gateway, path: &str, name: &str) -> Reply {
    let login = json!({ "username": name, "password": PASSWORD });
    let reply = gateway.client().post(path).json(login).send().await;
    reply.assert_status(200);
    reply
}

/// A try at `native`'s login.
async fn attempt(gateway: &Gateway, name: &str, password: &str) -> Reply {
    let login = json!({ "username": name, "password": password });
    gateway.client().post("/auth/login").json(login).send().await
}

async fn refresh(gateway: &Gateway, path: &str, token: &str) -> Reply {
    gateway.client().post(path).json(json!({ "refresh_token": token })).send().await
}

/// A JSON body from another address of this machine.
pub async fn post_from(source: &str, gateway: &Gateway, path: &str, body: Value) -> Reply {
    let source: IpAddr = source.parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    let stream = socket.connect(gateway.address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn(connection);
    let request = http::Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply { status: head.status, headers: head.headers, body }
}

pub fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Any header and claims, signed with HMAC-SHA256.
pub(crate) fn signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    let key = jsonwebtoken::EncodingKey::from_secret(secret).unwrap();
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}
