//! What was acknowledged survives `kill -9`, a failing disk and a full one.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tollhouse_core::clock::{Clock, TestClock};
use tollhouse_core::identity::SessionId;
use tollhouse_core::secret::random;
use tollhouse_store::{
    EmbeddedOptions, EmbeddedStore, InjectedFaults, RevocationTarget, RotationOutcome,
    SessionStore, Store, StoreError,
};

use crate::contract::everywhere;
use crate::samples::{MANY, START, after, options, rotation, session, token};

const KILLS: usize = 60;
const STORE: &str = "TOLLHOUSE_TEST_STORE";
/// Clients of the process that is killed.
const CLIENTS: usize = 64;

/// Nothing by itself; as a process of its own it is what `kill_9_loses_nothing_acknowledged` kills. Each client
/// logs in, refreshes a few times and logs out, over and over, and says what was acknowledged.
#[tokio::test]
async fn a_store_under_load() {
    let Some(dir) = std::env::var_os(STORE) else { return };
    let store = EmbeddedStore::open(options(Path::new(&dir))).unwrap();
    say("ready");
    join_all((0..CLIENTS).map(|client| one_client(&*store, client))).await;
}

async fn one_client(store: &dyn Store, client: usize) {
    loop {
        let session = session(&format!("user {client}"), START);
        let id = session.id;
        store.put(session, MANY, START).await.unwrap();
        say(&format!("put {id}"));
        let last = random::<1>()[0] % 6;
        for nth in 0..last {
            let from = if nth == 0 { "a".to_owned() } else { nth.to_string() };
            let to = (nth + 1).to_string();
            let now = after(nth.into());
            let outcome = store.rotate(id, rotation(&from, &to, now), now).await.unwrap();
            assert!(matches!(outcome, RotationOutcome::Rotated(_)), "{outcome:?}");
            say(&format!("rotated {id} {to}"));
        }
        if last.is_multiple_of(2) {
            store.revoke(RevocationTarget::Session(id), START).await.unwrap();
            say(&format!("revoked {id}"));
        }
    }
}

/// One line, whole or not at all.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n# {line}").and_then(|()| out.flush()).unwrap();
}

/// What the killed processes said: the refresh generation of each session, `None` once revoked.
type Said = HashMap<SessionId, Option<u32>>;

fn hear(said: &mut Said, line: &str) {
    let mut words = line.split(' ');
    let (verb, id) = (words.next().unwrap(), words.next().and_then(SessionId::parse).unwrap());
    let state = match verb {
        "put" => Some(0),
        "rotated" => Some(words.next().unwrap().parse().unwrap()),
        _ => None,
    };
    said.insert(id, state);
}

/// Starts a process on the store in `dir`, kills it at some moment, and adds what it said.
fn run_and_kill(dir: &Path, said: &mut Said) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "durability::a_store_under_load", "--nocapture"])
        .env(STORE, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (ready, started) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for line in output.lines().map_while(Result::ok) {
            match line.strip_prefix("# ") {
                Some("ready") => ready.send(()).unwrap(),
                Some(line) => lines.push(line.to_owned()),
                None => {}
            }
        }
        lines
    });
    started.recv_timeout(Duration::from_secs(20)).expect("the process opens the store");
    let [low, high] = random::<2>();
    std::thread::sleep(Duration::from_micros(2 * u64::from(u16::from_be_bytes([low, high]))));
    child.kill().unwrap();
    child.wait().unwrap();
    for line in reader.join().unwrap() {
        hear(said, &line);
    }
}

