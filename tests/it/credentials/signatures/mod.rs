//! Signed requests (`auth = ["signature"]`): accepted for each algorithm, and refused when anything
//! of them was changed, repeated, or left out.

mod forged;
mod limits;
mod places;
mod signer;

use tollhouse::server::ExplainRequest;

use self::signer::{SignedCall, Signer};
use super::{ask, assert_refused};
use crate::harness::{Gateway, GatewayBuilder, Upstream};

/// As Avenia's clients sign.
const AVENIA: &str = r#"
[[signature]]
name = "avenia"
key = { field = "X-API-Key" }
signature = { field = "X-API-Signature" }
timestamp = { field = "X-API-Timestamp", unit = "ms" }
signed = "$timestamp$method$uri$body"
"#;

const TAKES: &str = "auth = [\"signature\"]";

/// A gateway on a test clock that takes the signatures of these programs.
fn taking(signers: &[&Signer], lines: &str) -> (tempfile::TempDir, GatewayBuilder) {
    let folder = tempfile::tempdir().unwrap();
    let builder = Gateway::builder().moving().config(AVENIA);
    let builder = signers
        .iter()
        .fold(builder, |builder, one| builder.config(&one.section(folder.path(), lines)));
    (folder, builder)
}

/// The requests of <https://integration-guide.avenia.io/docs/Security/apiKeysGuide>, at the time of
/// the test clock. The guide has no signature to compare with, since its time is that of the reader;
/// these were made by `openssl dgst -sha256 -sign`, with the private half of `avenia.pem`.
#[tokio::test]
async fn requests_as_avenia_documents_them_are_accepted() {
    const ID: &str = "dc96d0f8-ac73-4abe-ade3-c6d14e3e22fb";
    let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/signatures/avenia.pem");
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .moving()
        .config(AVENIA)
        .config(&format!(
            "[[api_key]]\nid = \"{ID}\"\nname = \"account\"\npublic_key_file = {pem:?}"
        ))
        .route(&upstream, "/v2/", TAKES)
        .start()
        .await;
    let client = gateway.client();

    for (call, signature) in [
        (
            SignedCall::get("/v2/account/account-info"),
            "riLqTvB1lTtQpTeOL4yroqTs9vLZHwIiIO3rULfjTOzq30raa/D1jEppM8Tgy7CxNuZhiKWPxiWTDbJ06w6P7tVb+Ui9fF/4a0hgybKQrFbhwYj7BYTonxZi4GogT09Qz5aYfH/gLIe38FWDqkqyW6mniwCl31y6QZqnNEEpvp3lus8Aqc48vTdzZBFdSbAyiWZpp2PN0oCW9l5wKipebUVQgm5joWibJCA+unBNN0Ts8faRxx8DSGecBOYXByKS3LclSXhy/J9t8PIV/BkwYmZVwzNaNUNkq0979Cd5aQI+dkqSQVnyb390o1gEh7IhPORkeXqfmEZw+KPcMGZh4A==",
        ),
        (
            SignedCall::get("/v2/account/account-info?foo=bar"),
            "SrrrT5oZ28KdmlwIepOtv7FVkGWP90O7uBJJ7Hf1wlsvKYSkhr/jpJYFketwn0eXhhWHj2vC8BpE21WApZobMNP+NX38uCShHv2Kr/YLbjm/h8mbbPqjq6hIQZDBylqMfNZjFSwefS8TWWa0AZGgqL0LTS8lMoGpLznJZEt0YYuHvbDquSSeuqBhhHQq/WalWwjwjTK7yHA5FIWVCbooKsO6Q3VyIjKpNjzDm+VJdfSVWt8gxQQpi9mJdjMSzTBaBL3Buppx6vB3UHZJ5YmptmLQ8LwZ4axlwsbWzXb4Yvxu11BwI24H5y04636HDqrF041ON56CTRJ2SJZrcXM8vQ==",
        ),
        (
            SignedCall::post("/v2/account/account-info", b"{\"foo\":\"bar\"}"),
            "IC0CFxSaOamkDUKNxPjdTW38uox+KWWjVSOezMyrRhUjxO2HKU02UR1NXGgSeKpkJAsIF3OLBLNU12QSKNNHfjQij/HVRtjLSOv3BS/scL7rS/apHfEXPqIiZVFk5vVGW4Gx1J9z7W+4FOEpqVz4rDI4WDleVZQcIdU/KPpAsaFRGyCCL1Gm6mY2jLYiLJGWjh/yc4qdpMvrdjv6PXz9QkkoGl5ERKy9GbFmw3nbZB7xe7w8W7XsxdKcQJSdpilS7FGXMIguy0CtVhUSLcEZMZxcGJiMO+BiZhJM3Z/Yjy5Eshf5jWVtCD7Sp6v1UK627K6zApe4k10Ds8EG89Avdg==",
        ),
    ] {
        call.with(&client, ID, signature).send().await.assert_status(200);

        let seen = upstream.last();
        assert_eq!(
            (&seen.method, &*seen.target, &*seen.body),
            (&call.method, call.target, &*call.body)
        );
        assert_eq!(seen.header("x-auth-username"), Some("account"));
        for name in ["x-api-key", "x-api-timestamp", "x-api-signature"] {
            assert_eq!(seen.header(name), None, "{name} stays here");
        }
    }
    let lines = gateway.running().access_lines();
    assert!(!lines.contains("riLqTvB1lTtQ") && !lines.contains(ID), "no part of it is in a log");
}

