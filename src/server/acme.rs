//! Looks after the certificates that the configuration has an authority issue.
//!
//! One task for each certificate, however many listeners serve it. A reload ends the tasks of
//! certificates that are not named any more and starts those of new ones; the others go on, with
//! their times and failures.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::acme::{AcmeContext, AcmeRenewal, certificate_path};
use crate::admin::AdminOperations;
use crate::settings::{AcmeSettings, Config};

/// How soon a reload is noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A certificate to look after.
#[derive(Clone, PartialEq)]
struct WantedCertificate {
    settings: AcmeSettings,
    path: PathBuf,
    /// A plain listener can answer HTTP-01.
    has_http: bool,
}

/// A certificate that a task looks after. Dropping this value ends the task.
struct RenewedCertificate {
    wanted: WantedCertificate,
    _ends: DropGuard,
}

/// Keeps a task for each certificate of the configuration in effect.
pub(super) async fn keep_certificates(operations: Arc<AdminOperations>) {
    let mut renewed: Vec<RenewedCertificate> = Vec::new();
    loop {
        let wanted = wanted(&operations.gateway.generation().config);
        renewed.retain(|one| wanted.contains(&one.wanted));
        for wanted in wanted {
            if renewed.iter().any(|one| one.wanted == wanted) {
                continue;
            }
            let end = CancellationToken::new();
            let settings = wanted.settings.clone();
            let has_http = wanted.has_http;
            let renewal = AcmeRenewal::new(settings, has_http, context(&operations));
            let until = end.clone();
            operations.gateway.shared.background.spawn(async move {
                until.run_until_cancelled(renewal.run()).await;
            });
            renewed.push(RenewedCertificate { wanted, _ends: end.drop_guard() });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The certificates of a configuration. Listeners with the same names at the same directory share
/// one.
fn wanted(config: &Config) -> Vec<WantedCertificate> {
    let has_http = config.listeners.iter().any(|listener| listener.tls.is_none());
    let mut wanted: Vec<WantedCertificate> = Vec::new();
    for settings in config.listeners.iter().filter_map(|listener| listener.acme.clone()) {
        let path = certificate_path(&config.state.dir, &settings);
        if wanted.iter().all(|one| one.path != path) {
            wanted.push(WantedCertificate { settings, path, has_http });
        }
    }
    wanted
}

fn context(operations: &Arc<AdminOperations>) -> AcmeContext {
    let shared = &operations.gateway.shared;
    let listening = operations.listening.clone();
    AcmeContext {
        state: operations.gateway.generation().config.state.dir.clone(),
        clock: shared.clock.clone(),
        background: shared.background.clone(),
        metrics: shared.metrics.clone(),
        challenges: shared.challenges.clone(),
        conditions: shared.acme.clone(),
        served: Arc::new(move || listening.renew_all()),
    }
}
