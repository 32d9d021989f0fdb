//! Active health checks: each server of a pool is probed every few seconds, on the background
//! runtime.
//!
//! There is one task for each pool. It has the pool's servers, but not the pool, and ends when the
//! pool is dropped. The first result of a server counts at once; later, several results in a row
//! are needed to take a server out or to bring it back. The result goes to `state`, from where
//! `pick` reads it. `probe` makes one check. The pool is the caller.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::probe::{CheckProtocol, probe};
use super::server::PoolServer;
use crate::clock::Clock;
use crate::runtime::BackgroundRuntime;
use crate::secret;
use crate::settings::HealthCheck;

/// How many servers of one pool are probed at the same time.
const PARALLEL: usize = 64;
/// How much longer than the timeout of a check a start waits for the first round.
const SLACK: Duration = Duration::from_millis(500);

/// The checks of one pool.
pub(super) struct PoolChecks {
    settings: Arc<HealthCheck>,
    /// Cancelled when each server has been probed once.
    first_round: CancellationToken,
    /// Cancelled when the pool is dropped.
    over: CancellationToken,
    _ends: DropGuard,
}

impl PoolChecks {
    /// The checks of a pool, not running yet.
    pub(super) fn new(settings: &HealthCheck) -> Self {
        let over = CancellationToken::new();
        Self {
            settings: Arc::new(settings.clone()),
            first_round: CancellationToken::new(),
            _ends: over.clone().drop_guard(),
            over,
        }
    }

    /// The time between two rounds.
    pub(super) fn interval(&self) -> Duration {
        self.settings.interval
    }

    /// Marks the first round as done if the pool of the previous generation had done it. The
    /// gateway then stays ready during a reload, because `state` has inherited the results.
    pub(super) fn inherit(&self, last: &Self) {
        if last.first_round.is_cancelled() {
            self.first_round.cancel();
        }
    }

    /// Starts the checks of `servers`, as a task on the background runtime that ends when these
    /// checks are dropped. Call it once: a second call would double the load on the servers.
    pub(super) fn start(
        &self,
        servers: Vec<Arc<PoolServer>>,
        protocol: CheckProtocol,
        clock: Clock,
        background: &BackgroundRuntime,
    ) {
        let over = self.over.clone();
        let rounds = CheckRounds {
            settings: self.settings.clone(),
            streaks: vec![CheckStreak::default(); servers.len()],
            servers,
            protocol,
            clock,
            background: background.clone(),
        };
        let running = rounds.run(self.first_round.clone());
        background.spawn(async move {
            over.run_until_cancelled(running).await;
        });
    }

    /// Resolves when each server has been probed once, or when the time for that is over.
    pub(super) async fn checked_once(&self) {
        let limit = self.settings.timeout + SLACK;
        let _ = tokio::time::timeout(limit, self.first_round.cancelled()).await;
    }

    /// A sentence for operators, if the checks say that none of `servers` can serve a request.
    /// `upstream` is the name of the pool.
    pub(super) fn problem(&self, upstream: &str, servers: &[Arc<PoolServer>]) -> Option<String> {
        if !self.first_round.is_cancelled() {
            return Some(format!("the servers of `{upstream}` have not been checked yet"));
        }
        let all_fail = servers.iter().all(|server| server.state.fails_checks());
        all_fail.then(|| format!("every server of `{upstream}` fails its checks"))
    }
}

/// The rounds of one pool's checks.
struct CheckRounds {
    settings: Arc<HealthCheck>,
    servers: Vec<Arc<PoolServer>>,
    /// The results so far, one for each server.
    streaks: Vec<CheckStreak>,
    protocol: CheckProtocol,
    clock: Clock,
    background: BackgroundRuntime,
}

impl CheckRounds {
    /// Probes the servers again and again. `first_round` is cancelled after the first round.
    async fn run(mut self, first_round: CancellationToken) {
        loop {
            self.probe_all().await;
            first_round.cancel();
            let pause = pause(&self.settings);
            self.clock.sleep(pause).await;
        }
    }

    /// Probes each server once and records the results.
    async fn probe_all(&mut self) {
        let asking: Vec<_> = self
            .servers
            .iter()
            .map(|server| {
                probe(
                    server.clone(),
                    self.protocol.clone(),
                    self.settings.clone(),
                    self.background.clone(),
                )
            })
            .collect();
        let answers: Vec<_> = stream::iter(asking).buffered(PARALLEL).collect().await;
        let now = self.clock.now();
        for ((server, streak), answer) in self.servers.iter().zip(&mut self.streaks).zip(answers) {
            if streak.note(answer.is_ok(), &self.settings) {
                let cause = answer.err().map(|error| error.chain());
                server.state.checked(cause.as_deref(), now);
            }
        }
    }
}

/// The pause between two rounds: the interval, varied by a tenth, so that several gateways do not
/// probe at the same moments. The variation is random and drawn anew for each pause.
fn pause(settings: &HealthCheck) -> Duration {
    let [random] = secret::random::<1>();
    settings.interval.mul_f64(0.9 + 0.2 * f64::from(random) / 255.0)
}

/// The results of one server, from which `note` decides about its health.
#[derive(Clone, Copy, Default)]
struct CheckStreak {
    healthy: Option<bool>,
    /// Results in a row that contradict `healthy`.
    against: u32,
}

impl CheckStreak {
    /// Records a result. True if the server's health has changed.
    fn note(&mut self, passed: bool, settings: &HealthCheck) -> bool {
        if self.healthy == Some(passed) {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = match self.healthy {
            None => 1,
            Some(true) => settings.fall,
            Some(false) => settings.rise,
        };
        if self.against < needed {
            return false;
        }
        *self = Self { healthy: Some(passed), against: 0 };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_answers_in_a_row_change_what_is_believed() {
        let settings = HealthCheck {
            path: "/ping".parse().unwrap(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            fall: 3,
            rise: 2,
            status: vec![200..=399],
            host: None,
        };
        for (answers, believed, why) in [
            ("+", "+", "the first decides"),
            ("-", "-", "the first decides"),
            ("+---", "+++-", "three failures take it out"),
            ("+--+--+", "+++++++", "unless a success is between them"),
            ("-++", "--+", "two successes bring it back"),
            ("-+-+-", "-----", "unless a failure is between them"),
            ("+-+-+-+-", "++++++++", "who flaps stays what he was"),
        ] {
            let mut row = CheckStreak::default();

            let states = answers.chars().map(|answer| {
                row.note(answer == '+', &settings);
                if row.healthy == Some(true) { '+' } else { '-' }
            });

            assert_eq!(states.collect::<String>(), believed, "{why}");
        }
    }
}