async fn verify(dir: &Path, said: &Said, round: usize) {
    let store = EmbeddedStore::open(options(dir)).unwrap();
    let found: HashMap<_, _> = store
        .list(None, usize::MAX, START)
        .await
        .unwrap()
        .into_iter()
        .map(|session| (session.id, session.refresh.unwrap().number - 1))
        .collect();
    for (id, state) in said {
        match state {
            None => {
                assert!(!found.contains_key(id), "round {round}: {id} was logged out");
                assert!(store.revocations().session_revoked(id), "round {round}: {id}");
            }
            // What nobody was told of may have happened too: one step, or the logout.
            Some(told) => match found.get(id) {
                Some(held) => assert!(
                    (*told..=told + 1).contains(held),
                    "round {round}: {id} is at {held}, {told} was acknowledged"
                ),
                None => {
                    assert!(store.revocations().session_revoked(id), "round {round}: lost {id}")
                }
            },
        }
    }
    store.close().await;
}

#[tokio::test]
async fn kill_9_loses_nothing_acknowledged() {
    let mut acknowledged = 0;
    for folder in 0..5 {
        // A few folders, so that the file under test is sometimes new and never grows large.
        let dir = tempfile::tempdir().unwrap();
        let mut said = Said::new();
        for round in 0..KILLS / 5 {
            run_and_kill(dir.path(), &mut said);
            verify(dir.path(), &said, folder * 10 + round).await;
        }
        acknowledged += said.len();
    }
    assert!(acknowledged > 10 * KILLS, "only {acknowledged} logins: there was no load");
}

struct Failing {
    store: Arc<EmbeddedStore>,
    faults: Arc<InjectedFaults>,
    clock: TestClock,
    _dir: tempfile::TempDir,
}

fn failing() -> Failing {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(InjectedFaults::default());
    let clock = TestClock::new(START);
    let store = EmbeddedStore::open(EmbeddedOptions {
        clock: Clock::test(clock.clone()),
        backend_faults: Some(faults.clone()),
        ..options(dir.path())
    })
    .unwrap();
    Failing { store, faults, clock, _dir: dir }
}

/// Waits until the store has recovered by itself.
async fn recovered(store: &dyn Store) {
    let begin = Instant::now();
    while store.healthy().is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "it does not recover");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_failing_disk_is_answered_and_got_over() {
    let Failing { store, faults, .. } = &failing();
    let before = session("ann", START);
    store.put(before.clone(), MANY, START).await.unwrap();

    faults.fail_writes(true);

    let lost = session("bob", START);
    let refused = store.put(lost.clone(), MANY, START).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(store.healthy().is_err());
    assert!(store.find(before.id, START).await.is_err(), "it does not guess");

    faults.fail_writes(false);
    recovered(&**store).await;

    assert_eq!(store.find(before.id, START).await.unwrap(), Some(before));
    assert_eq!(store.find(lost.id, START).await.unwrap(), None);
    store.put(lost, MANY, START).await.unwrap();
}

