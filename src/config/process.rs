//! `[process]`: the numbers of threads, the memory for bodies, and how the gateway stops.
//!
//! All values have defaults that suit a machine of any size, and bounds that keep a mistyped value
//! from making the gateway useless. `server` and `runtime` use them once, at the start; a reload
//! does not change the number of threads.

use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

use super::reader::TableReader;
use crate::settings::ProcessSettings;

/// Enough for the store, mail and a reload at the same time. Passwords are hashed by threads of
/// their own.
const BACKGROUND_THREADS: u64 = 2;
/// Room for a thousand of the largest login bodies; of small ones, for more than are admitted at
/// once.
const BODY_MEMORY: u64 = 64 << 20;
/// Lower bound: an eighth of it must hold the largest login body that may be configured.
const LEAST_BODY_MEMORY: u64 = 8 << 20;
const MOST_BODY_MEMORY: u64 = 64 << 30;
/// Enough for a load balancer that asks every second or two.
const DRAIN_DELAY: Duration = Duration::from_secs(5);
/// Longer than nearly all requests, and shorter than service managers wait before they kill a
/// process.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_DRAIN: Duration = Duration::from_secs(3600);
const MOST_THREADS: u64 = 1024;

impl ProcessSettings {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        let memory = LEAST_BODY_MEMORY..=MOST_BODY_MEMORY;
        let memory = table.size_or("body_memory", BODY_MEMORY, memory);
        table.default_is("background_threads", BACKGROUND_THREADS);
        let background = table.renamed("background_threads", "back_room");
        let background = background.and_then(|item| item.number(1..=MOST_THREADS));
        let background = background.unwrap_or(BACKGROUND_THREADS);
        let drain = Duration::ZERO..=LONGEST_DRAIN;
        let workers = table.number("workers", 1..=MOST_THREADS);
        Self {
            workers: workers.and_then(|count| usize::try_from(count).ok()).unwrap_or_else(cores),
            background_threads: usize::try_from(background).unwrap_or(usize::MAX),
            body_memory: usize::try_from(memory).unwrap_or(usize::MAX),
            drain_delay: table.duration_or("drain_delay", DRAIN_DELAY, drain.clone()),
            drain_timeout: table.duration_or("drain_timeout", DRAIN_TIMEOUT, drain),
            core_dumps: table.bool_or("core_dumps", false),
        }
    }
}

/// Number of processors that this process may use, limits of its container included. 1 if the
/// system does not say. It is the number of workers if the configuration does not say one.
pub(super) fn cores() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}
