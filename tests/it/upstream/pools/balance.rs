//! Weights, keys, backups, and the share of a server that came back.

use std::time::Duration;

use super::{Member, ask, ask_times, serving, until, urls};
use crate::harness::Gateway;

#[tokio::test]
async fn weights_say_how_many_requests_a_server_gets() {
    for balance in ["round_robin", "least_requests"] {
        let (light, heavy) = (Member::start().await, Member::start().await);
        let servers = format!("{{ url = {:?}, weight = 3 }}, {:?}", heavy.url(), light.url());
        let gateway = serving(&servers, &format!("balance = \"{balance}\"")).await;

        ask_times(&gateway, 120).await;

        let (light, heavy) = (light.requests(), heavy.requests());
        assert_eq!(light + heavy, 120);
        // By chance with two workers in the middle of a round, or two choices at random.
        let expected = if balance == "round_robin" { 26..=34 } else { 12..=55 };
        assert!(expected.contains(&light), "{balance}: {light} to {heavy}");
    }
}

/// Which member got the one request that was sent since.
fn taken(members: &[&Member], before: &[usize]) -> usize {
    members.iter().zip(before).position(|(member, before)| member.requests() > *before).unwrap()
}

async fn owner(gateway: &Gateway, members: &[&Member], field: &str, value: &str) -> usize {
    let before: Vec<usize> = members.iter().map(|member| member.requests()).collect();
    gateway.client().get("/").header(field, value).send().await.assert_status(200);
    taken(members, &before)
}

#[tokio::test]
async fn a_key_stays_at_its_server_and_a_lost_server_moves_only_its_own_keys() {
    for (by, field, prefix) in [
        ("{ header = \"X-Tenant\" }", "x-tenant", ""),
        ("{ cookie = \"sid\" }", "cookie", "theme=dark; sid="),
    ] {
        let members = [Member::start().await, Member::start().await, Member::start().await];
        let members: Vec<&Member> = members.iter().collect();
        let keys = format!(
            "balance = \"hash\"\nhash_by = {by}\nhealth = {{ path = \"/ping\", fall = 1, rise = 1 }}"
        );
        let gateway = serving(&urls(&members), &keys).await;
        let mut owners = Vec::new();
        for key in 0..30 {
            owners.push(owner(&gateway, &members, field, &format!("{prefix}k{key}")).await);
        }

        members[1].is_healthy(false);
        until(&gateway, &members[1].url(), "checks_failed").await;
        let mut without = Vec::new();
        for key in 0..30 {
            without.push(owner(&gateway, &members, field, &format!("{prefix}k{key}")).await);
        }
        members[1].is_healthy(true);
        until(&gateway, &members[1].url(), "up").await;
        let mut again = Vec::new();
        for key in 0..30 {
            again.push(owner(&gateway, &members, field, &format!("{prefix}k{key}")).await);
        }

        assert!((0..3).all(|one| owners.contains(&one)), "{owners:?}");
        for (before, after) in owners.iter().zip(&without) {
            assert!(*after != 1 && (*before == 1 || before == after), "{owners:?} {without:?}");
        }
        assert_eq!(owners, again);
    }
}

#[tokio::test]
async fn a_subject_stays_at_its_server_whatever_its_connection() {
    let (one, other) = (Member::start().await, Member::start().await);
    let gateway = Gateway::builder()
        .login("native")
        .config(&format!(
            "[[upstream]]\nname = \"pool\"\nservers = [{}]\nbalance = \"hash\"\n\
             hash_by = \"subject\"\n[[route]]\npath = \"/\"\nupstream = \"pool\"",
            urls(&[&one, &other])
        ))
        .start()
        .await;

    for name in ["alice", "bob"] {
        let before = [one.requests(), other.requests()];
        for _ in 0..2 {
            let token = gateway.token(name).await;
            for _ in 0..5 {
                gateway.client().get("/").bearer(&token).send().await.assert_status(200);
            }
        }
        let got = [one.requests() - before[0], other.requests() - before[1]];
        assert!(got == [10, 0] || got == [0, 10], "{name}: {got:?}");
    }
}

#[tokio::test]
async fn without_a_key_the_clients_address_is_the_key() {
    let (one, other) = (Member::start().await, Member::start().await);
    let keys = "balance = \"hash\"\nhash_by = { header = \"X-Tenant\" }";
    let gateway = serving(&urls(&[&one, &other]), keys).await;

    ask_times(&gateway, 10).await;

    let got = [one.requests(), other.requests()];
    assert!(got == [10, 0] || got == [0, 10], "{got:?}");
}

#[tokio::test]
async fn a_backup_is_used_only_while_no_other_server_can_be() {
    for balance in ["round_robin", "least_requests", "hash"] {
        let members = [Member::start().await, Member::start().await, Member::start().await];
        let [one, other, backup] = &members;
        let servers =
            format!("{}, {{ url = {:?}, backup = true }}", urls(&[one, other]), backup.url());
        let keys =
            format!("balance = \"{balance}\"\nhealth = {{ path = \"/ping\", fall = 1, rise = 1 }}");
        let gateway = serving(&servers, &keys).await;

        ask_times(&gateway, 10).await;
        one.is_healthy(false);
        until(&gateway, &one.url(), "checks_failed").await;
        ask_times(&gateway, 10).await;
        assert_eq!(backup.requests(), 0, "{balance}: one is left");
        other.is_healthy(false);
        until(&gateway, &other.url(), "checks_failed").await;
        let statuses = ask_times(&gateway, 10).await;
        assert_eq!((backup.requests(), statuses), (10, vec![200; 10]), "{balance}");
        one.is_healthy(true);
        until(&gateway, &one.url(), "up").await;
        ask_times(&gateway, 10).await;

        assert_eq!(backup.requests(), 10, "{balance}: not needed any more");
    }
}

#[tokio::test]
async fn a_server_that_came_back_takes_on_load_slowly() {
    let (old, new) = (Member::start().await, Member::start().await);
    let keys = "balance = \"round_robin\"\nslow_start = \"1h\"\n\
                health = { path = \"/ping\", fall = 1, rise = 1 }";
    let gateway = serving(&urls(&[&old, &new]), keys).await;
    let share = async || {
        let before = new.requests();
        ask_times(&gateway, 200).await;
        new.requests() - before
    };

    let always = share().await;
    new.is_healthy(false);
    until(&gateway, &new.url(), "checks_failed").await;
    let without = share().await;
    new.is_healthy(true);
    until(&gateway, &new.url(), "up").await;
    let first = share().await;
    gateway.advance(Duration::from_secs(1800));
    let half = share().await;
    gateway.advance(Duration::from_secs(1800));
    let full = share().await;

    assert_eq!(without, 0);
    assert!((97..=103).contains(&always), "its share from the start: {always}");
    assert!((1..=30).contains(&first), "a tenth of its share: {first}");
    assert!((30..=72).contains(&half), "half of its share: {half}");
    assert!((97..=103).contains(&full), "all of its share: {full}");
}

#[tokio::test]
async fn servers_that_came_back_together_still_take_every_request() {
    let (one, other) = (Member::start().await, Member::start().await);
    let keys = "slow_start = \"1h\"\nhealth = { path = \"/ping\", fall = 1, rise = 1 }";
    let gateway = serving(&urls(&[&one, &other]), keys).await;
    for healthy in [false, true] {
        let state = if healthy { "up" } else { "checks_failed" };
        for member in [&one, &other] {
            member.is_healthy(healthy);
            until(&gateway, &member.url(), state).await;
        }
    }

    for _ in 0..20 {
        ask(&gateway).await.assert_status(200);
    }
}
