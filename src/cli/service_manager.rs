//! Messages to the service manager that started the process (`sd_notify(3)`).
//!
//! systemd reads them for a unit with `Type=notify` or `notify-reload`: it starts units that depend
//! on the gateway only when the gateway serves, and kills a gateway that makes no progress. Without a
//! service manager nothing is sent. A successor that has taken over goes on to speak to the service
//! manager of its predecessor, although it was not started by it.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::process::getpid;
use rustix::time::{ClockId, clock_gettime};

use crate::server::ServiceLink;

/// The service manager that the environment names; `None` if there is none.
pub(super) fn of_environment(environment: &dyn Fn(&str) -> Option<String>) -> Option<ServiceLink> {
    let socket = environment("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
    let own = getpid().as_raw_nonzero().to_string();
    // A watchdog of another process was inherited from it by accident.
    let is_meant = environment("WATCHDOG_PID").is_none_or(|pid| pid == own);
    let watchdog = environment("WATCHDOG_USEC").filter(|_| is_meant);
    let watchdog = watchdog.and_then(|micros| micros.parse().ok()).filter(|micros| *micros > 0);
    Some(ServiceLink { socket, watchdog: watchdog.map(Duration::from_micros) })
}

/// The service manager that is notified of the state of this process.
#[derive(Clone, Debug)]
pub(super) struct ServiceManager(Option<ServiceLink>);

impl ServiceManager {
    pub(super) fn new(link: Option<&ServiceLink>) -> Self {
        Self(link.cloned())
    }

    /// How often the watchdog wants to hear that the process makes progress: twice within the time
    /// after which it would kill the process. `None` if there is no watchdog.
    pub(super) fn watchdog_period(&self) -> Option<Duration> {
        Some(self.0.as_ref()?.watchdog? / 2)
    }

    /// Reports that the process makes progress.
    pub(super) fn report_alive(&self) {
        self.send("WATCHDOG=1\n");
    }

    /// Reports that the gateway serves. The line that `systemctl status` shows does not say by which
    /// configuration: a reload over the admin socket would not change it.
    pub(super) fn report_ready(&self) {
        self.send("READY=1\nSTATUS=serving\n");
    }

    /// Reports that another configuration is being read; `report_ready` ends this state.
    pub(super) fn report_reloading(&self) {
        // systemd 253 and newer demands the time of the message, to tell it from older ones.
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    }

    /// Reports that the gateway drains, and ends after that.
    pub(super) fn report_stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={status}\n"));
    }

    fn send(&self, message: &str) {
        if let Some(link) = &self.0 {
            send(link, message);
        }
    }
}

/// Reports that another process is the main process of the service from now on. Only the main process
/// is listened to, so it has to say it itself.
pub(super) fn report_successor(link: &ServiceLink, pid: i32) {
    send(link, &format!("MAINPID={pid}\n"));
}

fn send(link: &ServiceLink, message: &str) {
    if let Err(error) = try_send(link, message) {
        tracing::warn!(%error, "the service manager cannot be told the state (NOTIFY_SOCKET)");
    }
}

fn try_send(link: &ServiceLink, message: &str) -> io::Result<()> {
    let address = match link.socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&link.socket)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A service manager that reads nothing must not hold up the gateway.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_service_manager() {
        let own = std::process::id().to_string();
        let link = |watchdog: Option<u64>| {
            let watchdog = watchdog.map(Duration::from_micros);
            Some(ServiceLink { socket: "/run/n".to_owned(), watchdog })
        };
        for (socket, usec, pid, expected, why) in [
            ("/run/n", "", "", link(None), "no watchdog"),
            ("/run/n", "2000", "", link(Some(2000)), "a watchdog"),
            ("/run/n", "2000", own.as_str(), link(Some(2000)), "a watchdog of this process"),
            ("/run/n", "2000", "1", link(None), "a watchdog of another process"),
            ("/run/n", "0", "", link(None), "a watchdog that is off"),
            ("", "2000", "", None, "no service manager"),
        ] {
            let variables =
                [("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)];

            let found = of_environment(&|name| {
                let found = variables.iter().find(|(key, value)| *key == name && !value.is_empty());
                found.map(|(_, value)| (*value).to_owned())
            });

            assert_eq!(found, expected, "{why}");
        }
    }
}
