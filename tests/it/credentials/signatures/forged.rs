//! Requests that were changed, repeated or made up: each is refused, and the upstream sees nothing.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tollhouse::config;

use super::super::{assert_refused, key};
use super::signer::{SignedCall, Signer};
use super::{TAKES, taking};
use crate::harness::client::{PATIENCE, raw_exchange};
use crate::harness::{Gateway, Upstream};

#[tokio::test]
async fn whatever_was_changed_after_signing_is_refused() {
    let upstream = Upstream::start().await;
    let signer = Signer::rsa("robot");
    let (_folder, builder) = taking(&[&signer], "");
    let gateway = builder.route_to(&upstream, TAKES).start().await;
    let client = gateway.client();
    let signed = SignedCall::post("/pay?to=ann&sum=1", b"{\"note\":1}");
    let signature = signed.signature(&signer);
    let get = SignedCall::get("/pay?to=ann&sum=1");

    for (sent, why) in [
        (SignedCall { method: Method::PUT, ..signed.clone() }, "another method"),
        (SignedCall { target: "/pay?sum=1&to=ann", ..signed.clone() }, "another order"),
        (SignedCall { target: "/pay?to=ann&sum=2", ..signed.clone() }, "another query"),
        (SignedCall { target: "/pay?to=ann&sum=1&", ..signed.clone() }, "a longer query"),
        (SignedCall { target: "/pay", ..signed.clone() }, "no query"),
        (SignedCall { target: "/pay?to=%61nn&sum=1", ..signed.clone() }, "another spelling"),
        (SignedCall { target: "/Pay?to=ann&sum=1", ..signed.clone() }, "another path"),
        (SignedCall { body: b"{\"note\":2}".to_vec(), ..signed.clone() }, "another body"),
        (SignedCall { body: b"{\"note\":1} ".to_vec(), ..signed.clone() }, "a longer body"),
        (SignedCall { body: Vec::new(), ..signed.clone() }, "no body"),
        (signed.after(1), "another time"),
        (get.clone(), "a GET"),
    ] {
        let reply = sent.with(&client, "robot", &signature).send().await;
        assert_refused(&reply, 401, "token_invalid", why);
    }
    let with_body = SignedCall { body: b"x".to_vec(), ..get.clone() };
    let reply = with_body.with(&client, "robot", &get.signature(&signer)).send().await;
    assert_refused(&reply, 401, "token_invalid", "a body that was not signed");
    upstream.assert_untouched();

    signed.with(&client, "robot", &signature).send().await.assert_status(200);
}

#[tokio::test]
async fn what_is_no_signature_of_a_known_key_is_refused() {
    let upstream = Upstream::start().await;
    let signer = Signer::p256("robot");
    let (folder, builder) = taking(&[&signer], "");
    let elsewhere = Signer::ed25519("elsewhere");
    let (presented, presented_section) = key("presented", "");
    let gateway = builder
        .config(&elsewhere.section(folder.path(), "networks = [\"10.0.0.0/8\"]"))
        .config(&presented_section)
        .route_to(&upstream, TAKES)
        .start()
        .await;
    let client = gateway.client();
    let call = SignedCall::get("/");
    let good = call.signature(&signer);
    let time = call.time.to_string();

    let reply = call.send(&client, &elsewhere).await;
    assert_refused(&reply, 401, "token_invalid", "from another network");
    for (id, why) in [
        ("nobody", "an unknown key"),
        ("Robot", "in another case"),
        ("presented", "a key that is presented"),
        (presented.as_str(), "a key as it is presented"),
        ("", "no id"),
        ("robot ", "a space"),
    ] {
        let reply = call.with(&client, id, &good).send().await;
        let id = id.trim_end();
        if id != "robot" {
            assert_refused(&reply, 401, "token_invalid", why);
        }
    }
    let upstream_saw = upstream.received().len();
    assert_eq!(upstream_saw, 1, "the space around a field's value is not part of it");
    for (signature, why) in [
        ("", "none"),
        (&*good.replace('=', ""), "without padding"),
        (&format!("{good}="), "too much padding"),
        (&good.replace(['+', '/'], "_"), "in other letters"),
        (&good[..good.len() - 4], "cut short"),
        ("AAAA", "short"),
        (&"A".repeat(4096), "long"),
        (&"A".repeat(96), "of another length"),
        ("MAYCAQACAQA=", "of zeros"),
    ] {
        let reply = call.after(1).with(&client, "robot", signature).send().await;
        assert_refused(&reply, 401, "token_invalid", why);
    }
    for (said, why) in [
        ("", "none"),
        ("+1795339800000", "a sign"),
        ("1795339800000.0", "a fraction"),
        ("1.795e12", "another notation"),
        ("2026-11-22T09:30:00Z", "a date"),
        ("99999999999999999999", "too long"),
        ("1795339800", "in seconds"),
    ] {
        let message = format!("{said}GET/");
        let signature = super::base64(&signer.sign(message.as_bytes()));
        let sent = client.get("/").header("x-api-key", "robot").header("x-api-timestamp", said);
        let reply = sent.header("x-api-signature", &signature).send().await;
        assert_refused(&reply, 401, "token_invalid", why);
    }
    for left_out in ["x-api-key", "x-api-timestamp", "x-api-signature"] {
        let fields =
            [("x-api-key", "robot"), ("x-api-timestamp", &time), ("x-api-signature", &good)];
        let kept = fields.into_iter().filter(|(name, _)| *name != left_out);
        let sent = kept.fold(client.get("/"), |call, (name, value)| call.header(name, value));
        assert_refused(&sent.send().await, 401, "token_invalid", left_out);
    }
    assert_refused(&client.get("/").send().await, 401, "credential_missing", "nothing");
    assert_eq!(upstream.received().len(), upstream_saw);
}

