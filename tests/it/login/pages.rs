//! The curl lines of the published login pages, as written there but for address and secrets.

use serde_json::Value;

use crate::harness::gateway::hash_of;
use crate::harness::process::bash;
use crate::harness::{Gateway, Smtp, Upstream};

/// The users that the pages log in as.
fn users() -> String {
    let user = |id: u8, name: &str, email: &str, password: &str| {
        format!(
            "[[user]]\nid = \"0192f0c1-0000-7000-8000-0000000000{id:02x}\"\nname = \"{name}\"\n\
             email = \"{email}\"\npassword = \"{}\"\n",
            hash_of(password)
        )
    };
    [
        user(1, "100@mydomain.com", "100@mydomain.com", "secret"),
        user(2, "YOUR_USERNAME", "you@example.com", "YOUR_PASSWORD"),
        user(3, "avenia", "your.email@provider.com", "UseAStrongPassword123!"),
    ]
    .concat()
}

async fn serving(dialect: &str, mail: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .users(&users())
        .config(mail)
        .login(dialect)
        .route_to(&upstream, &format!("errors = \"{dialect}\""))
        .start()
        .await;
    (gateway, upstream)
}

/// Runs a page's line against the gateway instead of the page's address.
async fn paste(gateway: &Gateway, line: &str, address: &str) -> String {
    let line = line.replace(address, &format!("http://{}", gateway.address()));
    let line = line.replace("curl ", "curl -sS ");
    tokio::task::spawn_blocking(move || bash(&line, &[])).await.unwrap()
}

fn member(json: &str, name: &str) -> String {
    let json: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    json[name].as_str().unwrap_or_else(|| panic!("no {name} in {json}")).to_owned()
}

#[tokio::test]
async fn webitels_page_runs_as_written() {
    let (gateway, _upstream) = serving("webitel", "").await;
    let address = "https://api.webitel.com:10022";

    let login = paste(
        &gateway,
        r#"curl -X POST -H 'Content-Type: application/json' -d '{"username":"100@mydomain.com","password":"secret"}' "https://api.webitel.com:10022/login""#,
        address,
    )
    .await;
    let logout = r#"curl -X POST -H 'X-Access-Token: TOKEN' -H 'X-Key: KEY' "https://api.webitel.com:10022/logout""#
        .replace("TOKEN", &member(&login, "token"))
        .replace("KEY", &member(&login, "key"));
    let told = paste(&gateway, &logout, address).await;

    assert_eq!(member(&login, "username"), "100@mydomain.com");
    assert_eq!(told.trim(), r#"{"status":"OK","info":"Successful logout."}"#);
}

#[tokio::test]
async fn datarheis_page_runs_as_written() {
    let (gateway, upstream) = serving("datarhei", "").await;
    let address = "http://127.0.0.1:8080";

    let login = paste(
        &gateway,
        r#"curl http://127.0.0.1:8080/api/login \
   -H 'accept: application/json' \
   -H 'Content-Type: application/json' \
   -X POST \
   -d '{
         "username": "YOUR_USERNAME",
         "password": "YOUR_PASSWORD"
      }'"#,
        address,
    )
    .await;
    let call = |path: &str, token: &str| {
        format!(
            "curl http://127.0.0.1:8080{path} \\\n   -H 'accept: application/json' \\\n   \
             -H 'Content-Type: application/json' \\\n   -H 'Authorization: Bearer {token}' \\\n   -X GET"
        )
    };
    let called = paste(&gateway, &call("/api/", &member(&login, "access_token")), address).await;
    let refreshed =
        paste(&gateway, &call("/api/login/refresh", &member(&login, "refresh_token")), address)
            .await;
    let again = paste(&gateway, &call("/api/", &member(&refreshed, "access_token")), address).await;

    assert_eq!(called, r#"{"upstream":true}"#);
    assert_eq!(again, r#"{"upstream":true}"#);
    assert_eq!(upstream.received().len(), 2);
    let tokens: Value = serde_json::from_str(&login).unwrap();
    assert_eq!(tokens.as_object().unwrap().len(), 2, "nothing but the two tokens");
}

#[tokio::test]
async fn aviates_page_runs_as_written() {
    let (gateway, _upstream) = serving("aviate", "").await;

    let login = paste(
        &gateway,
        r#"curl -X POST \
    -H 'Content-Type: application/json' \
    -u "100@mydomain.com:secret" \
    -H 'X-killbill-apiKey: alphaF' \
    -H 'X-killbill-apisecret: alphaF' \
    'http://127.0.0.1:8080/plugins/aviate-plugin/v1/auth'"#,
        "http://127.0.0.1:8080",
    )
    .await;

    assert_eq!(member(&login, "token").split('.').count(), 3);
}

#[tokio::test]
async fn avenias_page_runs_as_written() {
    let smtp = Smtp::plain().await;
    let mail = format!(
        "[mail]\nserver = \"127.0.0.1:{}\"\ntls = \"none\"\nfrom = \"gateway@example.com\"",
        smtp.port
    );
    let (gateway, _upstream) = serving("avenia", &mail).await;

    let login = paste(
        &gateway,
        r#"curl -X POST "https://api.sandbox.avenia.io:10952/v2/auth/login" \
-H "Content-Type: application/json" \
-d '{
"email": "your.email@provider.com",
"password": "UseAStrongPassword123!"
}'"#,
        "https://api.sandbox.avenia.io:10952",
    )
    .await;
    assert_eq!(login.trim(), "{}");
    let validate = r#"curl -X POST "http://localhost:10952/v2/auth/validate-login" \
-H "Content-Type: application/json" \
-d '{
"email": "your.email@provider.com",
"emailToken": "874484"
}'"#
    .replace("874484", &smtp.code(1));
    let validated = paste(&gateway, &validate, "http://localhost:10952").await;
    let refresh = r#"curl -X POST "http://localhost:10952/v2/auth/refresh" \
-H "Content-Type: application/json" \
-d '{
"refreshToken": "TOKEN"
}'"#
    .replace("TOKEN", &member(&validated, "refreshToken"));
    let refreshed = paste(&gateway, &refresh, "http://localhost:10952").await;

    assert_ne!(member(&refreshed, "refreshToken"), member(&validated, "refreshToken"));
    assert_ne!(member(&refreshed, "accessToken"), member(&validated, "accessToken"));
}

#[tokio::test]
async fn nomics_page_runs_as_written() {
    let (gateway, _upstream) = serving("nomic", "").await;
    let address = "http://nomic";

    let login = paste(
        &gateway,
        "curl -X POST -u YOUR_USERNAME:YOUR_PASSWORD http://nomic/api/auth/token",
        address,
    )
    .await;
    let bearer = format!(
        "curl -X POST -H 'Authorization: Bearer {}' http://nomic/api/auth/token",
        member(&login, "token")
    );
    let renewed = paste(&gateway, &bearer, address).await;

    assert!(login.contains(r#""isSuccess":true"#), "{login}");
    assert!(renewed.contains(r#""isSuccess":true"#), "{renewed}");
}
