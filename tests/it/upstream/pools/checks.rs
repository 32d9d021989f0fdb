//! Active checks: who fails them is not asked, and the first are done before anybody is.

use std::time::Duration;

use tokio::net::TcpListener;
use tollhouse::config;
use tollhouse::settings::Config;

use super::{Member, admin, ask, ask_times, has_state, serving, until, urls};
use crate::harness::Gateway;

const EAGER: &str = "health = { path = \"/ping\", fall = 1, rise = 1 }";

#[tokio::test]
async fn a_server_that_fails_its_checks_is_asked_nothing_until_it_passes_them() {
    let (one, other) = (Member::start().await, Member::start().await);
    let gateway = serving(&urls(&[&one, &other]), "health = { path = \"/ping\" }").await;

    one.is_healthy(false);
    until(&gateway, &one.url(), "checks_failed").await;
    let before = one.requests();
    let statuses = ask_times(&gateway, 30).await;
    assert_eq!((statuses, one.requests()), (vec![200; 30], before));
    one.is_healthy(true);
    until(&gateway, &one.url(), "up").await;
    ask_times(&gateway, 30).await;

    assert!(one.requests() > before, "it takes its part again");
}

#[tokio::test]
async fn a_server_that_flaps_at_every_check_stays_what_it_was() {
    let (one, other) = (Member::start().await, Member::start().await);
    let gateway = serving(&urls(&[&one, &other]), "health = { path = \"/ping\" }").await;

    for round in 0..10 {
        one.is_healthy(round % 2 == 1);
        let before = one.checks();
        while one.checks() == before {
            gateway.advance(Duration::from_secs(6));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(has_state(&gateway, &one.url(), "up").await, "in round {round}");
    }
}

#[tokio::test]
async fn the_first_checks_are_done_before_a_request_is_taken() {
    let (down, up) = (Member::start().await, Member::start().await);
    down.is_healthy(false);

    let gateway = serving(&urls(&[&down, &up]), "health = { path = \"/ping\" }").await;

    assert!(
        has_state(&gateway, &down.url(), "checks_failed").await,
        "one failure is enough at first"
    );
    assert_eq!(ask_times(&gateway, 20).await, vec![200; 20]);
    assert_eq!((down.checks(), down.requests()), (1, 0));
}

#[tokio::test]
async fn with_every_server_down_requests_are_refused_and_servers_left_alone() {
    let (one, other) = (Member::start().await, Member::start().await);
    for member in [&one, &other] {
        member.is_healthy(false);
    }
    for servers in [urls(&[&one, &other]), urls(&[&one])] {
        let gateway = serving(&servers, EAGER).await;

        let refused = ask(&gateway).await;

        refused.assert_status(503).assert_code("unavailable").assert_header("retry-after", "5");
        let (requests, checks) = (one.requests() + other.requests(), one.checks());
        assert_eq!(requests, 0, "nothing but checks");
        let ready = admin(&gateway).get("/readyz?verbose").send().await;
        let told = ready.assert_status(200).text();
        assert!(told.contains("note: every server of `pool` fails"), "{told}");
        assert!(told.contains(&format!("note: upstream pool: {} fails", one.url())), "{told}");
        admin(&gateway).get("/readyz?require=pool").send().await.assert_status(503);
        assert_eq!(one.checks(), checks, "and no more of them than the interval says");
    }
}

#[tokio::test]
async fn an_upstream_that_is_down_takes_no_gateway_out_unless_it_is_asked_for() {
    let one = Member::start().await;
    one.is_healthy(false);
    let gateway = serving(&urls(&[&one]), EAGER).await;
    admin(&gateway).get("/readyz").send().await.assert_status(200);
    admin(&gateway).get("/readyz?require=pool").send().await.assert_status(503);

    one.is_healthy(true);
    until(&gateway, &one.url(), "up").await;

    admin(&gateway).get("/readyz?require=pool").send().await.assert_status(200);
    ask(&gateway).await.assert_status(200);
}

#[tokio::test]
async fn a_server_that_never_answers_its_check_does_not_hold_up_a_start() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let up = Member::start().await;
    let url = format!("http://{}", silent.local_addr().unwrap());
    let keys = "health = { path = \"/ping\", timeout = \"1s\" }";

    let gateway = serving(&format!("{url:?}, {}", urls(&[&up])), keys).await;

    assert!(has_state(&gateway, &url, "checks_failed").await, "no answer in time is none");
    assert_eq!(ask_times(&gateway, 10).await, vec![200; 10]);
}

