//! Bodies at the limit of their route, and fields at the edges of what a rule may say.

use serde_json::json;

use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Upstream, raw_exchange};

#[tokio::test]
async fn a_body_of_just_the_limit_passes_and_one_byte_more_does_not() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .route(&upstream, "/some/", "auth = []\nbody_limit = \"1KiB\"")
        .route(&upstream, "/none/", "auth = []\nbody_limit = \"0B\"")
        .start()
        .await;
    let client = gateway.client();

    client.post("/some/").body(vec![b'x'; 1025]).send().await.assert_status(413);
    client.post("/none/").body("x").send().await.assert_status(413);
    upstream.assert_untouched();

    client.post("/some/").body(vec![b'x'; 1024]).send().await.assert_status(200);
    assert_eq!(upstream.last().body.len(), 1024);
    client.post("/none/").send().await.assert_status(200);
    client.get("/none/").send().await.assert_status(200);
    assert_eq!(upstream.received().len(), 3);
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_at_the_limit() {
    let upstream = Upstream::start().await;
    let keys = "auth = []\nbody_limit = \"16B\"";
    let gateway = Gateway::builder().route_to(&upstream, keys).start().await;
    let head =
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let send = |chunks: &'static str| {
        let (client, asked) = (gateway.client(), format!("{head}{chunks}"));
        async move { raw_exchange(&client, asked.as_bytes()).await }
    };

    let within = send("8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n").await;
    let beyond = send("8\r\n12345678\r\n9\r\n123456789\r\n0\r\n\r\n").await;

    assert!(within.starts_with("HTTP/1.1 200 "), "{within}");
    assert!(beyond.starts_with("HTTP/1.1 413 "), "{beyond}");
    let whole: Vec<usize> = upstream.received().iter().map(|request| request.body.len()).collect();
    assert!(whole.iter().all(|length| *length <= 16), "{whole:?}");
}

/// What a list or a line cannot hold is percent-encoded UTF-8.
#[tokio::test]
async fn names_and_claims_are_encoded_so_that_no_list_or_line_is_read_otherwise() {
    let upstream = Upstream::start().await;
    let hash = crate::harness::gateway::hash_of(PASSWORD);
    let users = format!(
        "[[user]]\nid = \"0192f0c1-0000-7000-8000-00000000000a\"\nname = \"jürgen\"\n\
         password = \"{hash}\"\nroles = [\"a,b\", \"100%\", \"c d\"]\n\
         claims = {{ tenant = \"ä\\r\\nX-Auth-Roles: admin\", teams = [\"x,y\", \"z\"] }}\n"
    );
    let keys = "request_headers = { set = { X-Tenant = \"$claims.tenant\", \
                X-Teams = \"$claims.teams\", X-None = \"$claims.none\" } }";
    let gateway =
        Gateway::builder().users(&users).login("native").route_to(&upstream, keys).start().await;
    let client = gateway.client();
    let login = json!({ "username": "jürgen", "password": PASSWORD });
    let token = client.post("/auth/login").json(login).send().await.member("access_token");

    let call = client.get("/").bearer(&token).header("x-none", "forged");
    call.send().await.assert_status(200);

    let received = upstream.only();
    assert_eq!(received.header("x-auth-username"), Some("j%C3%BCrgen"));
    assert_eq!(received.header("x-auth-roles"), Some("a%2Cb,100%25,c d"));
    assert_eq!(received.header("x-tenant"), Some("%C3%A4%0D%0AX-Auth-Roles: admin"));
    assert_eq!(received.header("x-teams"), Some("x%2Cy,z"));
    assert_eq!(received.header("x-none"), None, "no value means absent");
}

/// A name that one route sets no client may send by another, to whatever upstream.
#[tokio::test]
async fn a_name_that_one_route_sets_is_taken_from_clients_on_all_routes() {
    let (app, other) = (Upstream::start().await, Upstream::start().await);
    let config = format!(
        r#"
[[upstream]]
name = "app"
servers = ["{}"]
[[upstream]]
name = "other"
servers = ["{}"]
[[route]]
path = "/sets/"
upstream = "app"
auth = []
request_headers = {{ set = {{ X-Tenant = "acme" }} }}
[[route]]
path = "/plain/"
upstream = "app"
auth = []
[[route]]
path = "/other/"
upstream = "other"
auth = []
"#,
        app.url(),
        other.url()
    );
    let gateway = Gateway::builder().config(&config).start().await;
    let spellings = ["X-Tenant", "x_tenant", "X.Tenant", "x-TENANT"];
    let ask = |path: &'static str| {
        let client = gateway.client();
        async move {
            let call = client.get(path);
            let call = spellings.into_iter().fold(call, |call, name| call.header(name, "forged"));
            call.send().await.assert_status(200);
        }
    };
    let said = |upstream: &Upstream| {
        let received = upstream.last();
        let is_tenant = |name: &str| name.replace(['_', '.'], "-") == "x-tenant";
        let fields = received.headers.iter().filter(|(name, _)| is_tenant(name.as_str()));
        fields.map(|(_, value)| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    ask("/sets/").await;
    assert_eq!(said(&app), ["acme"]);
    ask("/plain/").await;
    assert!(said(&app).is_empty(), "{:?}", said(&app));
    ask("/other/").await;
    assert!(said(&other).is_empty(), "it may be the same server: {:?}", said(&other));
}

#[tokio::test]
async fn another_method_in_the_query_is_refused_where_a_route_names_methods() {
    let upstream = Upstream::start().await;
    let post = "auth = []\nmethods = [\"POST\"]";
    let gateway = Gateway::builder()
        .route(&upstream, "/strict/", post)
        .route(&upstream, "/legacy/", &format!("{post}\nallow_method_override = true"))
        .route(&upstream, "/any/", "auth = []")
        .start()
        .await;
    let client = gateway.client();

    for query in [
        "_method=DELETE",
        "a=b&_method=DELETE",
        "%5fmethod=PUT",
        "_%6dethod",
        ".method=PUT",
        "+_method",
    ] {
        client.post(&format!("/strict/x?{query}")).send().await.assert_status(400);
    }
    upstream.assert_untouched();

    for target in [
        "/strict/x?method=DELETE",
        "/strict/x?a=_method",
        "/strict/x?my_method=DELETE",
        "/legacy/x?_method=DELETE",
        "/any/x?_method=DELETE",
    ] {
        client.post(target).send().await.assert_status(200);
        assert_eq!(upstream.last().target, target);
    }
}

#[tokio::test]
async fn another_method_is_let_through_only_where_the_route_says_so() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .route(&upstream, "/strict/", "auth = []")
        .route(&upstream, "/legacy/", "auth = []\nallow_method_override = true")
        .start()
        .await;
    let client = gateway.client();
    let names = ["x-http-method", "x-http-method-override", "x-method-override"];

    for (path, expected) in [("/strict/", None), ("/legacy/", Some("DELETE"))] {
        for name in names {
            let call = client.post(path).header(name, "DELETE");
            call.header("x-original-url", "/admin").header("x-rewrite-url", "/admin").send().await;
            let received = upstream.last();
            assert_eq!(received.header(name), expected, "{path} {name}");
            assert_eq!(received.header("x-original-url"), None, "{path}");
            assert_eq!(received.header("x-rewrite-url"), None, "{path}");
        }
    }
}
