//! Clients that log in, call, refresh and log out all the time, and a watcher that tries the tokens
//! of whoever has logged out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

use super::cluster::{BOUND, CROWD, log_in, log_out, refresh, tokens};
use super::ledger::{Ledger, Outcome};
use crate::harness::Client;
use crate::harness::client::TestRequest;

/// Sessions of one client.
const SESSIONS: usize = 3;
/// Sessions that are checked at the same time.
const AT_ONCE: usize = 8;
/// The pause between two steps of a client.
const PAUSE: Duration = Duration::from_millis(8);

/// A session that the client was promised.
struct Session {
    access: String,
    refresh: String,
    /// A step that was not answered, and has to be repeated before anything else.
    pending: Option<Pending>,
}

#[derive(Clone, Copy, PartialEq)]
enum Pending {
    Refresh,
    Logout,
}

/// Clients, and a watcher, until they are stopped.
pub(super) struct Clients {
    pub(super) ledger: Arc<Ledger>,
    /// Clients hold it for reading during a step.
    turn: Arc<RwLock<()>>,
    sessions: Vec<Arc<tokio::sync::Mutex<Vec<Session>>>>,
    /// Which nodes reach the store.
    pub(super) connected: Arc<Mutex<Vec<bool>>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    /// As many clients that go to `servers` in turn, and a watcher that asks each of `nodes`.
    pub(super) fn start(count: usize, servers: &[Client], nodes: &[Client]) -> Self {
        let mut clients = Self {
            ledger: Arc::default(),
            turn: Arc::default(),
            sessions: Vec::new(),
            connected: Arc::new(Mutex::new(vec![true; nodes.len()])),
            stop: Arc::default(),
            tasks: Vec::new(),
        };
        for number in 0..count {
            let sessions = Arc::default();
            clients.sessions.push(Arc::clone(&sessions));
            let (turn, stop) = (clients.turn.clone(), clients.stop.clone());
            let mut client = LoadClient {
                ledger: clients.ledger.clone(),
                servers: servers.to_vec(),
                number,
                steps: number,
            };
            clients.tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let turn = turn.read().await;
                    client.step(&mut *sessions.lock().await).await;
                    drop(turn);
                    tokio::time::sleep(PAUSE).await;
                }
            }));
        }
        let watcher = watch(
            clients.ledger.clone(),
            clients.connected.clone(),
            clients.stop.clone(),
            nodes.to_vec(),
        );
        clients.tasks.push(tokio::spawn(watcher));
        clients
    }

    /// Says whether a node reaches the store. One that does not may accept what others have ended.
    pub(super) fn set_connected(&self, node: usize, is_connected: bool) {
        self.connected.lock().unwrap()[node] = is_connected;
    }

    /// Between two steps of all clients: each session that was promised can be refreshed and used on
    /// every node, and none that was ended.
    pub(super) async fn check(&self, when: &str, nodes: &[Client]) {
        let _turn = self.turn.write().await;
        // The last logout was acknowledged just now.
        tokio::time::sleep(BOUND).await;
        let mut number = 0;
        for sessions in &self.sessions {
            let mut sessions = sessions.lock().await;
            let mut live = Vec::new();
            for mut session in sessions.drain(..) {
                number += 1;
                let node = &nodes[number % nodes.len()];
                if session.pending == Some(Pending::Logout) {
                    // Nobody knows whether it was done; now it is.
                    finish_logout(&self.ledger, node, session).await;
                    continue;
                }
                match Outcome::of(refresh(node, &session.refresh).await) {
                    Outcome::Done(reply) => {
                        let (access, refresh) = tokens(&reply);
                        self.ledger.spend(&session.refresh, &refresh);
                        session = Session { access, refresh, pending: None };
                    }
                    Outcome::Unknown(why) | Outcome::Refused(why) => {
                        self.ledger.fault(format!("{when}: a session was lost: {why}"));
                        continue;
                    }
                }
                for node in nodes {
                    self.ledger.call(node.get("/call").bearer(&session.access).attempt().await);
                }
                live.push(session);
            }
            *sessions = live;
        }
        let ended = self.ledger.ended(BOUND, Duration::from_secs(3600));
        let checks = ended.iter().take(40).enumerate().map(|(number, session)| async move {
            for node in nodes {
                let status = status(node.get("/ended").bearer(&session.access)).await;
                if status != Some(401) {
                    self.ledger.fault(format!("{when}: an ended token is answered {status:?}"));
                }
            }
            let reply = refresh(&nodes[number % nodes.len()], &session.refresh).await;
            let status = reply.map(|reply| reply.status.as_u16());
            if status != Some(401) {
                self.ledger.fault(format!("{when}: an ended session is refreshed: {status:?}"));
            }
        });
        stream::iter(checks).buffer_unordered(AT_ONCE).collect::<()>().await;
        self.ledger.assert_clean(when);
    }

    /// Between two steps of all clients: runs `change`, after which no session of before is left.
    /// Every token of before is refused by every node.
    pub(super) async fn forget(&self, nodes: &[Client], change: impl AsyncFnOnce()) {
        let _turn = self.turn.write().await;
        change().await;
        let mut number = 0;
        for sessions in &self.sessions {
            for session in sessions.lock().await.drain(..) {
                number += 1;
                for node in nodes {
                    let status = status(node.get("/ended").bearer(&session.access)).await;
                    if status != Some(401) {
                        let fault = format!("a token of another store is answered {status:?}");
                        self.ledger.fault(fault);
                    }
                }
                let reply = refresh(&nodes[number % nodes.len()], &session.refresh).await;
                let status = reply.map(|reply| reply.status.as_u16());
                if status != Some(401) {
                    let fault = format!("a session of another store is refreshed: {status:?}");
                    self.ledger.fault(fault);
                }
            }
        }
        assert!(number > 0, "there were sessions");
        self.ledger.assert_clean("an empty store");
    }

    /// Stops the clients, and answers with what they counted.
    pub(super) async fn stop(self) -> Arc<Ledger> {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.ledger
    }
}

