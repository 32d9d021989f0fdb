//! Forbids core dumps: the memory of this process contains passwords and keys, and a crash must not
//! leave it in a file.
//!
//! `cli` calls this at the start, unless `[process] core_dumps` allows dumps.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Makes the kernel write no core file of this process. The soft and the hard limit are set to 0,
/// so that nothing in the process can raise them again. Processes of the same user are kept from
/// reading its memory as well (`prctl(2)`, PR_SET_DUMPABLE).
///
/// # Errors
/// The system's error, if it refuses.
pub fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // A program that handles core dumps (`|` in `core_pattern`) gets them whatever the limit is,
    // but not those of a process that is not dumpable.
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
