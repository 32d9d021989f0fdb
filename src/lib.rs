//! Tollhouse: an authentication gateway for legacy APIs.
//!
//! # The path of a request
//!
//! ```text
//! server::start -> listener::serve -> connection -> pipeline::handle   catches panics, writes the record
//!   -> Exchange::run
//!        Target::parse                one reading: host, path, framing; the ambiguous is refused
//!        health, challenge, redirect, 421, JWKS   small answers of our own
//!        RouteTable::find             Login | LoginOr | Route | WrongMethod | Odd | NoRoute
//!        Login:  Exchange::login      takes a place, reads the body, then on the background runtime:
//!                  Login::handle      dialect::serve::read, UserSources::check, SessionStore::put,
//!                                     token::access_token, dialect::serve::render
//!        Route:  Exchange::route      maintenance, Limits::admit (client, route),
//!                                     headers::strip_inbound
//!                  decide             Presented::extract, Verifier::verify (tokens), ApiKeys,
//!                                     Certificates, LoginServices::prove_basic,
//!                                     Limits::admit (subject, session), authz::permit
//!                    a token that needs a remote check: Verifier::verify_with_lookup, on
//!                                     the background runtime
//!                  a redirect or a fixed answer, where the route says so; else
//!                  forward            headers::remove_credentials, set_forwarded, vouch (fields, or
//!                                     a token for the upstream), the route's rules, a copy to the
//!                                     mirror, UpstreamPool::forward with the upstream's own
//!                                     credential: UpstreamPool::pick, Delivery::attempt,
//!                                     Delivery::next (another server?), Delivery::accept, a
//!                                     tunnel on 101; the answer compressed
//!   Err(rejection) -> Rejection::into_response in the form of the endpoint or route
//! ```
//!
//! `tollhouse explain` takes the same path on a view of the gateway whose effects end in it
//! (`gateway::dry_run`, `pipeline::dry_run`).
//!
//! # The map
//!
//! Imports point down only; modules of one tier import each other on the ground alone. A test reads
//! this table.
//!
//! | tier | modules |
//! |---|---|
//! | the program | `cli`: arguments, commands, signals |
//! | | `server`: everything opened in the safe order; used by `cli` and by every test |
//! | | `schema`: the keys of `gateway.toml` and of dialects, for editors and people |
//! | | `config`: the text of `gateway.toml` -> settings, or issues with their lines |
//! | doors | `admin` (operators) |
//! | | `listener` (clients) |
//! | | `pipeline`: what happens to a request |
//! | composition | `gateway`: configuration -> one immutable generation, swapped by a reload |
//! | | `rejection`, `answer`: every answer of our own |
//! | work | `login` |
//! | | `authn`, `upstream` |
//! | | `users`, `token`, `acme` |
//! | | `session`, `routing`, `headers`, `throttle`, `authz`, `outbound`, `database`, `passwords` |
//! | records | `telemetry`: logs, metrics, the audit |
//! | contract | `settings`: the checked values of a configuration |
//! | | `dialect`: a login wire format as data |
//! | ground | `runtime`, `admission`, `body`, `client`, `distinguished_name`, `durable_file`, `features`, `coalesce`, `authority`, `identity`, `secret`, `clock`, `algorithm`, `tls_roots`, `strict_json`, `bounded_cache`, `single_flight`, `spread`, `format` |
//!
//! `dialect` is the library `crates/dialect`, `session` is `crates/store`; `algorithm`,
//! `bounded_cache`, `clock`, `format`, `identity`, `secret`, `single_flight`, `spread` and
//! `strict_json` are `crates/core`. The program sees them under these names.
//!
//! # What holds
//!
//! - **Threads.** Workers, one a core, each with its own runtime and sockets, serve requests and
//!   never block. The background runtime, with threads of its own, does everything that may take
//!   long: logins, questions to issuers, directories and databases, signing for upstreams, store,
//!   mail, admin. Passwords are hashed in threads of their own, the store is written by one. Nothing
//!   of this is process-wide: a test starts many gateways.
//! - **Bounds** come before work: `admission` decides how much of each expensive resource one client
//!   may use. Nothing is hashed, looked up, asked, mailed or kept in memory that it has not admitted.
//! - **State.** A request loads its worker's view of the generation once. State that survives a reload
//!   is in `gateway::SharedState`, or is handed on by the last generation (connections to
//!   upstreams, counts of rate limits, keys and verdicts of issuers) if its configuration is the
//!   same. State that survives a restart is behind `Store`, and was written before it was
//!   answered.
//! - **Seams.** Three traits, `UserSource`, `Store` and, below the store of many nodes,
//!   `SharedDatabase`, each with a contract and one test of it that implementations plug into. A
//!   dialect is data, everything else is a plain type.
//! - **Failure.** Not knowing is not a refusal: if a fact cannot be found out, the answer is 503. A
//!   reason is for the client, a cause is for the log. A panic costs one request.
//! - **Time** is read from one `Clock` and passed on as `now`.

pub use tollhouse_core::{algorithm, clock, identity, secret};
use tollhouse_core::{bounded_cache, format, single_flight, spread, strict_json};
pub use tollhouse_dialect as dialect;
pub use tollhouse_store as session;

pub mod acme;
pub mod admin;
pub mod admission;
mod answer;
pub mod authn;
pub mod authority;
pub mod authz;
pub mod body;
pub mod cli;
pub mod client;
mod coalesce;
pub mod config;
pub mod database;
pub mod distinguished_name;
mod durable_file;
pub mod features;
mod gateway;
pub mod headers;
pub mod listener;
mod login;
pub mod outbound;
pub mod passwords;
mod pipeline;
mod rejection;
pub mod routing;
pub mod runtime;
pub mod schema;
pub mod server;
pub mod settings;
pub mod telemetry;
pub mod throttle;
pub mod tls_roots;
pub mod token;
pub mod upstream;
pub mod users;
