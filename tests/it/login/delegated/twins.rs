//! Two people of a legacy system whose names look alike: neither ever becomes the other.

use serde_json::json;

use super::legacy::Webitel;
use super::{claims, front, http, identity, log_in, refresh, refreshed};
use crate::harness::gateway::PASSWORD;
use crate::harness::{Reply, Upstream};

const FINAL: &str = "import_final = true\nnames = \"case_blind\"";
const TWIN: &str = "the password of a twin";

/// Names that this side folds into `alice`, and that the legacy system tells from it.
const TWINS: [&str; 3] = ["\u{ff41}lice", "Alice", "alice "];

async fn legacy(twin: &str) -> Webitel {
    let legacy = Webitel::start().await;
    legacy.tell_case_apart(true);
    legacy.add("alice", PASSWORD, json!({ "role": 1 }));
    legacy.add(twin, TWIN, json!({ "role": 0 }));
    legacy
}

fn subject(session: &Reply) -> String {
    claims(&session.member("access_token"))["uid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_twin_of_the_legacy_system_is_refused_and_never_merged() {
    for twin in TWINS {
        for keys in ["", "import = true", FINAL] {
            let (upstream, legacy) = (Upstream::start().await, legacy(twin).await);
            let section = http(&legacy.url(), "webitel", keys);
            let gateway = front(&section).route_to(&upstream, "").start().await;
            let alice = log_in(&gateway, "alice", PASSWORD).await;
            let person = identity(&gateway, &upstream, &alice).await;

            let refused = log_in(&gateway, twin, TWIN).await;

            assert_eq!(refused.status, 401, "{twin:?} with {keys:?}: {}", refused.text());
            let alice = refreshed(&gateway, &alice).await;
            assert_eq!(identity(&gateway, &upstream, &alice).await, person, "{twin:?}");
            // The password of the remembered user is good in every spelling.
            let other = log_in(&gateway, twin, PASSWORD).await;
            assert_eq!(identity(&gateway, &upstream, &other).await, person, "{twin:?}");
        }
    }
}

#[tokio::test]
async fn a_twins_password_never_replaces_an_imported_hash() {
    for twin in TWINS {
        let legacy = legacy(twin).await;
        let gateway = front(&http(&legacy.url(), "webitel", "import = true")).start().await;
        log_in(&gateway, "alice", PASSWORD).await.assert_status(200);
        log_in(&gateway, twin, TWIN).await.assert_status(401);
        let dir = gateway.stop().await;

        legacy.down(true);
        let gateway = front(&http(&legacy.url(), "webitel", FINAL)).on(dir).start().await;

        log_in(&gateway, "alice", TWIN).await.assert_status(401);
        log_in(&gateway, twin, TWIN).await.assert_status(401);
        log_in(&gateway, "alice", PASSWORD).await.assert_status(200);
    }
}

#[tokio::test]
async fn a_twin_who_came_first_is_another_user_than_the_one_who_comes_later() {
    for twin in TWINS {
        let legacy = legacy(twin).await;
        let gateway = front(&http(&legacy.url(), "webitel", "import = true")).start().await;
        let first = log_in(&gateway, twin, TWIN).await;
        log_in(&gateway, "alice", PASSWORD).await.assert_status(401);
        let first = refreshed(&gateway, &first).await;

        legacy.remove(twin);
        log_in(&gateway, twin, TWIN).await.assert_status(401);
        refresh(&gateway, &first).await.assert_status(401);
        let alice = log_in(&gateway, "alice", PASSWORD).await;

        assert_ne!(
            subject(&alice),
            subject(&first),
            "{twin:?}: not the heir of what was another's"
        );
    }
}

#[tokio::test]
async fn a_twin_is_not_merged_where_the_user_came_by_another_name() {
    let (upstream, legacy) = (Upstream::start().await, Webitel::start().await);
    legacy.tell_case_apart(true);
    legacy.add("alice@example.com", PASSWORD, json!({ "username": "alice" }));
    legacy.add("alice", PASSWORD, json!({}));
    legacy.add("\u{ff41}lice", TWIN, json!({}));
    let section = http(&legacy.url(), "webitel", "import = true");
    let gateway = front(&section).route_to(&upstream, "").start().await;
    let name = log_in(&gateway, "alice", PASSWORD).await;
    let mail = log_in(&gateway, "alice@example.com", PASSWORD).await;
    assert_eq!(subject(&mail), subject(&name), "the system says one name of both");

    let twin = log_in(&gateway, "\u{ff41}lice", TWIN).await;

    assert_ne!(subject(&twin), subject(&mail));
    let mail = refreshed(&gateway, &mail).await;
    let [_, name, _] = identity(&gateway, &upstream, &mail).await;
    assert_eq!(name.as_deref(), Some("alice"));
}

#[tokio::test]
async fn two_people_whom_the_system_tells_apart_by_ids_are_two_users() {
    let legacy = Webitel::start().await;
    legacy.tell_case_apart(true);
    legacy.add("bob", PASSWORD, json!({ "id": 1 }));
    legacy.add("Bob", TWIN, json!({ "id": 2 }));
    let keys = "import = true\nmap = { id = \"answer.id\" }";
    let gateway = front(&http(&legacy.url(), "webitel", keys)).start().await;

    let one = log_in(&gateway, "bob", PASSWORD).await;
    let two = log_in(&gateway, "Bob", TWIN).await;

    assert_ne!(subject(&one), subject(&two));
    refreshed(&gateway, &one).await;
    refreshed(&gateway, &two).await;
}
