//! Messages to the service manager that started the process (`sd_notify(3)`).
//!
//! systemd reads them for a unit with `Type=notify`: it starts units that depend on the gateway only
//! when the gateway serves, and kills a gateway that makes no progress. Without a service manager
//! nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;

/// How often the watchdog of the service manager wants to hear that the process makes progress:
/// twice within the time after which it would kill the process. `None` if there is no watchdog.
pub(super) fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// Reports that the process makes progress.
pub(super) fn report_alive() {
    send(&[NotifyState::Watchdog]);
}

/// Reports that the gateway serves. The line that `systemctl status` shows does not say by which configuration:
/// a reload over the admin socket would not change it.
pub(super) fn report_ready() {
    send(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Reports that another configuration is being read; `report_ready` ends this state.
pub(super) fn report_reloading() {
    // Since version 253 systemd demands the time of the message, to tell it from older ones.
    match NotifyState::monotonic_usec_now() {
        Ok(time) => send(&[NotifyState::Reloading, time]),
        Err(error) => tracing::warn!(%error, "the service manager is not told of the reload"),
    }
}

/// Reports that the gateway drains, and ends after that.
pub(super) fn report_stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told the state (NOTIFY_SOCKET)");
    }
}