/// One client.
struct LoadClient {
    ledger: Arc<Ledger>,
    servers: Vec<Client>,
    number: usize,
    steps: usize,
}

impl LoadClient {
    fn server(&self) -> &Client {
        &self.servers[self.steps % self.servers.len()]
    }

    async fn step(&mut self, sessions: &mut Vec<Session>) {
        self.steps += 1;
        let pending = sessions.iter().position(|session| session.pending.is_some());
        match pending {
            Some(place) if sessions[place].pending == Some(Pending::Refresh) => {
                self.refresh(sessions, place).await;
            }
            Some(place) => self.log_out(sessions, place).await,
            None if sessions.len() < SESSIONS => self.log_in(sessions).await,
            None => match self.steps % 10 {
                0 => self.log_out(sessions, 0).await,
                3 | 7 => self.refresh(sessions, self.steps / 10 % SESSIONS).await,
                _ => {
                    let session = &sessions[self.steps % sessions.len()];
                    let reply = self.server().get("/call").bearer(&session.access).attempt().await;
                    self.ledger.call(reply);
                }
            },
        }
    }

    async fn log_in(&self, sessions: &mut Vec<Session>) {
        let name = format!("crowd{}", (self.number * 7 + self.steps) % CROWD);
        match Outcome::of(log_in(self.server(), &name).await) {
            Outcome::Done(reply) => {
                Ledger::count(&self.ledger.logins);
                let (access, refresh) = tokens(&reply);
                sessions.push(Session { access, refresh, pending: None });
            }
            Outcome::Unknown(why) => self.ledger.unknown("login", &why),
            Outcome::Refused(why) => self.ledger.fault(format!("a login was refused: {why}")),
        }
    }

    async fn refresh(&self, sessions: &mut Vec<Session>, place: usize) {
        let session = &mut sessions[place];
        match Outcome::of(refresh(self.server(), &session.refresh).await) {
            Outcome::Done(reply) => {
                let (access, refresh) = tokens(&reply);
                self.ledger.spend(&session.refresh, &refresh);
                *session = Session { access, refresh, pending: None };
            }
            Outcome::Unknown(why) => {
                session.pending = Some(Pending::Refresh);
                self.ledger.unknown("refresh", &why);
            }
            Outcome::Refused(why) => {
                self.ledger.fault(format!("a session was lost: a refresh was refused: {why}"));
                sessions.remove(place);
            }
        }
    }

    async fn log_out(&self, sessions: &mut Vec<Session>, place: usize) {
        let session = sessions.remove(place);
        if let Some(unknown) = try_logout(&self.ledger, self.server(), session).await {
            sessions.insert(place, unknown);
        }
    }
}

async fn status(request: TestRequest<'_>) -> Option<u16> {
    request.attempt().await.map(|reply| reply.status.as_u16())
}

/// Logs a session out. It is still here if nobody knows whether that was done.
async fn try_logout(ledger: &Ledger, server: &Client, mut session: Session) -> Option<Session> {
    match Outcome::of(log_out(server, &session.access).await) {
        Outcome::Done(_) => ledger.end(session.access, session.refresh),
        Outcome::Unknown(why) => {
            session.pending = Some(Pending::Logout);
            ledger.unknown("logout", &why);
            return Some(session);
        }
        // An attempt was carried out before, and its answer was lost, or was 503 and HAProxy tried
        // again. That the session has ended is tried with all others that have.
        Outcome::Refused(why) if why.contains("token_revoked") => {
            ledger.end(session.access, session.refresh);
        }
        Outcome::Refused(why) => ledger.fault(format!("a logout was refused: {why}")),
    }
    None
}

async fn finish_logout(ledger: &Ledger, server: &Client, session: Session) {
    if try_logout(ledger, server, session).await.is_some() {
        ledger.fault("a logout cannot be finished".to_owned());
    }
}

/// Tries the tokens of sessions that were ended, on every node that reaches the store, as soon as
/// the bound allows.
async fn watch(
    ledger: Arc<Ledger>,
    connected: Arc<Mutex<Vec<bool>>>,
    stop: Arc<AtomicBool>,
    nodes: Vec<Client>,
) {
    let mut seen = std::time::Instant::now();
    while !stop.load(Ordering::SeqCst) {
        let due = ledger.ended(BOUND, Duration::from_secs(5));
        let due: Vec<_> = due.into_iter().filter(|ended| ended.since > seen).collect();
        if let Some(last) = due.iter().map(|ended| ended.since).max() {
            seen = last;
        }
        for session in due {
            for (node, client) in nodes.iter().enumerate() {
                if !connected.lock().unwrap()[node] {
                    continue;
                }
                let status = status(client.get("/ended").bearer(&session.access)).await;
                // It may have been cut off since.
                if !connected.lock().unwrap()[node] {
                    continue;
                }
                match status {
                    Some(401) => Ledger::count(&ledger.refusals),
                    None | Some(503) => {}
                    Some(status) => ledger.fault(format!(
                        "an ended token is answered {status} by node {node}, {:?} later",
                        session.since.elapsed()
                    )),
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
