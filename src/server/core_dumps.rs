//! What a crash must not leave behind: the memory of this process holds passwords and keys.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Has the kernel write no core of this process (soft and hard limit 0, so that nothing in it can
/// raise it again), and lets no process of the same user read its memory (prctl(2),
/// PR_SET_DUMPABLE).
///
/// # Errors
/// When the system refuses.
pub fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // A handler of cores (`|` in core_pattern) is not bound by the limit, but by this.
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
