//! Everything that needs sockets, files or processes: a module for each topic.

// A test that cannot go on should say where; clippy exempts only the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod contract;
mod durability;
mod store_file;
