//! By what rules a token is taken whose signature is right.

use std::time::Duration;

use serde_json::json;

use super::{call, knowing, token};
use crate::harness::gateway::START;
use crate::harness::{Gateway, OpenIdProvider, Upstream};

#[tokio::test]
async fn of_several_issuers_the_tokens_own_decides() {
    let (one, two) = (OpenIdProvider::es256().await, OpenIdProvider::es256().await);
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .moving()
        .config(&one.section("one", ""))
        .config(&two.section("two", "audience = [\"other\"]"))
        .login("native")
        .route_to(&upstream, "request_headers = { set = { X-From = \"$issuer\" } }")
        .start()
        .await;

    // The other's key, under the other's name and under the right one.
    let forged = token(&one).signed_by(&two.key()).text();
    call(&gateway, &forged).await.assert_status(401);
    let forged = token(&two).claim("aud", json!("other")).signed_by(&one.key()).text();
    call(&gateway, &forged).await.assert_status(401);
    call(&gateway, &token(&two).text()).await.assert_status(401);
    upstream.assert_untouched();

    call(&gateway, &token(&one).text()).await.assert_status(200);
    let first = upstream.last();
    call(&gateway, &token(&two).claim("aud", json!("other")).text()).await.assert_status(200);
    let second = upstream.last();
    assert_eq!((first.header("x-from"), second.header("x-from")), (Some("one"), Some("two")));
    assert_ne!(first.header("x-auth-subject"), second.header("x-auth-subject"), "both are `7`");
}

#[tokio::test]
async fn what_the_rules_do_not_let_through_never_reaches_the_upstream() {
    let (provider, upstream) = (OpenIdProvider::start().await, Upstream::start().await);
    let rules = "subjects = [\"auth0|123\"]\nmax_lifetime = \"2h\"\ntypes = [\"at+jwt\"]\n\
                 leeway = \"10s\"\nrequired = [\"exp\", \"iss\", \"sub\", \"aud\", \"azp\"]";
    let gateway = knowing(&provider, &upstream, rules).await;
    let good = || token(&provider).auth0().typ(Some("at+jwt"));
    let now = START.secs();
    for (mint, why) in [
        (good().claim("aud", json!(["others", "more"])), "for others"),
        (good().claim("aud", json!("Legacy")), "for others in another case"),
        (good().sub("auth0|124"), "another subject"),
        (good().sub("AUTH0|123"), "another subject, by case alone"),
        (good().claim("exp", json!(now + 7201)), "living too long"),
        (good().claim("iat", json!(null)), "of unknown age"),
        (good().typ(Some("JWT")), "of another type"),
        (good().typ(None), "of no type"),
        (good().typ(Some("id_token+jwt")), "of another type"),
        (good().claim("azp", json!(null)), "without what is required"),
        (good().claim("exp", json!(now - 10)), "expired by the leeway"),
        (good().claim("nbf", json!(now + 11)), "not yet valid"),
        (good().claim("iat", json!(now + 11)), "of the future"),
        (good().claim("nonce", json!("n")), "an ID token"),
        (good().claim("at_hash", json!("h")), "an ID token"),
        (good().claim("events", json!({})), "a logout token"),
        (good().claim("token_use", json!("id")), "an ID token by its own word"),
    ] {
        let reply = call(&gateway, &mint.text()).await;

        assert_eq!(reply.status, 401, "{why}: {}", reply.text());
    }
    upstream.assert_untouched();
    for mint in [
        good(),
        good().typ(Some("application/AT+JWT")),
        good().claim("exp", json!(now - 9)).claim("iat", json!(now - 60)),
    ] {
        call(&gateway, &mint.text()).await.assert_status(200);
    }
}

#[tokio::test]
async fn roles_and_scopes_are_found_where_the_issuer_has_them() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let claims = json!({
        "realm_access": { "roles": ["admin", "two words", 7] },
        "https://example.com/roles": "reader writer,editor",
        "https://example.com/name": "Bob",
        "scp": ["a", "b"],
    });
    for (keys, roles, scopes, name) in [
        ("roles_claim = \"realm_access.roles\"", Some("admin,two words"), None, "7"),
        (
            "roles_claim = [\"https://example.com/roles\"]\nscopes_claim = \"scp\"\n\
             username_claim = [\"https://example.com/name\"]",
            Some("reader,writer,editor"),
            Some("a,b"),
            "Bob",
        ),
        ("roles_claim = \"realm_access\"", None, None, "7"),
        ("roles_claim = \"realm_access.roles.0\"", None, None, "7"),
    ] {
        let gateway = knowing(&provider, &upstream, keys).await;

        call(&gateway, &token(&provider).claims(&claims).text()).await.assert_status(200);

        let seen = upstream.last();
        assert_eq!(seen.header("x-auth-roles").filter(|text| !text.is_empty()), roles, "{keys}");
        assert_eq!(seen.header("x-auth-scopes").filter(|text| !text.is_empty()), scopes, "{keys}");
        assert_eq!(seen.header("x-auth-username"), Some(name), "{keys}");
    }
}

#[tokio::test]
async fn a_takeover_ends_for_its_tokens_and_its_provider() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let rules = "until = \"2026-11-22\"\nrequired = [\"exp\", \"sub\"]\naudience = \"any\"";
    let gateway = knowing(&provider, &upstream, rules).await;
    let bare = || {
        let later = json!({ "exp": START.secs() + 86_400 * 9, "aud": null, "iat": null });
        token(&provider).claims(&later)
    };
    call(&gateway, &bare().text()).await.assert_status(200);
    call(&gateway, &bare().claim("iss", json!(null)).text()).await.assert_status(200);

    gateway.advance(Duration::from_secs(15 * 3600));
    let seen = (upstream.received().len(), provider.fetches(crate::harness::issuer::JWKS));
    call(&gateway, &bare().text()).await.assert_status(401);
    call(&gateway, &bare().kid(Some("new")).text()).await.assert_status(401);

    assert_eq!(upstream.received().len(), seen.0);
}

#[tokio::test]
async fn two_routes_never_share_a_verdict() {
    let (provider, upstream) = (OpenIdProvider::es256().await, Upstream::start().await);
    let gateway = Gateway::builder()
        .moving()
        .config(&provider.section("idp", ""))
        .login("native")
        .route(&upstream, "/any", "")
        .route(&upstream, "/ours", "issuers = [\"self\"]")
        .route(&upstream, "/theirs", "issuers = [\"idp\"]")
        .route(&upstream, "/admins", "require = { roles = [\"admin\"] }")
        .route(&upstream, "/readers", "require = { roles = [\"reader\"], scopes = [\"read\"] }")
        .route(&upstream, "/acme", "require = { claims = { tenant = \"acme\" } }")
        .start()
        .await;
    let own = gateway.token("alice").await;
    let claims = json!({ "roles": ["reader"], "scope": "read", "tenant": "other" });
    let foreign = token(&provider).claims(&claims).text();

    // Twice and back: the second round is from memory.
    for round in 0..2 {
        for (path, of_own, of_foreign) in [
            ("/any", 200, 200),
            ("/ours", 200, 401),
            ("/theirs", 401, 200),
            ("/admins", 200, 403),
            ("/readers", 403, 200),
            ("/acme", 200, 403),
        ] {
            for (token, expected) in [(&own, of_own), (&foreign, of_foreign)] {
                let seen = upstream.received().len();
                let reply = gateway.client().get(path).bearer(token).send().await;

                assert_eq!(reply.status, expected, "{path}, round {round}: {}", reply.text());
                assert_eq!(upstream.received().len() - seen, usize::from(expected == 200));
            }
        }
    }
}