#[tokio::test]
async fn a_check_is_passed_by_the_expected_status_alone_and_names_the_host() {
    for (status, passed) in [(204, true), (304, true), (200, false), (401, false)] {
        let one = Member::start().await;
        one.ping.store(status, std::sync::atomic::Ordering::SeqCst);
        let keys = "health = { path = \"/ping\", status = [\"204\", \"300-399\"], host = \"app.example\" }";

        let gateway = serving(&urls(&[&one]), keys).await;

        let state = if passed { "up" } else { "checks_failed" };
        assert!(has_state(&gateway, &one.url(), state).await, "{status}");
        let check = one.upstream.last();
        assert_eq!(check.header("host"), Some("app.example"));
        assert_eq!(check.method, "GET");
    }
}

fn read(gateway: &Gateway, from: &str, to: &str) -> Result<Config, String> {
    let path = gateway.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replace(from, to)).unwrap();
    let loaded = config::load(&path, &|_| None).map_err(|issues| issues.to_string());
    loaded.map(|loaded| loaded.config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_did_not_change_keeps_what_it_knows_over_a_reload() {
    let (down, up) = (Member::start().await, Member::start().await);
    down.is_healthy(false);
    let gateway = serving(&urls(&[&down, &up]), EAGER).await;

    let reloaded = tokio::task::block_in_place(|| {
        gateway.running().reload(|| read(&gateway, "path = \"/\"", "path = \"/other\""))
    });

    reloaded.unwrap();
    assert!(has_state(&gateway, &down.url(), "checks_failed").await);
    assert_eq!(down.checks(), 1, "nobody asked again");
    gateway.client().get("/other").send().await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_changed_knows_who_was_down() {
    let (down, up) = (Member::start().await, Member::start().await);
    down.is_healthy(false);
    let gateway = serving(&urls(&[&down, &up]), "health = { path = \"/ping\" }").await;

    // Its checks say nothing for now: they are on their way for longer than this test.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let third = format!("\"http://{}\", {:?}", silent.local_addr().unwrap(), up.url());
    let to = "timeout = \"5s\", path = \"/ping\"";
    tokio::task::block_in_place(|| {
        gateway.running().reload(|| {
            read(&gateway, &format!("{:?}", up.url()), &third)?;
            read(&gateway, "path = \"/ping\"", to)
        })
    })
    .unwrap();

    admin(&gateway).get("/readyz").send().await.assert_status(200);
    assert!(has_state(&gateway, &down.url(), "checks_failed").await);
    assert_eq!(down.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_new_after_a_reload_is_checked_before_it_is_used() {
    let (one, down, up) = (Member::start().await, Member::start().await, Member::start().await);
    down.is_healthy(false);
    let gateway = serving(&urls(&[&one]), "").await;

    let added = format!(
        "[[upstream]]\nname = \"pool\"\nservers = [{}]\nhealth = {{ path = \"/ping\" }}\n\n\
         [[upstream]]\nname = \"last\"",
        urls(&[&down, &up])
    );
    let from = "[[upstream]]\nname = \"pool\"";
    tokio::task::block_in_place(|| gateway.running().reload(|| read(&gateway, from, &added)))
        .unwrap();

    assert!(has_state(&gateway, &down.url(), "checks_failed").await);
    assert_eq!(ask_times(&gateway, 20).await, vec![200; 20]);
    assert_eq!((down.checks(), down.requests(), one.requests()), (1, 0, 0));
}

#[tokio::test]
async fn a_check_shows_the_credential_that_the_upstream_demands() {
    let one = Member::start().await;
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s3cret").unwrap();
    let keys = format!(
        "health = {{ path = \"/ping\" }}\ncredential = {{ bearer = {{ file = {:?} }} }}",
        secret.display().to_string()
    );

    let gateway = serving(&urls(&[&one]), &keys).await;

    assert!(has_state(&gateway, &one.url(), "up").await);
    assert_eq!(one.upstream.last().header("authorization"), Some("Bearer s3cret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_end_with_the_last_generation_that_knows_them() {
    let (one, other) = (Member::start().await, Member::start().await);
    let gateway = serving(&urls(&[&one]), EAGER).await;
    assert_eq!(one.checks(), 1);

    let (from, to) = (urls(&[&one]), urls(&[&other]));
    tokio::task::block_in_place(|| gateway.running().reload(|| read(&gateway, &from, &to)))
        .unwrap();
    while other.checks() < 3 {
        gateway.advance(Duration::from_secs(6));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    assert_eq!(one.checks(), 1, "it is not in the configuration any more");
}
