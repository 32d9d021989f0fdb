//! The store, without the program around it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub)] // One binary: nothing here is anybody's interface.
#![allow(clippy::disallowed_methods)] // A test may spawn: there is nothing to drain.

mod contract; // what every store promises
#[path = "../../../../tests/it/harness/daemon.rs"]
#[cfg(feature = "postgres")]
mod daemon; // servers that do not run as root
mod durability; // kill -9, full and failing disks
mod equivalence; // random operations: all stores answer alike
mod file; // the file: made, refused, copied, swept
mod nodes; // the notes that nodes of a shared store keep about themselves
#[cfg(feature = "postgres")]
mod postgres; // the shared database in PostgreSQL
mod protocol; // every order of steps of nodes, owner, thief and revocation
#[cfg(feature = "redis")]
mod redis; // Redis and Clusters of it
mod samples; // what these tests begin with
mod shared_database; // what a shared store needs of a database
mod shared_samples; // the same, for stores that several nodes share
mod simulation; // several nodes, clocks and networks by chance
mod transfer; // a store moves to another one, of whichever kind