#[tokio::test]
async fn a_logout_while_the_disk_fails_holds_at_once_and_after_a_restart() {
    let Failing { store, faults, _dir: dir, .. } = &failing();
    let [one, two, three] = ["ann", "bob", "bob"].map(|name| session(name, START));
    for session in [&one, &two, &three] {
        store.put(session.clone(), MANY, START).await.unwrap();
    }
    faults.fail_writes(true);

    let outlaw = RevocationTarget::Token { digest: token("foreign"), until: after(1000) };
    for what in [RevocationTarget::Session(one.id), everywhere("bob"), outlaw] {
        assert!(store.revoke(what.clone(), START).await.is_err());
        assert!(store.revoke(what, START).await.is_err(), "a repeated logout");
    }

    let holds = |store: &EmbeddedStore| {
        let held = store.revocations();
        held.token_revoked(&token("foreign"))
            && [one.id, two.id, three.id].iter().all(|id| held.session_revoked(id))
    };
    assert!(holds(store), "in memory, although nothing could be written");
    faults.fail_writes(false);
    recovered(&**store).await;
    let gone = store.rotate(one.id, rotation("a", "b", START), START).await.unwrap();
    assert_eq!(gone, RotationOutcome::Gone);
    store.close().await;
    assert!(holds(&crate::samples::open(dir.path())), "written once the disk allowed");
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_a_logout_holds_all_the_same() {
    let Failing { store, faults, _dir: dir, .. } = &failing();
    let ended = session("ann", START);
    store.put(ended.clone(), MANY, START).await.unwrap();

    // The disk does not answer: one batch waits for it, and the queue behind it fills.
    faults.hold_syncs(true);
    let puts = join_all((0..8000).map(|_| store.put(session("bob", START), MANY, START)));
    let logout = async {
        let refused = store.revoke(RevocationTarget::Session(ended.id), START).await;
        let holds = store.revocations().session_revoked(&ended.id);
        faults.hold_syncs(false);
        (refused, holds)
    };
    let (puts, (refused, holds)) = tokio::join!(puts, logout);

    assert!(puts.iter().any(Result::is_err), "8000 are more than may wait");
    assert!(puts.iter().any(Result::is_ok), "those that waited are carried out");
    assert!(refused.is_err() && holds, "a logout that is refused is in memory");
    store.close().await;
    let store = crate::samples::open(dir.path());
    assert!(store.revocations().session_revoked(&ended.id), "and written later");
}

#[tokio::test]
async fn a_refresh_that_nobody_was_told_of_may_be_repeated_after_the_failure() {
    let Failing { store, faults, clock, .. } = &failing();
    let held = session("ann", START);
    store.put(held.clone(), MANY, START).await.unwrap();

    // The commit reaches the file, but the store cannot know.
    faults.fail_syncs(true);
    let refresh = || store.rotate(held.id, rotation("a", "b", clock.now()), clock.now());
    assert!(refresh().await.is_err());
    clock.advance(Duration::from_secs(60));
    faults.fail_syncs(false);
    recovered(&**store).await;

    let again = refresh().await.unwrap();
    assert!(matches!(again, RotationOutcome::Grace(_)), "its grace is long over: {again:?}");
    clock.advance(Duration::from_secs(10));
    let reused = refresh().await.unwrap();
    assert!(matches!(reused, RotationOutcome::Reuse(_)), "the new grace is over too: {reused:?}");
}

#[tokio::test]
async fn a_refresh_that_was_answered_gets_no_second_grace_by_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let held = session("ann", START);
    let store = crate::samples::open(dir.path());
    store.put(held.clone(), MANY, START).await.unwrap();
    store.rotate(held.id, rotation("a", "b", START), START).await.unwrap();
    store.close().await;

    let later = Clock::test(TestClock::new(after(60)));
    let store =
        EmbeddedStore::open(EmbeddedOptions { clock: later, ..options(dir.path()) }).unwrap();

    let reused = store.rotate(held.id, rotation("a", "b", after(60)), after(60)).await.unwrap();
    assert!(matches!(reused, RotationOutcome::Reuse(_)), "{reused:?}");
}

/// A file system of 2 MiB, where we may make one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: after a failed test the store's thread may not have let go yet.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_got_over_without_losing_anything() {
    let Some(disk) = SmallDisk::mount() else { return };
    let dir = disk.0.path();
    let store = crate::samples::open(dir);
    let mut kept = Vec::new();
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();

    for nth in 0..20_000 {
        let next = session(&format!("user {nth}"), START);
        match store.put(next.clone(), MANY, START).await {
            Ok(_) => kept.push(next.id),
            Err(_) => break,
        }
    }
    assert!(kept.len() < 20_000, "the disk is full");
    assert!(store.healthy().is_err());
    let ended = kept.swap_remove(0);
    let logout = store.revoke(RevocationTarget::Session(ended), START).await;
    assert!(store.revocations().session_revoked(&ended), "{logout:?}");

    std::fs::remove_file(ballast).unwrap();
    let begin = Instant::now();
    while store.put(session("late", START), MANY, START).await.is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "it does not recover");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(store.healthy().is_ok());
    for id in &kept {
        assert!(store.find(*id, START).await.unwrap().is_some());
    }
    assert_eq!(store.find(ended, START).await.unwrap(), None);
    store.close().await;
}
