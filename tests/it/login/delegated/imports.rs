//! Users who are taken over with their passwords.

use serde_json::json;

use super::legacy::Webitel;
use super::{claims, front, http, identity, log_in, refresh, refreshed};
use crate::harness::gateway::PASSWORD;
use crate::harness::{Gateway, Reply, Upstream};

/// Imported hashes decide, at a system that never tells names apart by their case.
const FINAL: &str = "import_final = true\nnames = \"case_blind\"";

fn subject(session: &Reply) -> String {
    claims(&session.member("access_token"))["uid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn while_the_legacy_system_is_configured_it_decides_and_with_import_final_its_hash_does() {
    let upstream = Upstream::start().await;
    let legacy = Webitel::start().await;
    legacy.add("ann", PASSWORD, json!({ "role": 1 }));
    legacy.add("bob", PASSWORD, json!({}));
    let section = |keys: &str| http(&legacy.url(), "webitel", keys);

    // Day one: nothing is taken over.
    let gateway = front(&section("")).start().await;
    let session = log_in(&gateway, "ann", PASSWORD).await;
    let person = subject(&session);
    let dir = gateway.stop().await;

    // Day two: hashes are, and whoever was in stays in.
    let gateway = front(&section("import = true")).on(dir).start().await;
    let session = refreshed(&gateway, &session).await;
    let again = log_in(&gateway, "ann", PASSWORD).await;
    assert_eq!(subject(&again), person);
    let session = refreshed(&gateway, &session).await;
    legacy.down(true);
    for password in [PASSWORD, "wrong"] {
        log_in(&gateway, "ann", password).await.assert_status(503);
    }
    legacy.down(false);
    let dir = gateway.stop().await;

    // The hash decides; who has none is still asked for.
    let gateway = front(&section(FINAL)).on(dir).start().await;
    let asked = legacy.asked();
    log_in(&gateway, "ann", PASSWORD).await.assert_status(200);
    log_in(&gateway, "ann", "wrong").await.assert_status(401);
    assert_eq!(legacy.asked(), asked, "ann is asked for no more");
    log_in(&gateway, "bob", "wrong").await.assert_status(401);
    legacy.down(true);
    log_in(&gateway, "bob", PASSWORD).await.assert_status(503);
    log_in(&gateway, "ANN ", PASSWORD).await.assert_status(200);
    legacy.down(false);
    log_in(&gateway, "bob", PASSWORD).await.assert_status(200);
    legacy.down(true);
    log_in(&gateway, "bob", PASSWORD).await.assert_status(200);
    let session = refreshed(&gateway, &session).await;
    let dir = gateway.stop().await;

    // Day three: the legacy system is off for good.
    let section = section(FINAL).replace(&format!("url = \"{}\"\n", legacy.url()), "");
    let gateway = front(&section).route_to(&upstream, "").on(dir).start().await;
    let asked = legacy.asked();
    let later = log_in(&gateway, "ann", PASSWORD).await;
    assert_eq!(
        identity(&gateway, &upstream, &later).await,
        [Some(person), Some("ann".into()), Some("admin".into())]
    );
    refreshed(&gateway, &session).await;
    log_in(&gateway, "ann", "wrong").await.assert_status(401);
    log_in(&gateway, "carol", PASSWORD).await.assert_status(401);
    assert_eq!(legacy.asked(), asked);
}

#[tokio::test]
async fn another_password_there_ends_the_sessions_here_and_is_imported() {
    let legacy = Webitel::start().await;
    legacy.add("ann", PASSWORD, json!({}));
    let gateway = front(&http(&legacy.url(), "webitel", "import = true")).start().await;
    let (one, two) =
        tokio::join!(log_in(&gateway, "ann", PASSWORD), log_in(&gateway, "ann", PASSWORD));
    let (one, two) = (refreshed(&gateway, &one).await, refreshed(&gateway, &two).await);

    legacy.add("ann", "another password", json!({}));
    log_in(&gateway, "ann", PASSWORD).await.assert_status(401);
    let (one, two) = (refreshed(&gateway, &one).await, refreshed(&gateway, &two).await);
    let (three, four) = tokio::join!(
        log_in(&gateway, "ann", "another password"),
        log_in(&gateway, "ann", "another password")
    );

    refresh(&gateway, &one).await.assert_status(401);
    refresh(&gateway, &two).await.assert_status(401);
    refreshed(&gateway, &three).await;
    refreshed(&gateway, &four).await;
    let dir = gateway.stop().await;
    legacy.down(true);
    let gateway = front(&http(&legacy.url(), "webitel", FINAL)).on(dir).start().await;
    log_in(&gateway, "ann", PASSWORD).await.assert_status(401);
    log_in(&gateway, "ann", "another password").await.assert_status(200);
}

#[tokio::test]
async fn who_is_removed_there_before_the_end_is_not_imported_any_more() {
    let legacy = Webitel::start().await;
    legacy.add("ann", PASSWORD, json!({}));
    let gateway = front(&http(&legacy.url(), "webitel", "import = true")).start().await;
    let session = log_in(&gateway, "ann", PASSWORD).await;

    legacy.remove("ann");
    log_in(&gateway, "ann", PASSWORD).await.assert_status(401);

    refresh(&gateway, &session).await.assert_status(401);
    let dir = gateway.stop().await;
    legacy.down(true);
    let gateway = front(&http(&legacy.url(), "webitel", FINAL)).on(dir).start().await;
    log_in(&gateway, "ann", PASSWORD).await.assert_status(503);
}

#[tokio::test]
async fn a_name_that_has_become_somebody_elses_is_not_the_first_ones_any_more() {
    let legacy = Webitel::start().await;
    legacy.add("ann", PASSWORD, json!({ "id": 1 }));
    let keys = "import = true\nmap = { id = \"answer.id\" }";
    let gateway = front(&http(&legacy.url(), "webitel", keys)).start().await;
    let first = log_in(&gateway, "ann", PASSWORD).await;

    legacy.add("ann", "of another ann", json!({ "id": 2 }));
    let second = log_in(&gateway, "ann", "of another ann").await;

    assert_ne!(subject(&first), subject(&second));
    refresh(&gateway, &first).await.assert_status(401);
    refreshed(&gateway, &second).await;
}

#[tokio::test]
async fn a_store_that_is_down_lets_nobody_in_by_mistake() {
    let faults = std::sync::Arc::new(tollhouse::session::InjectedFaults::default());
    let legacy = Webitel::start().await;
    legacy.add("ann", PASSWORD, json!({}));
    let gateway: Gateway =
        front(&http(&legacy.url(), "webitel", "import = true")).faults(&faults).start().await;
    log_in(&gateway, "ann", PASSWORD).await.assert_status(200);

    faults.fail_writes(true);

    log_in(&gateway, "ann", PASSWORD).await.assert_status(503);
    log_in(&gateway, "ann", "wrong").await.assert_status(503);
}
