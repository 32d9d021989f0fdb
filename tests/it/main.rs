//! One binary of tests over files, sockets and processes; a module for each topic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub)] // One binary: nothing here is anybody's interface.
#![allow(clippy::disallowed_methods)] // A test may spawn: there is nothing to drain.

mod harness;

mod admin; // probes and metrics by TCP, everything else by the unix socket
mod admission; // one hostile client beside everybody else: places, bytes, floods
mod architecture; // imports, file sizes, who writes a status
mod bytes_in; // what access lines say of bodies
mod check;
mod check_online; // whom a configuration names, asked before a start
mod cli; // every command of the real program
mod commands; // commands for a running gateway
mod compression; // answers compressed on their way, and which never are
mod config_cases; // gateway.toml: every problem of every section
mod contract; // what every session store promises
mod contract_users; // what every source of users promises
mod credentials; // API keys, Basic, client certificates, and what services ask about tokens
mod delegated; // logins that a legacy system decides, in every dialect
mod dialect_errors; // every reason in every dialect's form
mod durability; // the embedded store: kill -9, full and failing disks
mod exchange; // tokens of other issuers, traded for ours
mod forwarding; // answers good and bad, bodies, fields and paths through a whole gateway
mod golden; // the dialects byte by byte
mod grpc; // calls by gRPC, good and refused, through TLS on both sides
mod htpasswd; // users of Apache, weak hashes replaced and imported
mod issuers; // tokens of others whose keys are fetched: discovery, rotation, outages
mod ldap; // users of a real directory
mod listener; // accepting, limits, timeouts and drain
mod listening; // listeners on port 0 with a handler of the test's own, and clients for them
mod mirror; // copies of requests: without credentials, never in the way
mod observe; // the report of routes that only observe
mod opaque; // tokens that only their issuer understands
mod own_dialects; // dialects of the operator's own
mod pages; // the curl lines of the published login pages
mod passwords; // stored hashes of every form
mod pools; // which server of a pool is asked: balance, checks, ejection
mod proxy_protocol; // PROXY headers from listed peers, and to upstreams
mod rate_limit; // 429 by subject, session, client and route
mod readme; // what the README says to paste
mod refused_bodies; // the reference client hears a refusal while it sends
mod reload; // a configuration in the place of another, while the gateway serves
mod requests; // requests through a whole gateway
mod restart; // a successor starts while the last requests of the old gateway go on
mod reviews; // users change while a source is silent or a password is looked at
mod routing; // one reading of a request, and the table of routes
mod rules; // redirects, fixed answers, maintenance, rewritten paths, HSTS
mod security; // what must never happen, through a whole gateway
mod sessions; // sessions over their whole life
mod shutdown; // SIGTERM drains, a second one ends at once, SIGUSR1 reopens the logs
mod sql; // users in real databases
mod starting;
mod store_file; // the store file: made, refused, copied, swept
mod store_time; // what a store forgets, and by which clock
mod store_upgrade; // store files of earlier versions
mod streams; // WebSockets and long downloads, and when they end
mod takeover; // a login system is taken over in three days
mod telemetry; // lines on their way to a file
mod tls; // handshakes and certificates
mod tokens; // keys, verification, the pair, other issuers, the memory of verified tokens
mod totp; // codes of an authenticator as a second step
mod upstream; // forwarding over real sockets: connections, framing, fields, TLS, tunnels
mod users; // users.toml: logins, changes to the file, re-hashing
mod webitel_sessions; // pairs that an older Webitel gave out
mod websocket; // WebSockets over HTTP/1.1 and HTTP/2, on either side
mod wycheproof; // the signature vectors of Project Wycheproof
