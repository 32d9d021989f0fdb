//! `[process]`: threads and how the gateway stops.

use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

use super::reader::Table;

/// Threads and drain.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Worker threads; default: one a core.
    pub workers: usize,
    /// Threads of the back room.
    pub back_room: usize,
    /// Bytes of request bodies in memory at once; one client may have an eighth.
    pub body_memory: usize,
    /// How long health says 503 before the listeners close, so that a load balancer notices.
    pub drain_delay: Duration,
    /// How long open requests and tunnels may go on after that.
    pub drain_timeout: Duration,
    /// A crash may leave the memory behind in a file, with the passwords and keys that are in it.
    pub core_dumps: bool,
}

/// Enough for store, mail and reload beside each other; hashing has threads of its own.
const BACK_ROOM: usize = 2;
/// A thousand of the largest login bodies; of small ones, far more than there are places for.
const BODY_MEMORY: u64 = 64 << 20;
/// The eighth of one client has to take the largest body that may be configured.
const LEAST_BODY_MEMORY: u64 = 8 << 20;
const MOST_BODY_MEMORY: u64 = 64 << 30;
/// A load balancer that asks every second or two has seen the 503 by then.
const DRAIN_DELAY: Duration = Duration::from_secs(5);
/// Longer than nearly all requests, shorter than what service managers wait before they kill.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_DRAIN: Duration = Duration::from_secs(3600);
const MOST_THREADS: u64 = 1024;

impl Process {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let memory = LEAST_BODY_MEMORY..=MOST_BODY_MEMORY;
        let memory = table.size_or("body_memory", BODY_MEMORY, memory);
        let drain = Duration::ZERO..=LONGEST_DRAIN;
        Self {
            workers: table.count_or("workers", cores(), 1..=MOST_THREADS),
            back_room: table.count_or("back_room", BACK_ROOM, 1..=MOST_THREADS),
            body_memory: usize::try_from(memory).unwrap_or(usize::MAX),
            drain_delay: table.duration_or("drain_delay", DRAIN_DELAY, drain.clone()),
            drain_timeout: table.duration_or("drain_timeout", DRAIN_TIMEOUT, drain),
            core_dumps: table.bool_or("core_dumps", false),
        }
    }
}

/// Processors this process may use; one where the system does not say.
pub(super) fn cores() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}
