//! The tests that need sockets and files, one module per topic.

/// Accepting, limits, timeouts and drain.
mod listener;
/// Listeners on port 0 with a handler of the test's own, and clients for them.
mod listening;
/// Handshakes and certificates.
mod tls;
