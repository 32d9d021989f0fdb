//! Reloads one after the other under load: no request fails, and the memory stays as it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::Method;
use tokio::task::JoinHandle;
use tollhouse::admin::client;

use crate::harness::Client;
use crate::harness::load::{KeptClient, Tally, new_connections};
use crate::harness::process::{Process, folder};

/// How much the memory may grow in the second half of the reloads, in KiB. What grew with each
/// reload by as much as one generation takes would be more.
const GROWTH: u64 = 8 << 10;

/// Two configurations in turn that differ in everything that a reload changes in place: limits of the
/// listener, routes, an upstream with its pool, a source of users, an algorithm.
fn sections(upstream: &str, number: usize) -> String {
    let is_odd = number % 2 == 1;
    let retries = if is_odd { 1 } else { 2 };
    let algorithm = if is_odd { "ES256" } else { "ES384" };
    let other = if is_odd {
        "[[upstream]]\nname = \"w\"\nservers = [\"builtin:echo\"]\n[[route]]\npath = \"/other/\"\nupstream = \
         \"w\"\nauth = []\n"
    } else {
        ""
    };
    let routes: String = (0..50)
        .map(|route| format!("[[route]]\npath = \"/r{number}/{route}\"\nupstream = \"u\"\n"))
        .collect();
    format!(
        "algorithm = \"{algorithm}\"\n[process]\ndrain_delay = \"0s\"\nworkers = 2\n\
         [[upstream]]\nname = \"u\"\nservers = [\"{upstream}\"]\nretries = {retries}\n\
         [[route]]\npath = \"/\"\nupstream = \"u\"\n{other}{routes}"
    )
}

fn write(process: &Process, upstream: &str, number: usize) {
    let limits = 100 + number % 2;
    let listener = format!(
        "listener = [{{ address = \"127.0.0.1:{}\", limits = {{ header_count = {limits} }} }}]\n",
        process.port
    );
    let text = format!(
        "{listener}users = [{{ name = \"staff\", kind = \"file\", path = \"users.toml\" }}]\n\
         login = [{{ dialect = \"native\" }}]\n[token]\nissuer = \"https://gateway.example\"\n\
         audience = [\"legacy\"]\n{}",
        sections(upstream, number)
    );
    std::fs::write(process.path("gateway.toml"), text).unwrap();
}

/// Resident memory of a process in KiB.
fn resident(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn reload_under_load(reloads: usize) {
    let upstream = crate::harness::Upstream::start().await;
    let (dir, port) = folder("");
    let process = {
        let process = Process::start(dir, port);
        process.wait_for_commands();
        process
    };
    let url = upstream.url();
    write(&process, &url, 0);
    process.command(&["reload"]).ok();
    let token = process.token("alice").await;
    let tally = Arc::new(Tally::default());
    let mut clients: Vec<JoinHandle<Vec<String>>> = Vec::new();
    for _ in 0..3 {
        let client = KeptClient { unix: None, port, token: token.clone() };
        clients.push(tokio::spawn(client.load(tally.clone())));
    }
    for token in [Some(token.clone()), Some(token), None] {
        clients.push(tokio::spawn(new_connections(process.client(), token, tally.clone())));
    }
    tally.more(50).await;

    let socket = process.path("state/admin.sock");
    let mut settled = 0;
    for number in 1..=reloads {
        write(&process, &url, number);
        let (status, answer) = client::call(&socket, Method::POST, "/reload", None).await.unwrap();
        assert_eq!(status, 200, "reload {number}: {answer}");
        // The allocator's arenas take some reloads to fill, more of them on a busy machine.
        if number == reloads / 2 {
            settled = resident(&process);
        }
    }

    let grown = resident(&process);
    tally.stop.store(true, Ordering::SeqCst);
    let mut failures = Vec::new();
    for client in clients {
        failures.extend(client.await.unwrap());
    }
    let done = tally.done();
    assert!(done > reloads, "{done} requests");
    let some = &failures[..failures.len().min(5)];
    assert!(failures.is_empty(), "{} of {done}, as {some:#?}", failures.len());
    assert!(grown <= settled + GROWTH, "{settled} KiB grew to {grown} KiB");
    let other = Client::plain(process.client().address).get("/other/").send().await;
    let expected = if reloads % 2 == 1 { 200 } else { 401 };
    other.assert_status(expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_load_fail_no_request_and_keep_the_memory() {
    reload_under_load(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: tests/run --long"]
async fn a_thousand_reloads_under_load_fail_no_request_and_keep_the_memory() {
    reload_under_load(1000).await;
}
