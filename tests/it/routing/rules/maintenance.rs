//! Maintenance of a route: who is told, when, in which form, and how it begins and ends.

use http::Method;
use tollhouse::config;

use crate::harness::{Gateway, Upstream};

fn route(upstream: &Upstream, keys: &str) -> String {
    format!(
        "[[upstream]]\nname = \"app\"\nservers = [\"{}\"]\n\
         [[route]]\npath = \"/\"\nupstream = \"app\"\n{keys}\n",
        upstream.url()
    )
}

#[tokio::test]
async fn nobody_is_asked_who_he_is_and_preflights_are_answered() {
    let upstream = Upstream::start().await;
    let keys = "errors = \"datarhei\"\ncors = { origins = [\"https://app.example\"] }\n\
                maintenance = { message = \"Back at noon.\" }";
    let gateway = Gateway::builder().login("native").config(&route(&upstream, keys)).start().await;
    let client = gateway.client();
    let origin = ("origin", "https://app.example");

    let nobody = client.get("/x").header(origin.0, origin.1).send().await;
    let forged = client.post("/x").bearer("no.token.atall").body("a body").send().await;
    let head = client.call(Method::HEAD, "/x").send().await;
    let preflight = client.call(Method::OPTIONS, "/x").header(origin.0, origin.1);
    let preflight = preflight.header("access-control-request-method", "PUT").send().await;

    for reply in [&nobody, &forged, &head] {
        reply.assert_status(503).assert_header("retry-after", "600");
        assert_eq!(reply.header("www-authenticate"), None);
    }
    nobody.assert_header("access-control-allow-origin", "https://app.example");
    assert_eq!(nobody.json()["code"], 503, "in the route's form: {}", nobody.text());
    preflight.assert_status(204);
    upstream.assert_untouched();
    let line = &gateway.access_log()[0];
    assert_eq!((&line["outcome"], &line["reason"]), (&"refused".into(), &"unavailable".into()));
}

#[tokio::test]
async fn who_works_on_it_is_known_by_the_address_that_a_trusted_proxy_says() {
    let upstream = Upstream::start().await;
    let keys = "maintenance = { networks = [\"192.0.2.0/24\", \"2001:db8::/32\"] }";
    let builder = Gateway::builder().listener("trusted_proxies = [\"127.0.0.1\"]");
    let gateway = builder.login("native").config(&route(&upstream, keys)).start().await;
    let from = |address: &'static str| {
        let client = gateway.client();
        async move { client.get("/").header("x-forwarded-for", address).send().await }
    };

    for stranger in ["198.51.100.7", "192.0.2.7, 198.51.100.7", "2001:db9::1"] {
        from(stranger).await.assert_status(503);
    }
    gateway.client().get("/").send().await.assert_status(503);
    upstream.assert_untouched();
    for known in ["192.0.2.7", "198.51.100.7, 192.0.2.7", "2001:db8::1"] {
        from(known).await.assert_status(401);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn an_address_that_a_stranger_claims_lets_nobody_in() {
    let upstream = Upstream::start().await;
    let keys = "auth = []\nmaintenance = { networks = [\"192.0.2.0/24\"] }";
    let gateway = Gateway::builder().config(&route(&upstream, keys)).start().await;

    for name in ["x-forwarded-for", "x-real-ip", "forwarded"] {
        let call = gateway.client().get("/").header(name, "192.0.2.7").send().await;
        call.assert_status(503);
    }
    upstream.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_begins_and_ends_with_a_reload() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().config(&route(&upstream, "auth = []")).start().await;
    let path = gateway.dir().join("gateway.toml");
    let open = std::fs::read_to_string(&path).unwrap();
    let closed = open.replace("auth = []", "auth = []\nmaintenance = true");
    let reload = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let read = || {
            let loaded = config::load(&path, &|_| None).map_err(|issues| issues.to_string())?;
            Ok(loaded.config)
        };
        tokio::task::block_in_place(|| gateway.running().reload(read)).unwrap();
    };
    let client = gateway.client();

    client.get("/").send().await.assert_status(200);
    reload(&closed);
    client.get("/").send().await.assert_status(503);
    reload(&open);
    client.get("/").send().await.assert_status(200);
    assert_eq!(upstream.received().len(), 2);
}
