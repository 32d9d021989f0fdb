//! Serves renewed certificates without a command, a few seconds after they were written.
//!
//! One task reads the files of every listener again and again; `ListenerCertificates::reload`
//! decides whether they can be served. Another client CA ends the connections of the last one. A failure is logged once, and the old certificates stay in
//! use. The task runs on the background runtime, since reading files blocks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::RunningListeners;
use super::certificate_file::CertError;
use super::certificates::ListenerCertificates;
use crate::runtime::BackgroundRuntime;

/// How soon a renewed certificate is served.
const RELOAD_EVERY: Duration = Duration::from_secs(5);
/// How often an operator is reminded of a certificate near its end: this number of reloads is a
/// day.
const REMIND_AFTER: u64 = 24 * 3600 / RELOAD_EVERY.as_secs();

/// The last error of a listener's certificates, and whether it was logged.
#[derive(Debug)]
struct RenewalFailure {
    text: String,
    is_logged: bool,
}

/// Reads the certificates of `listening` again and again, until it drains. A panic while reading is
/// logged, and the next round tries again. The task ends with the drain.
pub(super) fn keep_fresh(background: &BackgroundRuntime, listening: &Arc<RunningListeners>) {
    let threads = background.clone();
    let listening = listening.clone();
    background.spawn(async move {
        let mut failures: HashMap<String, RenewalFailure> = HashMap::new();
        let mut reloads: u64 = 0;
        while !listening.drain().starts_within(RELOAD_EVERY).await {
            reloads += 1;
            // The list is asked for every time, because a reload of the configuration may change
            // it.
            let served = listening.certificates();
            failures.retain(|name, _| served.iter().any(|one| one.listener() == name));
            for certificates in served {
                if reloads.is_multiple_of(REMIND_AFTER) {
                    certificates.warn_of_times();
                }
                let reloading = certificates.clone();
                let all = listening.clone();
                match threads.block_on_thread(move || all.renew(&reloading)).await {
                    Some(outcome) => record(&mut failures, &certificates, outcome),
                    None => tracing::error!("reading certificates again ended by panic"),
                }
            }
        }
    });
}

/// Logs the outcome of one reload: a change at once, a failure when it has lasted.
fn record(
    failures: &mut HashMap<String, RenewalFailure>,
    certificates: &ListenerCertificates,
    outcome: Result<bool, CertError>,
) {
    let listener = certificates.listener();
    let error = match outcome {
        Ok(changed) => {
            if changed {
                tracing::info!(listener, "certificates changed");
            }
            failures.remove(listener);
            return;
        }
        Err(error) => error,
    };
    // A failure is logged once, when it occurs for the second time in a row: chain and key are
    // written one after the other, and between the two writes they do not match.
    let text = error.to_string();
    let failure = failures.get_mut(listener).filter(|failure| failure.text == text);
    match failure {
        None => {
            failures.insert(listener.to_owned(), RenewalFailure { text, is_logged: false });
        }
        Some(failure) if !failure.is_logged => {
            failure.is_logged = true;
            tracing::error!(
                listener,
                error = &error as &dyn std::error::Error,
                "new certificates not taken, the old ones are served on"
            );
        }
        Some(_) => {}
    }
}
