//! Where the parts of a signature are, what is signed, and what goes on to the upstream.

use aws_lc_rs::digest;

use super::super::{assert_refused, key};
use super::signer::{SignedCall, Signer};
use super::{AVENIA, TAKES, hex, taking};
use crate::harness::gateway::START;
use crate::harness::{Gateway, Upstream};

#[tokio::test]
async fn every_part_of_a_request_can_be_signed_and_every_place_can_have_it() {
    const OTHER: &str = r#"
[[signature]]
name = "other"
key = { query = "key" }
signature = { scheme = "HMAC" }
encoding = "hex"
timestamp = { query = "time" }
signed = "v1\n$method\n$path\n$query\n$host\n$key\n$timestamp\n$body_sha256\n$$"
"#;
    let upstream = Upstream::start().await;
    let signer = Signer::hs256("robot");
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::builder()
        .moving()
        .config(OTHER)
        .config(&signer.section(folder.path(), ""))
        .route_to(&upstream, TAKES)
        .start()
        .await;
    let client = gateway.client();
    let time = START.secs();
    let query = format!("a=1&key=robot&time={time}&b=2");
    let digest = hex(digest::digest(&digest::SHA256, b"body").as_ref());
    let message = |host: &str| format!("v1\nPOST\n/x\n{query}\n{host}\nrobot\n{time}\n{digest}\n$");
    let signature = |host: &str| hex(&signer.sign(message(host).as_bytes()));
    let call = |host: &str, signature: &str| {
        let sent = client.post(&format!("/x?{query}")).host(host).body("body");
        sent.header("authorization", &format!("hmac {signature}"))
    };

    let reply = call("localhost:8443", &signature("localhost")).send().await;
    assert_refused(&reply, 401, "token_invalid", "another host");
    let twice = client.post(&format!("/x?{query}&%6Bey=robot")).body("body");
    let twice = twice.header("authorization", &format!("HMAC {}", signature("localhost")));
    assert_refused(&twice.send().await, 400, "ambiguous_credential", "two keys in the query");
    upstream.assert_untouched();

    let reply = call("LOCALHOST:8443", &signature("localhost:8443").to_uppercase()).send().await;
    reply.assert_status(200);
    let seen = upstream.only();
    assert_eq!(seen.target, "/x?a=1&b=2", "the rest of the query stays as it is");
    assert_eq!(seen.header("authorization"), None);
    assert!(reply.header("cache-control").is_some_and(|value| value.contains("private")));
    assert!(!gateway.running().access_lines().contains("key=robot"));
}

#[tokio::test]
async fn parts_of_a_signature_reach_its_upstream_by_no_route() {
    let upstream = Upstream::start().await;
    let other = Upstream::start().await;
    let signer = Signer::ed25519("robot");
    let (_folder, builder) = taking(&[&signer], "");
    let gateway = builder
        .login("native")
        .route(&upstream, "/signed/", TAKES)
        .config("[[route]]\npath = \"/token/\"\nupstream = \"u0\"")
        .config("[[route]]\npath = \"/open/\"\nupstream = \"u0\"\nauth = []")
        .config("[[route]]\npath = \"/kept/\"\nupstream = \"u0\"\nauth = [\"signature\"]\nforward_credential = true")
        .route(&other, "/other/", "auth = []")
        .start()
        .await;
    let client = gateway.client();
    let token = gateway.token("alice").await;
    let names = ["x-api-key", "x-api-timestamp", "x-api-signature"];
    let values = |seen: &crate::harness::upstream::ReceivedRequest| {
        names.map(|name| seen.header(name).map(str::to_owned))
    };
    let signed = |target| {
        let call = SignedCall::get(target);
        call.with(&client, "robot", &call.signature(&signer))
    };

    signed("/token/").bearer(&token).send().await.assert_status(200);
    assert_eq!(upstream.last().header("x-auth-username"), Some("alice"), "not counted here");
    assert_eq!(values(&upstream.last()), [None, None, None]);
    let open = signed("/open/").header("x_api_key", "robot").send().await;
    open.assert_status(200);
    assert_eq!(values(&upstream.last()), [None, None, None]);
    assert_eq!(upstream.last().header("x_api_key"), None);
    signed("/kept/").send().await.assert_status(200);
    assert!(values(&upstream.last()).iter().all(Option::is_some), "the verified one goes along");
    signed("/other/").send().await.assert_status(200);
    assert!(values(&other.last()).iter().all(Option::is_some), "another upstream's own fields");
}

#[tokio::test]
async fn a_field_of_presented_keys_may_have_the_key_of_a_signature() {
    let upstream = Upstream::start().await;
    let signer = Signer::ed25519("robot");
    let (_folder, builder) = taking(&[&signer], "");
    let (presented, section) = key("reader", "");
    let gateway = builder
        .config(&section)
        .route(&upstream, "/key/", "auth = [\"api_key\"]")
        .route(&upstream, "/signed/", TAKES)
        .start()
        .await;
    let client = gateway.client();

    client.get("/key/").header("x-api-key", &presented).send().await.assert_status(200);
    SignedCall::get("/signed/").send(&client, &signer).await.assert_status(200);

    let arrived = upstream.received().len();
    let reply = SignedCall::get("/key/").send(&client, &signer).await;
    assert_refused(&reply, 401, "token_invalid", "a signature where keys are presented");
    let reply = client.get("/signed/").header("x-api-key", &presented).send().await;
    assert_refused(&reply, 401, "token_invalid", "a presented key where requests are signed");
    assert_eq!(upstream.received().len(), arrived);
    assert!(AVENIA.contains("X-API-Key"));
}
