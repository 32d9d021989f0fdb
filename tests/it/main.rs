//! One binary of tests over files, sockets and processes; a module for each topic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub)] // One binary: nothing here is anybody's interface.
#![allow(clippy::disallowed_methods)] // A test may spawn: there is nothing to drain.
#![allow(clippy::disallowed_types)] // A poisoned lock ends one test, which has failed already.

mod harness;

mod architecture; // imports, file sizes, who writes a status
mod book; // the book and the other documents: commands, configurations, links
mod credentials; // API keys, Basic, client certificates, and what services ask about tokens
mod login; // logins in every dialect, their second steps and their sessions
mod nodes; // several gateways that share a store, behind a load balancer
mod operations; // the program as its operators use it: start, reload, restart, commands, logs, metrics
mod protocol; // connections and messages: accepting, TLS, HTTP/1.1 and HTTP/2, WebSockets, gRPC, bodies
mod routing; // which route a request takes, and the rules of a route
mod security; // what must never happen, through a whole gateway
mod store; // the session store under the program: its time, its earlier versions
mod upstream; // forwarding over real sockets: connections, framing, fields, TLS, tunnels
mod users; // the sources of users: files, directories, databases, legacy systems
