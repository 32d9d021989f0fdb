//! File descriptors: sockets passed by systemd, and the number that this process may have open.
//!
//! A passed socket is taken by asking the kernel for a duplicate of our own descriptor
//! (`pidfd_getfd`). Adopting a bare number would need `unsafe`; this way the kernel checks it, and
//! the duplicate is owned. The environment is read by the caller; nothing here changes it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::process::{
    PidfdFlags, PidfdGetfdFlags, Resource, Rlimit, getpid, getrlimit, pidfd_getfd, pidfd_open,
    setrlimit,
};

/// The sockets that the process was started with, by name (`sd_listen_fds(3)`).
#[derive(Clone, Debug, Default)]
pub struct InheritedSockets(Vec<(String, PassedSocket)>);

/// A socket that another process has opened.
#[derive(Clone, Debug)]
enum PassedSocket {
    /// The number of a descriptor that is open since the start of the process.
    Number(i32),
    /// A descriptor that the predecessor of this gateway has sent.
    Sent(Arc<OwnedFd>),
}

/// The first descriptor that systemd passes (SD_LISTEN_FDS_START).
const FIRST: i32 = 3;
/// Upper bound on their number. A wrong number in the environment must not fill the memory.
const MOST: i32 = 1024;

impl InheritedSockets {
    /// No sockets.
    pub fn none() -> Self {
        Self::default()
    }

    /// The descriptors of these numbers, under these names.
    pub fn named(names: impl IntoIterator<Item = (String, i32)>) -> Self {
        let numbered = |(name, number)| (name, PassedSocket::Number(number));
        Self(names.into_iter().map(numbered).collect())
    }

    /// Adds a socket that the predecessor of this gateway was started with. A socket of this name
    /// that the process itself was started with goes before it.
    pub(super) fn add(&mut self, name: &str, socket: OwnedFd) {
        if self.names().all(|known| known != name) {
            self.0.push((name.to_owned(), PassedSocket::Sent(Arc::new(socket))));
        }
    }

    /// Reads LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES. If LISTEN_PID is another process, the
    /// variables were inherited from it by accident, and the result is empty. Too many descriptors
    /// are cut to an upper bound, and numbers that are none count as 0.
    pub fn from_environment(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let number = |name| environment(name).and_then(|value| value.parse::<i32>().ok());
        if number("LISTEN_PID") != Some(getpid().as_raw_nonzero().get()) {
            return Self::none();
        }
        let names = environment("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        // As with systemd, a descriptor without a name is called `unknown`.
        let count = number("LISTEN_FDS").unwrap_or(0).min(MOST);
        Self::named((0..count).map(|index| {
            let name = names.next().filter(|name| !name.is_empty());
            (name.unwrap_or_else(|| "unknown".to_owned()), FIRST.saturating_add(index))
        }))
    }

    /// The names of all passed sockets.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// A duplicate of the descriptor `name`; `None` if there is no descriptor of that name. The
    /// original stays open, so that a reload can take the same socket again. The error is the
    /// kernel's.
    pub(super) fn take(&self, name: &str) -> Option<io::Result<OwnedFd>> {
        let (_, socket) = self.0.iter().find(|(known, _)| known == name)?;
        Some(match socket {
            PassedSocket::Number(number) => duplicate(*number),
            PassedSocket::Sent(socket) => socket.try_clone(),
        })
    }
}

fn duplicate(number: i32) -> io::Result<OwnedFd> {
    let this_process = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(this_process, number, PidfdGetfdFlags::empty())?)
}

/// Raises the limit of open descriptors of this process to the highest that the system allows, and
/// returns the new limit.
///
/// # Errors
/// The system's error; the old limit stays.
pub fn raise_nofile() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let before = limit.current.unwrap_or(u64::MAX);
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    if before < allowed {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
        tracing::info!(before, now = allowed, "raised the limit of open descriptors");
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> InheritedSockets {
        InheritedSockets::from_environment(&|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn descriptors_are_named_by_the_environment() {
        let own = std::process::id().to_string();
        for (pid, count, names, expected, why) in [
            (own.as_str(), "2", "https:http", vec![("https", 3), ("http", 4)], "in order"),
            (&own, "2", "https", vec![("https", 3), ("unknown", 4)], "one has no name"),
            (&own, "x", "https", vec![], "no number, no descriptors"),
            ("1", "1", "https", vec![], "meant for another process"),
        ] {
            let found =
                from(&[("LISTEN_PID", pid), ("LISTEN_FDS", count), ("LISTEN_FDNAMES", names)]);

            let number = |socket: &PassedSocket| match socket {
                PassedSocket::Number(number) => *number,
                PassedSocket::Sent(_) => panic!("nothing was sent"),
            };
            let found: Vec<_> =
                found.0.iter().map(|(name, socket)| (name.as_str(), number(socket))).collect();
            assert_eq!(found, expected, "{why}");
        }
        assert_eq!(from(&[]).names().count(), 0, "started by hand");
    }
}
