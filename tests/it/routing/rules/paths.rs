//! Prefixes that are stripped or replaced: what was authorized is what arrives.

use http::Response;

use crate::harness::{Gateway, Upstream};

/// Answers with a `Location` that the client chooses: this server, then what `x-to` says.
async fn redirecting() -> Upstream {
    Upstream::answering(|received| {
        let host = received.header("x-self").unwrap_or("elsewhere.example");
        let to = received.header("x-to").unwrap_or_default();
        let response = Response::builder().status(302);
        response.header("location", format!("http://{host}{to}")).body("".into()).unwrap()
    })
    .await
}

#[tokio::test]
async fn odd_spellings_pass_a_rewritten_path_byte_for_byte_only_where_the_route_allows_them() {
    let upstream = Upstream::start().await;
    let allow = "auth = []\nallow_path = [\"semicolon\", \"double_slash\", \"encoded_slash\"]";
    let gateway = Gateway::builder()
        .route(&upstream, "/strict/", "auth = []\nstrip_prefix = \"/strict\"")
        .route(&upstream, "/strip/", &format!("{allow}\nstrip_prefix = \"/strip\""))
        .route(&upstream, "/swap/", &format!("{allow}\nreplace_prefix = \"/v2\""))
        .start()
        .await;
    let client = gateway.client();

    for rest in ["/a;v=1/b", "/a//b", "/a%2Fb", "/a%3bb"] {
        client.get(&format!("/strict{rest}")).send().await.assert_status(400);
    }
    // Of these no route lets one through: each would be another path, or another host.
    for rest in ["/../x", "/..;/x", "/%2e%2e/x", "/a%252fb", "/a%00", "/a\\b", "//x"] {
        for route in ["/strict", "/strip", "/swap"] {
            client.get(&format!("{route}{rest}")).send().await.assert_status(400);
        }
    }
    upstream.assert_untouched();

    for rest in ["/a;v=1/b", "/a//b", "/a%2Fb", "/a%3bb", "/%61%20b?x=%2F..//"] {
        client.get(&format!("/strip{rest}")).send().await.assert_status(200);
        assert_eq!(upstream.last().target, rest);
        client.get(&format!("/swap{rest}")).send().await.assert_status(200);
        assert_eq!(upstream.last().target, format!("/v2{rest}"));
    }
}

#[tokio::test]
async fn a_prefix_is_taken_off_however_it_is_spelled() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .route(&upstream, "/api/v1/", "auth = []\nstrip_prefix = \"/api\"")
        .route(&upstream, "/swap/", "auth = []\nreplace_prefix = \"/v2/\"")
        .route(&upstream, "/up/", "auth = []\nreplace_prefix = \"/\"")
        .start()
        .await;

    for (asked, arrives, prefix) in [
        ("/api/v1", "/v1", "/api"),
        ("/%61pi/v1/x", "/v1/x", "/api"),
        ("/%73wap", "/v2", "/swap"),
        ("/%73wap?q", "/v2?q", "/swap"),
        ("/sw%61p/", "/v2/", "/swap"),
        ("/up", "/", "/up"),
        ("/up?q", "/?q", "/up"),
        ("/up/x", "/x", "/up"),
    ] {
        let call = gateway.client().get(asked).header("x-forwarded-prefix", "/forged").send().await;
        call.assert_status(200);
        let received = upstream.last();
        assert_eq!(received.target, arrives, "{asked}");
        assert_eq!(received.header("x-forwarded-prefix"), Some(prefix), "{asked}");
    }
}

#[tokio::test]
async fn a_whole_site_is_put_under_a_prefix_and_its_locations_come_back_from_there() {
    let upstream = redirecting().await;
    let keys = "auth = []\nreplace_prefix = \"/legacy\"";
    let gateway = Gateway::builder().route_to(&upstream, keys).start().await;
    let (client, own) = (gateway.client(), upstream.address.to_string());

    for (asked, arrives, to, location) in [
        ("/", "/legacy/", "/legacy/x?y", "http://localhost/x?y"),
        ("/a", "/legacy/a", "/legacy", "http://localhost/"),
        ("/a/?b", "/legacy/a/?b", "/legacy?c", "http://localhost/?c"),
        ("/a", "/legacy/a", "/legacyx/y", "http://localhost/legacyx/y"),
        ("/a", "/legacy/a", "", "http://localhost/"),
    ] {
        let call = client.get(asked).header("x-self", &own).header("x-to", to);
        call.send().await.assert_header("location", location);
        assert_eq!(upstream.last().target, arrives);
        let prefix = upstream.last().header("x-forwarded-prefix").map(str::to_owned);
        assert_eq!(prefix, None, "what the client sees is the root");
    }
    let call = client.get("/").header("x-to", "/legacy/x").send().await;
    call.assert_header("location", "http://elsewhere.example/legacy/x");
}

#[tokio::test]
async fn the_route_of_the_asked_path_decides_and_not_that_of_the_new_one() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .login("native")
        .route(&upstream, "/admin/", "replace_prefix = \"/open\"")
        .route(&upstream, "/open/", "auth = []\nreplace_prefix = \"/public\"")
        .start()
        .await;

    gateway.client().get("/admin/x").send().await.assert_status(401);
    upstream.assert_untouched();
    gateway.client().get("/open/admin/x").send().await.assert_status(200);
    assert_eq!(upstream.only().target, "/public/admin/x");
}
