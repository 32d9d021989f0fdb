//! The `tollhouse` program: hands over to `cli`.

use std::process::ExitCode;

/// Every request needs a few large blocks (hyper's read buffers, its own future), which the
/// system's allocator is slow with: measured, it costs 4 to 7 % of a request's CPU time more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tollhouse::cli::main()
}
