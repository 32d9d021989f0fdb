//! Several gateways that share a store: real processes, a real store, HAProxy as the book has it.
//!
//! `journey` sends clients through a cluster while its parts are killed, cut off and restarted, and
//! counts what they were promised and what they got. The other modules look at one thing each.

#![allow(clippy::print_stderr)] // What was measured is part of a test's output.
#![allow(clippy::large_futures)] // A journey is one future, and there are few.

mod across; // what an operator or a client ends on one node, seen on the others
mod away; // the store is away: what is answered, and for how long tokens are accepted
mod clients; // clients that go on all the time, and what they were promised
mod clocks; // nodes whose clocks differ
pub(crate) mod cluster; // gateways, store and load balancer
mod journey; // clients, while nodes and the store are killed, cut off and restarted
mod ledger; // what clients were promised, and what they found
mod listed; // the nodes that an operator sees
mod moves; // from one node to many, to another database, and back
mod races; // one refresh token or code, presented to two nodes at once
mod store_server; // the store that the nodes share
