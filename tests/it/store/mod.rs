//! The store under the program. What it promises by itself is tested beside it, in
//! `crates/store/tests`.

#[path = "../../../crates/store/tests/store/samples.rs"]
pub(crate) mod samples; // what tests of the store begin with
mod signing_keys; // two gateways whose keys are in one store
mod time; // what a store forgets, and by which clock
mod upgrade; // store files of earlier versions
