//! What is left out of a dry run is said: questions to issuers, copies, logins at an upstream.

use bytes::Bytes;
use http::Response;
use serde_json::json;

use super::{explain, failed_check, request, text};
use crate::harness::gateway::START;
use crate::harness::{Gateway, Upstream};

/// An issuer that knows every token.
async fn issuer() -> Upstream {
    Upstream::answering(|_| {
        let verdict = json!({
            "active": true, "iss": "https://hydra.example/", "sub": "7", "aud": "legacy",
            "exp": START.secs() + 3600, "iat": START.secs(), "preferred_username": "zoe",
        });
        Response::new(Bytes::from(verdict.to_string()))
    })
    .await
}

#[tokio::test]
async fn an_issuer_is_not_asked_and_what_it_said_before_counts() {
    let (upstream, issuer) = (Upstream::start().await, issuer().await);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "s3cr3t").unwrap();
    let section = format!(
        "[[issuer]]\nname = \"hydra\"\nissuer = \"https://hydra.example/\"\nallow_http = true\n\
         audience = [\"legacy\"]\nintrospection = {{ url = \"{}/introspect\", client_id = \"g\",\n\
         client_secret = {{ file = {:?} }} }}",
        issuer.url(),
        secret.path()
    );
    let gateway = Gateway::builder()
        .moving()
        .login("native")
        .config(&section)
        .route_to(&upstream, "")
        .start()
        .await;
    let asked = request("GET", "/x", &[("authorization", "Bearer opaque-token")]);

    let before = explain(&gateway, &asked).await;
    issuer.assert_untouched();
    upstream.assert_untouched();
    gateway.client().get("/x").bearer("opaque-token").send().await.assert_status(200);
    let after = explain(&gateway, &asked).await;

    assert_eq!(before["verdict"]["outcome"], "undecided", "{before:#}");
    assert_eq!(failed_check(&before), Some("signature"), "{before:#}");
    assert!(before["notes"].to_string().contains("would ask issuer `hydra`"), "{before:#}");
    assert_eq!(after["verdict"]["outcome"], "forwarded", "{after:#}");
    assert_eq!(after["credential"]["identity"]["username"], "zoe");
    assert_eq!(issuer.received().len(), 1, "by the request alone");
}

#[tokio::test]
async fn no_copy_is_sent_and_no_login_made_and_no_credential_shown() {
    let (upstream, shadow) = (Upstream::start().await, Upstream::start().await);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "s3cr3t").unwrap();
    let file = format!("{{ file = {:?} }}", secret.path());
    let url = upstream.url();
    let gateway = Gateway::builder()
        .moving()
        .login("native")
        .config(&format!(
            "[[upstream]]\nname = \"shadow\"\nservers = [\"{}\"]\n\
             [[upstream]]\nname = \"inner\"\nservers = [\"{url}\"]\n\
             credential = {{ login = {{ dialect = \"native\", url = \"{url}\", username = \"g\",\n\
             password = {file} }} }}\n\
             [[upstream]]\nname = \"fixed\"\nservers = [\"{url}\"]\n\
             credential = {{ headers = {{ X-Legacy-Key = {file} }} }}\n\
             [[route]]\npath = \"/inner\"\nupstream = \"inner\"\n\
             [[route]]\npath = \"/fixed\"\nupstream = \"fixed\"\nidentity = \"jwt\"\n\
             identity_header = \"X-Caller\"\nmirror = \"shadow\"",
            shadow.url(),
        ))
        .start()
        .await;
    let by = |path: &str| {
        let mut asked = request("GET", path, &[]);
        asked.as_user = Some("alice".to_owned());
        asked
    };

    let inner = explain(&gateway, &by("/inner/x")).await;
    let fixed = explain(&gateway, &by("/fixed/x")).await;

    for untouched in [&upstream, &shadow] {
        untouched.assert_untouched();
    }
    assert_eq!(inner["verdict"]["outcome"], "forwarded", "{inner:#}");
    assert!(inner["notes"].to_string().contains("would log in at the upstream"), "{inner:#}");
    assert!(fixed["notes"].to_string().contains("to upstream `shadow`"), "{fixed:#}");
    let fields = fixed["upstream"]["fields"].as_array().unwrap();
    for name in ["x-legacy-key", "x-caller"] {
        let field = fields.iter().find(|field| field[0] == name).unwrap();
        assert!(field[1].as_str().unwrap().ends_with('…'), "{field}");
    }
    assert!(!fixed.to_string().contains("s3cr3t"));
    assert_eq!(text(&fixed["upstream"], "upstream"), "fixed");
}
