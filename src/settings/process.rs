//! `[process]`: the numbers of threads, the memory for bodies, and how the gateway stops.

use std::time::Duration;

use serde::Serialize;

use super::written;

/// Threads, memory for bodies, and the drain at the end. The drain has two parts: first the load
/// balancer is told, then open requests are given time. Then the process ends, whatever is still
/// open.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProcessSettings {
    /// Number of worker threads; the default is one a core.
    pub workers: usize,
    /// Number of threads of the background runtime, which does everything that may take long.
    pub background_threads: usize,
    /// Upper bound on the bytes of request bodies that are in memory at the same time. One client
    /// may use an eighth of it, so that one client alone cannot use it up. It is shared by all
    /// listeners.
    #[serde(serialize_with = "written::size")]
    pub body_memory: usize,
    /// How long the health path answers 503 before the listeners close. A load balancer needs this
    /// time to notice and to send new connections elsewhere. Zero is for setups without a load
    /// balancer.
    #[serde(serialize_with = "written::duration")]
    pub drain_delay: Duration,
    /// How long open requests and tunnels may continue after that; then they are closed.
    #[serde(serialize_with = "written::duration")]
    pub drain_timeout: Duration,
    /// Allow core dumps. A crash then writes the process's memory to a file, with the passwords and
    /// keys in it, so the default is no. Only a developer who looks for a crash needs it. With
    /// dumps forbidden, a crash leaves only its message.
    pub core_dumps: bool,
}
