//! One refresh token or one code, presented to two nodes at the same time: at most one of them takes
//! it, whatever becomes of the nodes and the store meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;

use super::cluster::{CROWD, WITH_CODES, tokens};
use super::ledger::Ledger;
use crate::harness::gateway::PASSWORD;
use crate::harness::{Client, Reply, Smtp};

/// The pause between two races of a kind.
const PAUSE: Duration = Duration::from_millis(100);

/// Logins for races: one without any grace for a repeated refresh, and one with codes by mail.
pub(super) fn logins(smtp: &Smtp) -> String {
    format!(
        "[[login]]\ndialect = \"native\"\nname = \"strict\"\nprefix = \"/strict\"\n\
         refresh_grace = \"0s\"\n[[login]]\ndialect = \"avenia\"\n\
         [mail]\nserver = \"127.0.0.1:{}\"\ntls = \"none\"\nfrom = \"gateway@example.com\"\n\
         per_hour = 1000\n",
        smtp.port
    )
}

/// Races between nodes until they are stopped.
pub(super) struct Races {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<usize>>,
}

impl Races {
    pub(super) fn start(ledger: &Arc<Ledger>, nodes: &[Client], smtp: Arc<Smtp>) -> Self {
        let stop: Arc<AtomicBool> = Arc::default();
        let tasks = [Prize::RefreshToken, Prize::Code(smtp)].map(|prize| {
            let race = Race { ledger: ledger.clone(), nodes: nodes.to_vec(), prize };
            tokio::spawn(race.run(stop.clone()))
        });
        Self { tasks: tasks.into(), stop }
    }

    /// Stops them; the number of races in which one node took what was presented.
    pub(super) async fn stop(self) -> [usize; 2] {
        self.stop.store(true, Ordering::SeqCst);
        let mut won = [0; 2];
        for (task, won) in self.tasks.into_iter().zip(&mut won) {
            *won = task.await.unwrap();
        }
        won
    }
}

struct Race {
    ledger: Arc<Ledger>,
    nodes: Vec<Client>,
    prize: Prize,
}

/// What is presented to two nodes.
enum Prize {
    RefreshToken,
    Code(Arc<Smtp>),
}

/// What came of a race.
#[derive(PartialEq)]
enum RaceEnd {
    Won,
    /// A node did not answer, or there was nothing to race for.
    Undecided,
}

impl Race {
    async fn run(self, stop: Arc<AtomicBool>) -> usize {
        let mut won = 0;
        for number in 0.. {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            let end = match &self.prize {
                Prize::RefreshToken => self.refresh(number).await,
                Prize::Code(smtp) => self.code(number, smtp).await,
            };
            won += usize::from(end == RaceEnd::Won);
            tokio::time::sleep(PAUSE).await;
        }
        won
    }

    /// Two nodes, other ones each time.
    fn pair(&self, number: usize) -> [&Client; 2] {
        let count = self.nodes.len();
        let other = number + 1 + number / count % (count - 1);
        [&self.nodes[number % count], &self.nodes[other % count]]
    }

    async fn log_in(&self, number: usize, path: &str, login: serde_json::Value) -> Option<Reply> {
        let node = &self.nodes[(number + 1) % self.nodes.len()];
        node.post(path).json(login).attempt().await.filter(|reply| reply.status == 200)
    }

    /// Presents the same to two nodes.
    async fn present(&self, number: usize, path: &str, what: &serde_json::Value) -> RaceEnd {
        let [one, other] = self.pair(number);
        let (one, other) = tokio::join!(
            one.post(path).json(what.clone()).attempt(),
            other.post(path).json(what.clone()).attempt(),
        );
        Ledger::count(&self.ledger.races);
        let won = [&one, &other].into_iter().flatten().filter(|reply| reply.status == 200).count();
        if won > 1 {
            self.ledger.fault(format!("{path}: two nodes took the same"));
        }
        if won == 1 { RaceEnd::Won } else { RaceEnd::Undecided }
    }

    async fn refresh(&self, number: usize) -> RaceEnd {
        let login = json!({ "username": format!("crowd{}", number % CROWD), "password": PASSWORD });
        let Some(reply) = self.log_in(number, "/strict/auth/login", login).await else {
            return RaceEnd::Undecided;
        };
        let (_, refresh) = tokens(&reply);
        let what = json!({ "refresh_token": refresh });
        self.present(number, "/strict/auth/refresh", &what).await
    }

    async fn code(&self, number: usize, smtp: &Smtp) -> RaceEnd {
        let address = format!("code{}@example.com", number % WITH_CODES);
        let before = smtp.codes_for(&address).len();
        let login = json!({ "email": address, "password": PASSWORD });
        if self.log_in(number, "/v2/auth/login", login).await.is_none() {
            return RaceEnd::Undecided;
        }
        let codes = smtp.codes_for(&address);
        // The answer comes when the mail was accepted; it is the newest.
        let Some(code) = codes.last().filter(|_| codes.len() > before) else {
            self.ledger.fault(format!("{address} got no mail"));
            return RaceEnd::Undecided;
        };
        let what = json!({ "email": address, "emailToken": code });
        self.present(number, "/v2/auth/validate-login", &what).await
    }
}
