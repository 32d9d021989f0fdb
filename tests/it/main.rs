//! Everything that needs sockets, files or processes: a module for each topic.

// A test that cannot go on should say where; clippy exempts only the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// The tasks of a test's clients are nobody's to drain.
#![allow(clippy::disallowed_methods)]

mod listener; // accepting, limits, timeouts and drain
mod listening; // listeners on port 0 with a handler of the test's own, and clients for them
mod tls; // handshakes and certificates
