//! Servers that fail requests are left out for a time that grows, and never too many of them.

use std::time::Duration;

use tokio::net::TcpListener;

use super::{Member, admin, ask_times, has_state, serving, urls};
use crate::harness::scripted_upstream::closed_port;

const IN_TURN: &str = "balance = \"round_robin\"\nretries = 0";

/// How many of these statuses are of the server that fails.
fn failures(statuses: &[u16]) -> usize {
    statuses.iter().filter(|status| **status >= 500).count()
}

#[tokio::test]
async fn five_failures_in_a_row_leave_a_server_out_for_a_time_that_grows() {
    let (bad, good) = (Member::start().await, Member::start().await);
    bad.answers(500);
    let gateway = serving(&urls(&[&bad, &good]), IN_TURN).await;

    let statuses = ask_times(&gateway, 40).await;
    assert_eq!((failures(&statuses), bad.requests()), (5, 5));
    assert!(has_state(&gateway, &bad.url(), "ejected").await);

    for (seconds, asked, why) in [
        (9, 0, "its time is not over"),
        (1, 1, "one more failure is enough"),
        (19, 0, "the second time is twice as long"),
        (1, 1, "again"),
        (29, 0, "and the third three times"),
    ] {
        gateway.advance(Duration::from_secs(seconds));
        let before = bad.requests();
        ask_times(&gateway, 10).await;
        assert_eq!(bad.requests() - before, asked, "{why}");
    }

    bad.answers(200);
    gateway.advance(Duration::from_secs(1));
    let statuses = ask_times(&gateway, 10).await;
    assert_eq!(failures(&statuses), 0);
    assert!(has_state(&gateway, &bad.url(), "up").await, "it is as good as before");
    bad.answers(500);
    assert_eq!(failures(&ask_times(&gateway, 30).await), 5, "and has five failures to go");
}

#[tokio::test]
async fn a_success_between_failures_is_a_new_beginning() {
    let (moody, good) = (Member::start().await, Member::start().await);
    let gateway = serving(&urls(&[&moody, &good]), IN_TURN).await;

    for _ in 0..5 {
        for status in [500, 500, 500, 500, 200] {
            moody.answers(status);
            let before = moody.requests();
            while moody.requests() == before {
                ask_times(&gateway, 1).await;
            }
        }
    }

    assert!(has_state(&gateway, &moody.url(), "up").await);
}

#[tokio::test]
async fn never_more_than_half_of_the_servers_are_left_out() {
    for (number, left_out) in [(1, 0), (2, 1), (3, 1), (4, 2)] {
        let mut members = Vec::new();
        for _ in 0..number {
            let member = Member::start().await;
            member.answers(503);
            members.push(member);
        }
        let urls = urls(&members.iter().collect::<Vec<_>>());
        let gateway = serving(&urls, IN_TURN).await;

        let statuses = ask_times(&gateway, 60).await;

        assert_eq!(failures(&statuses), 60, "the answers are theirs");
        let mut ejected = 0;
        for member in &members {
            ejected += usize::from(has_state(&gateway, &member.url(), "ejected").await);
        }
        assert_eq!(ejected, left_out, "of {number}");
        let asked: usize = members.iter().map(Member::requests).sum();
        assert_eq!(asked, 60, "and every request was asked of one");
        // Not a matter of checks.
        admin(&gateway).get("/readyz").send().await.assert_status(200);
    }
}

#[tokio::test]
async fn servers_that_refuse_break_off_or_say_nothing_are_left_out_too() {
    let refusing = closed_port().await;
    let breaking = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broken = breaking.local_addr().unwrap();
    let breaks = tokio::task::spawn(async move {
        while let Ok((mut stream, _)) = breaking.accept().await {
            // The request is read, or the client would not know that it arrived.
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await;
        }
    });
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (address, status) in [(refusing, 502), (broken, 502), (silent.local_addr().unwrap(), 504)] {
        let good = Member::start().await;
        let url = format!("http://{address}");
        let keys = format!(
            "{IN_TURN}\noutlier = {{ failures = 2 }}\ntimeouts = {{ first_byte = \"50ms\" }}"
        );
        let gateway = serving(&format!("{url:?}, {}", urls(&[&good])), &keys).await;

        let mut statuses = ask_times(&gateway, 6).await;
        // After a failed connect a server is asked last for a moment.
        gateway.advance(Duration::from_secs(5));
        statuses.extend(ask_times(&gateway, 6).await);

        assert_eq!(failures(&statuses), 2, "{statuses:?}");
        assert!(statuses.contains(&status), "{statuses:?}");
        assert!(has_state(&gateway, &url, "ejected").await, "{url}");
    }
    breaks.abort();
}

#[tokio::test]
async fn with_outlier_off_nobody_is_left_out() {
    let (bad, good) = (Member::start().await, Member::start().await);
    bad.answers(500);
    let gateway = serving(&urls(&[&bad, &good]), &format!("{IN_TURN}\noutlier = false")).await;

    let statuses = ask_times(&gateway, 40).await;

    assert!((19..=21).contains(&failures(&statuses)), "{statuses:?}");
    assert!(has_state(&gateway, &bad.url(), "up").await);
}

#[tokio::test]
async fn a_guess_does_not_take_what_checks_have_left() {
    let (down, bad) = (Member::start().await, Member::start().await);
    down.is_healthy(false);
    bad.answers(500);
    let keys = format!("{IN_TURN}\nhealth = {{ path = \"/ping\" }}");
    let gateway = serving(&urls(&[&down, &bad]), &keys).await;

    let statuses = ask_times(&gateway, 20).await;

    assert_eq!(statuses, vec![500; 20], "its answers are better than none");
    assert!(has_state(&gateway, &bad.url(), "up").await);
    assert_eq!(down.requests(), 0);
}

#[tokio::test]
async fn an_ejected_server_is_a_note_of_readiness() {
    let (bad, good) = (Member::start().await, Member::start().await);
    bad.answers(500);
    let gateway = serving(&urls(&[&bad, &good]), IN_TURN).await;
    ask_times(&gateway, 20).await;

    let ready = admin(&gateway).get("/readyz?verbose").send().await;

    let told = ready.assert_status(200).text();
    let note = format!("note: upstream pool: {} is left out because it failed", bad.url());
    assert!(told.contains(&note), "{told}");
}