#[tokio::test]
async fn a_key_verifies_the_algorithm_of_its_type_and_no_other() {
    let upstream = Upstream::start().await;
    let scheme = |name: &str, lines: &str| AVENIA.replace("avenia", name) + lines + "\n";
    let usual = [
        Signer::rsa("rsa"),
        Signer::p256("p256"),
        Signer::p384("p384"),
        Signer::ed25519("ed25519"),
        Signer::hs256("hs256"),
    ];
    let others = [Signer::pss("pss"), Signer::p256_fixed("fixed"), Signer::hs512("hs512")];
    let folder = tempfile::tempdir().unwrap();
    let builder = usual.iter().chain(&others).fold(Gateway::builder().moving(), |builder, one| {
        builder.config(&one.section(folder.path(), "roles = [\"signer\"]"))
    });
    let gateway = builder
        .config(&scheme("usual", ""))
        .config(&scheme(
            "others",
            "ecdsa = \"fixed\"\nalgorithms = [\"PS256\", \"ES256\", \"HS512\"]",
        ))
        .route(&upstream, "/usual/", &format!("{TAKES}\nsignature = \"usual\""))
        .route(
            &upstream,
            "/others/",
            &format!("{TAKES}\nsignature = \"others\"\nrequire = {{ roles = [\"signer\"] }}"),
        )
        .start()
        .await;
    let client = gateway.client();

    for (target, takes, refuses) in
        [("/usual/x?a=1", &usual[..], &others[..]), ("/others/x?a=1", &others[..], &usual[..])]
    {
        for signer in takes {
            SignedCall::post(target, b"{}").send(&client, signer).await.assert_status(200);
            assert_eq!(upstream.last().header("x-auth-username"), Some(&*signer.id));
        }
        let arrived = upstream.received().len();
        for signer in refuses {
            // A secret of 64 bytes verifies HS256 as well, but the signature is of HS512.
            let reply = SignedCall::post(target, b"{}").after(1).send(&client, signer).await;
            assert_refused(&reply, 401, "token_invalid", &signer.id);
        }
        for signer in takes {
            for other in takes.iter().filter(|other| other.id != signer.id) {
                let call = SignedCall::post(target, b"{}").after(2);
                let reply = call.with(&client, &other.id, &call.signature(signer)).send().await;
                let why = format!("{} signs as {}", signer.id, other.id);
                assert_refused(&reply, 401, "token_invalid", &why);
            }
        }
        assert_eq!(upstream.received().len(), arrived);
    }
}

#[tokio::test]
async fn a_dry_run_uses_no_signature_up() {
    let upstream = Upstream::start().await;
    let signer = Signer::ed25519("robot");
    let (_folder, builder) = taking(&[&signer], "");
    let gateway = builder.route_to(&upstream, TAKES).start().await;
    let client = gateway.client();
    let call = SignedCall::get("/x?a=1");
    let signature = call.signature(&signer);
    let explain = async |method: &str, length: Option<&str>, signature: &str| {
        let fields = [
            ("x-api-key", Some(signer.id.as_str())),
            ("x-api-timestamp", Some(&*call.time.to_string())),
            ("x-api-signature", Some(signature)),
            ("content-length", length),
        ];
        let owned =
            |(name, value): (&str, Option<&str>)| Some((name.to_owned(), value?.to_owned()));
        let request = ExplainRequest {
            method: method.to_owned(),
            url: format!("http://localhost{}", call.target),
            fields: fields.into_iter().filter_map(owned).collect(),
            as_user: None,
            from: None,
        };
        gateway.running().explain(&request).await.unwrap()
    };

    for _ in 0..2 {
        let explained = explain("GET", None, &signature).await;
        assert_eq!(explained["verdict"]["outcome"], "forwarded", "{explained:#}");
        assert_eq!(explained["credential"]["kind"], "signature", "{explained:#}");
        assert_eq!(explained["credential"]["identity"]["username"], "robot", "{explained:#}");
        assert!(!explained.to_string().contains(&signature), "{explained:#}");
    }
    let forged = explain("DELETE", None, &signature).await;
    assert_eq!(forged["verdict"]["reason"], "token_invalid", "{forged:#}");
    let unknown = explain("GET", Some("5"), &signature).await;
    assert_eq!(unknown["verdict"]["outcome"], "undecided", "{unknown:#}");
    upstream.assert_untouched();

    call.send(&client, &signer).await.assert_status(200);
    let explained = explain("GET", None, &signature).await;
    assert_eq!(explained["verdict"]["reason"], "token_invalid", "it was sent: {explained:#}");
}

#[tokio::test]
async fn a_key_that_ends_says_so_to_those_who_have_it() {
    let upstream = Upstream::start().await;
    let ended = Signer::ed25519("ended");
    let revoked = Signer::p256("revoked");
    let (folder, builder) = taking(&[&revoked], "");
    let gateway = builder
        .config(&ended.section(folder.path(), "expires = \"2026-11-21\""))
        .route_to(&upstream, TAKES)
        .start()
        .await;
    let client = gateway.client();
    let call = SignedCall::get("/");

    let (status, answer) = ask(&gateway, http::Method::DELETE, "/api-keys/revoked", None).await;
    assert_eq!(status, 200, "{answer}");

    for (signer, code) in [(&ended, "token_expired"), (&revoked, "token_revoked")] {
        assert_refused(&call.send(&client, signer).await, 401, code, "signed");
        let stranger = Signer::ed25519("x");
        let forged = call.with(&client, &signer.id, &call.signature(&stranger)).send().await;
        assert_refused(&forged, 401, "token_invalid", "a forger learns nothing");
    }
    upstream.assert_untouched();
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
