//! What `tollhouse observe` tells of a route that does not enforce its rule yet.

use crate::harness::Upstream;
use crate::harness::process::Process;

const SECTIONS: &str = r#"
[[upstream]]
name = "api"
servers = ["UPSTREAM"]
[[route]]
path = "/api/"
upstream = "api"
require = { roles = ["admin"] }
enforce = false
[[route]]
path = "/strict/"
upstream = "api"
"#;

#[tokio::test]
async fn a_route_that_observes_tells_whom_it_would_refuse_and_why() {
    let upstream = Upstream::start().await;
    let gateway = Process::plain(&SECTIONS.replace("UPSTREAM", &upstream.url()));
    let (alice, bob) = (gateway.token("alice").await, gateway.token("bob").await);
    let client = gateway.client();
    client.get("/api/x").bearer(&alice).send().await.assert_status(200);
    for _ in 0..3 {
        client.get("/api/x").bearer(&bob).send().await.assert_status(200);
    }
    client.get("/api/x").send().await.assert_status(200);
    client.get("/strict/x").send().await.assert_status(401);

    let told = gateway.command(&["observe"]).ok();

    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "/api/  would refuse 4 of 5");
    assert!(lines[1].contains("3  not_permitted") && lines[1].contains("bob ("), "{told}");
    assert!(lines[2].contains("1  credential_missing"), "{told}");
    assert!(lines[2].contains("from 127.0.0.1"), "{told}");
    assert_eq!(lines.len(), 3, "what is enforced is not observed: {told}");
}

#[tokio::test]
async fn what_was_observed_can_be_read_by_a_program_and_forgotten() {
    let upstream = Upstream::start().await;
    let gateway = Process::plain(&SECTIONS.replace("UPSTREAM", &upstream.url()));
    gateway.client().get("/api/x").send().await.assert_status(200);

    let json = gateway.command(&["observe", "--json", "--forget"]).ok();
    let after = gateway.command(&["observe"]).ok();

    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(told["routes"][0]["callers"][0]["reason"], "credential_missing");
    assert_eq!(after, "nothing observed: no route with enforce = false has been called\n");
}