#[tokio::test]
async fn a_request_is_accepted_once_and_near_its_time() {
    let upstream = Upstream::start().await;
    let signer = Signer::p256("robot");
    let (_folder, builder) = taking(&[&signer], "");
    let gateway = builder.route_to(&upstream, TAKES).start().await;
    let client = gateway.client();
    let call = SignedCall::post("/", b"body");

    for (millis, why) in [(-30_001, "too old"), (30_001, "too early")] {
        let reply = call.after(millis).send(&client, &signer).await;
        assert_refused(&reply, 401, "token_invalid", why);
    }
    upstream.assert_untouched();
    let signatures = [call.signature(&signer), call.signature(&signer)];
    assert_ne!(signatures[0], signatures[1], "ECDSA has many signatures of the same bytes");
    call.with(&client, "robot", &signatures[0]).send().await.assert_status(200);
    call.after(30_000).send(&client, &signer).await.assert_status(200);
    call.after(-30_000).send(&client, &signer).await.assert_status(200);
    for signature in &signatures {
        let reply = call.with(&client, "robot", signature).send().await;
        assert_refused(&reply, 401, "token_invalid", "seen before");
    }
    // To the end of the time in which the latest of them would be accepted.
    gateway.advance(std::time::Duration::from_secs(60));
    let reply = call.after(30_000).send(&client, &signer).await;
    assert_refused(&reply, 401, "token_invalid", "still remembered");
    assert_eq!(upstream.received().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_forgets_no_request() {
    let upstream = Upstream::start().await;
    let signer = Signer::hs256("robot");
    let (_folder, builder) = taking(&[&signer], "");
    let gateway = builder.route_to(&upstream, TAKES).start().await;
    let client = gateway.client();
    let call = SignedCall::get("/");
    call.send(&client, &signer).await.assert_status(200);
    let file = gateway.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let longer = text.replace("unit = \"ms\"", "unit = \"ms\", skew = \"10m\"");
    assert_ne!(text, longer);

    let read = || {
        let loaded = config::parse(&longer, &file, &|_| None);
        loaded.map(|loaded| loaded.config).map_err(|issues| issues.to_string())
    };
    tokio::task::block_in_place(|| gateway.running().reload(read)).unwrap();

    assert_refused(&call.send(&client, &signer).await, 401, "token_invalid", "seen before");
    call.after(-300_000).send(&client, &signer).await.assert_status(200);
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn two_credentials_and_parts_given_twice_are_refused() {
    let upstream = Upstream::start().await;
    let signer = Signer::ed25519("robot");
    let (_folder, builder) = taking(&[&signer], "");
    let gateway = builder
        .login("native")
        .route_to(&upstream, "auth = [\"bearer\", \"basic\", \"signature\"]")
        .start()
        .await;
    let client = gateway.client();
    let token = gateway.token("alice").await;
    let call = SignedCall::get("/");
    let signature = call.signature(&signer);
    let time = call.time.to_string();
    let signed = || call.with(&client, "robot", &signature);

    for (sent, why) in [
        (signed().bearer(&token), "a token beside it"),
        (signed().bearer("nonsense"), "a bad token beside it"),
        (signed().basic("alice", "wrong"), "a password beside it"),
        (call.with(&client, "nobody", "nonsense").bearer(&token), "a bad signature beside a token"),
        (client.get("/").header("x-api-key", "robot").bearer(&token), "a third of it and a token"),
        (signed().header("X-API-Key", "robot"), "two keys"),
        (signed().header("X-API-Timestamp", &time), "two times"),
        (signed().header("X-API-Signature", &signature), "two signatures"),
    ] {
        assert_refused(&sent.send().await, 400, "ambiguous_credential", why);
    }
    for name in ["x_api_signature", "X.API.Signature", "x-api_signature"] {
        let sent = call.bare(&client).header("x-api-key", "robot");
        let sent = sent.header("x-api-timestamp", &time).header(name, &signature);
        assert_refused(&sent.send().await, 401, "token_invalid", name);
    }
    upstream.assert_untouched();

    signed().header("x_api_key", "other").header("x.api.timestamp", "0").send().await;
    let seen = upstream.only();
    assert_eq!(seen.header("x_api_key").or(seen.header("x.api.timestamp")), None);
}

#[tokio::test]
async fn a_body_is_not_read_before_key_network_and_time_are_good() {
    let upstream = Upstream::start().await;
    let signer = Signer::ed25519("robot");
    let (_folder, builder) = taking(&[&signer], "");
    let gateway = builder.route_to(&upstream, TAKES).start().await;
    let client = gateway.client();
    let call = SignedCall::post("/", b"whole body");
    let head = |id: &str, time: u64| {
        format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\
             X-API-Key: {id}\r\nX-API-Timestamp: {time}\r\nX-API-Signature: {}\r\n\r\n",
            call.signature(&signer)
        )
    };

    for (id, time) in [("nobody", call.time), ("robot", call.time + 60_000)] {
        let answer = raw_exchange(&client, head(id, time).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    upstream.assert_untouched();

    let mut stream = client.connect().await;
    stream.write_all(head("robot", call.time).as_bytes()).await.unwrap();
    let mut invited = [0; 25];
    let reading = stream.read_exact(&mut invited);
    tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
    assert_eq!(&invited, b"HTTP/1.1 100 Continue\r\n\r\n");
    upstream.assert_untouched();
    stream.write_all(b"whole body").await.unwrap();
    let mut answer = [0; 12];
    let reading = stream.read_exact(&mut answer);
    tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(upstream.only().body, "whole body");
}

#[tokio::test]
async fn a_route_that_observes_forwards_what_it_would_refuse_with_its_whole_body() {
    let upstream = Upstream::start().await;
    let signer = Signer::ed25519("robot");
    let (_folder, builder) = taking(&[&signer], "");
    let gateway: Gateway = builder
        .route_to(&upstream, &format!("{TAKES}\nenforce = false\nbody_limit = \"1KiB\""))
        .start()
        .await;
    let client = gateway.client();
    let call = SignedCall::post("/", b"whole body");

    call.with(&client, "robot", &call.after(1).signature(&signer)).send().await.assert_status(200);

    let seen = upstream.only();
    assert_eq!(seen.body, "whole body");
    assert_eq!(seen.header("x-api-key"), Some("robot"), "the upstream may verify it");
    assert_eq!(seen.header("x-auth-subject"), None);
    let large = SignedCall::post("/", &[b'x'; 2048]);
    let reply = large.send(&client, &signer).await;
    assert_refused(&reply, 413, "body_too_large", "nothing is left of it to be forwarded");
    assert_eq!(upstream.received().len(), 1);
}
