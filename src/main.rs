//! The `tollhouse` program: hands over to `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tollhouse::cli::main()
}
