//! Requests through a whole gateway to upstreams that answer well, badly or not at all.

mod bodies;
mod connections;
mod credentials;
mod events;
mod failures;
mod fields;
mod locations;
mod minted;
mod own_login;
mod paths;
mod slow;
mod trust;
