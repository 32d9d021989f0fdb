//! Tells the program which compiler made it, for `tollhouse version`: a report of a fault names it.
//!
//! The commit is not looked up here: a folder without git has to build too, and a commit that
//! changes would build the program anew. `deploy/build` sets `TOLLHOUSE_COMMIT`.

#![allow(clippy::print_stdout, reason = "Cargo reads what a build script prints")]

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=deploy/toolchain.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    // A wrapper that cannot say its version is no reason to build nothing.
    let version = Command::new(rustc).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok());
    println!("cargo::rustc-env=TOLLHOUSE_TOOLCHAIN={}", version.as_deref().unwrap_or("").trim());
}
