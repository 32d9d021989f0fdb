//! Fields by which an upstream is told who calls: none of them is a client's to send.

use tollhouse::headers::foreign_fields;

use crate::harness::{Gateway, Upstream};

/// Two sections for one server, of which the first is told the tenant.
fn two_sections(upstream: &Upstream, allowed: &str) -> String {
    let section =
        |name| format!("[[upstream]]\nname = \"{name}\"\nservers = [\"{}\"]\n", upstream.url());
    format!(
        "{}{}[[route]]\npath = \"/first/\"\nupstream = \"first\"\n\
         request_headers = {{ set = {{ X-Tenant = \"$claims.tenant\", X-Remote-Group = \"ours\", \
         Accept-Encoding = \"identity\" }} }}\n\
         [[route]]\npath = \"/second/\"\nupstream = \"second\"\nauth = []\n{allowed}",
        section("first"),
        section("second"),
    )
}

#[tokio::test]
async fn a_field_that_one_route_sets_is_not_free_through_another_section_of_the_same_server() {
    let upstream = Upstream::start().await;
    let config = two_sections(&upstream, "");
    let gateway = Gateway::builder().login("native").config(&config).start().await;
    let token = gateway.token("alice").await;
    let client = gateway.client();

    for spelling in ["X-Tenant", "X_Tenant", "x.tenant"] {
        let call = client.get("/second/x").header(spelling, "somebody-else");
        call.header("accept-encoding", "gzip").send().await.assert_status(200);
        assert_eq!(upstream.last().header(spelling), None, "{spelling}");
        let encoding = upstream.last();
        assert_eq!(encoding.header("accept-encoding"), Some("gzip"), "it tells of nobody");
    }
    client
        .get("/first/x")
        .bearer(&token)
        .header("x-tenant", "else")
        .send()
        .await
        .assert_status(200);
    assert_eq!(upstream.last().header("x-tenant"), Some("acme"));
    assert_eq!(upstream.last().header("x-remote-group"), Some("ours"), "a route may say it");
}

#[tokio::test]
async fn identity_fields_of_other_gateways_do_not_pass_from_a_client() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().route_to(&upstream, "auth = []").start().await;
    let client = gateway.client();
    let names: Vec<String> = foreign_fields().map(|field| field.replace('*', "user")).collect();

    let mut call = client.get("/").header("x-harmless", "1");
    for name in &names {
        for spelling in [name.clone(), name.replace('-', "_"), name.to_uppercase()] {
            call = call.header(&spelling, "root");
        }
        // A request may have a hundred fields.
        if call.header_count() > 90 {
            call.send().await.assert_status(200);
            call = client.get("/").header("x-harmless", "1");
        }
    }
    call.send().await.assert_status(200);

    for received in upstream.received() {
        assert_eq!(received.header("x-harmless"), Some("1"));
        let told = received.headers.iter().find(|(_, value)| value.as_bytes() == b"root");
        assert_eq!(told, None);
    }
}

#[tokio::test]
async fn a_route_lets_named_fields_of_another_gateway_through_in_one_spelling() {
    let upstream = Upstream::start().await;
    let keys = "auth = []\nallow_headers = [\"Remote-User\", \"X-Forwarded-Email\"]";
    let gateway = Gateway::builder().route_to(&upstream, keys).start().await;

    let client = gateway.client();
    let call = client.get("/").header("remote-user", "ann").header("remote_user", "eve");
    let call = call.header("x-forwarded-email", "ann@example.com").header("remote-groups", "root");
    call.header("x-forwarded-for", "6.6.6.6").send().await.assert_status(200);

    let received = upstream.only();
    assert_eq!(received.header("remote-user"), Some("ann"));
    assert_eq!(received.header("x-forwarded-email"), Some("ann@example.com"));
    assert_eq!(received.header("remote_user"), None);
    assert_eq!(received.header("remote-groups"), None);
    assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
}

#[tokio::test]
async fn a_field_that_a_route_sets_is_allowed_on_no_other_route() {
    let upstream = Upstream::start().await;
    let config = two_sections(&upstream, "allow_headers = [\"X-Remote-Group\"]");

    let refused = Gateway::builder().login("native").config(&config).try_start().await;

    let told = refused.err().expect("check refuses it");
    assert!(told.contains("no client may send it"), "{told}");
}

#[test]
fn the_fields_that_are_removed_are_published() {
    let sample = std::fs::read_to_string("gateway.toml").unwrap().to_lowercase();
    let words: Vec<&str> =
        sample.split(|letter: char| letter.is_whitespace() || ",.".contains(letter)).collect();
    let missing: Vec<&str> = foreign_fields().filter(|field| !words.contains(field)).collect();
    assert!(missing.is_empty(), "gateway.toml does not name {missing:?}");
}
