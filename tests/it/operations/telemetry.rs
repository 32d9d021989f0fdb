//! Lines on their way to a file: nothing is lost that was taken, and nothing waits for the disk.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use tollhouse::settings::LogTarget;
use tollhouse::telemetry::line_writer::LineWriter;

use crate::harness::scripted_upstream::eventually;
use crate::harness::{Gateway, Upstream};

/// Waits until `met`; a writer that is never woken fails the test instead of hanging it.
fn until(what: &str, met: impl Fn() -> bool) {
    let started = Instant::now();
    while !met() {
        assert!(started.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_line_is_in_the_file_without_closing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let sink = LineWriter::open(&LogTarget::File(path.clone())).unwrap();

    sink.write(b"one\n");

    until("the line is written", || fs::read_to_string(&path).unwrap() == "one\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o027, 0, "not for others");
}

#[test]
fn the_last_handle_writes_out_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let sink = LineWriter::open(&LogTarget::File(path.clone())).unwrap();
    let other = sink.clone();

    sink.write(b"one\n");
    drop(sink);
    other.write(b"two\n");
    drop(other);

    assert_eq!(fs::read_to_string(path).unwrap(), "one\ntwo\n");
}

#[test]
fn lines_before_a_rotation_are_in_the_old_file_and_later_ones_in_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let sink = LineWriter::open(&LogTarget::File(path.clone())).unwrap();

    sink.write(b"before\n");
    fs::rename(&path, &old).unwrap();
    sink.reopen();
    until("the file is there again", || path.exists());
    sink.write(b"after\n");
    sink.close();

    assert_eq!(fs::read_to_string(old).unwrap(), "before\n");
    assert_eq!(fs::read_to_string(path).unwrap(), "after\n");
    assert_eq!(sink.dropped(), 0);
}

#[test]
fn a_writer_that_stands_still_costs_lines_and_never_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    // Both ends, so that opening does not wait; nobody reads, so that writing does.
    let reader = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let sink = LineWriter::open(&LogTarget::File(path)).unwrap();
    let line = [b'x'; 1024];

    for _ in 0..4096 {
        sink.write(&line);
    }

    let dropped = sink.dropped();
    assert!(dropped >= 1024, "a pipe and the buffer hold less than 3 MiB");
    // What was taken is still written once somebody reads.
    let taken = (4096 - dropped) * 1024;
    let drain = std::thread::spawn(move || io::copy(&mut reader.take(taken), &mut io::sink()));
    sink.close();
    assert_eq!(drain.join().unwrap().unwrap(), taken);
    assert_eq!(sink.dropped(), dropped);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_lines_have_the_form_that_is_asked_for_and_a_reload_changes_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .config("[log]\naccess_format = \"combined\"")
        .route_to(&upstream, "auth = []")
        .start()
        .await;
    let call = async || {
        let before = gateway.running().access_lines().lines().count();
        let client = gateway.client();
        let call = client.get("/a?token=secret").header("user-agent", "curl/8");
        call.send().await.assert_status(200);
        eventually(|| gateway.running().access_lines().lines().count() > before).await;
        gateway.running().access_lines().lines().last().unwrap().to_owned()
    };
    let combined = call().await;

    let path = gateway.dir().join("gateway.toml");
    let text = fs::read_to_string(&path).unwrap().replace("\"combined\"", "\"logfmt\"");
    fs::write(&path, text).unwrap();
    let read = || {
        let loaded = tollhouse::config::load(&path, &|_| None);
        loaded.map(|loaded| loaded.config).map_err(|issues| issues.to_string())
    };
    tokio::task::block_in_place(|| gateway.running().reload(read)).unwrap();
    let logfmt = call().await;

    assert!(combined.starts_with("127.0.0.1 - - ["), "{combined}");
    assert!(combined.contains("] \"GET /a HTTP/1.1\" 200 "), "{combined}");
    assert!(combined.ends_with(" \"-\" \"curl/8\""), "{combined}");
    assert!(
        logfmt.contains(" url.path=\"/a\" http.route=\"/\" http.response.status_code=200 "),
        "{logfmt}"
    );
}
