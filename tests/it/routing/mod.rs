//! Which route a request takes, and the rules of a route.

pub(crate) mod mirror; // copies of requests: without credentials, never in the way
pub(crate) mod rate_limit; // 429 by subject, session, client and route
pub(crate) mod report_only; // the report of routes that only observe
pub(crate) mod rules; // redirects, fixed answers, maintenance, rewritten paths, HSTS
pub(crate) mod table; // one reading of a request, and the table of routes
