//! Cross-origin requests (CORS, Fetch standard): which origins may call, as checked values.
//!
//! A `cors` table can be part of a dialect, a login or a route. This file checks the table;
//! `pipeline` answers preflights and adds the headers. It refuses tables that would let any site
//! act with a user's cookies.

use std::time::Duration;

use http::{HeaderName, Method};

use super::duration::check_duration;
use super::problem::{DialectProblem, DialectProblems};
use super::raw::RawCors;

/// The rules for requests from other origins (Fetch standard, CORS protocol).
#[derive(Clone, Debug, PartialEq)]
pub struct CorsPolicy {
    pub origins: CorsOrigins,
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub expose: Vec<String>,
    pub credentials: bool,
    pub max_age: Duration,
    /// The status of the answer to a preflight: 204, or 200 where the clients of a dialect compare
    /// it. The Fetch standard accepts every status from 200 to 299.
    pub preflight_status: u16,
}

/// The origins that may call.
#[derive(Clone, Debug, PartialEq)]
pub enum CorsOrigins {
    /// Any origin; answered with `*`.
    Any,
    /// Any origin; answered by repeating the request's origin.
    Echo,
    /// The origins in this list.
    List(Vec<String>),
}

/// How long a browser may cache the answer to a preflight, if the table has no value: short, so
/// that a change of the rules reaches browsers soon.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(600);
const DEFAULT_METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const DEFAULT_HEADERS: &[&str] = &["Accept", "Authorization", "Content-Type"];

impl RawCors {
    /// Checks a `cors` table at the key path `at`. Used for tables outside a dialect too.
    ///
    /// # Errors
    /// Every problem it has.
    pub fn check(self, at: &str) -> Result<CorsPolicy, Vec<DialectProblem>> {
        let mut problems = DialectProblems::default();
        let cors = self.check_into(at, &mut problems);
        // Invariant: the value is missing only if there is a problem, and then `finish` has
        // returned already.
        problems.finish(cors)?.ok_or_else(Vec::new)
    }

    pub(super) fn check_into(self, at: &str, problems: &mut DialectProblems) -> Option<CorsPolicy> {
        for (number, method) in self.methods.iter().enumerate() {
            if Method::from_bytes(method.as_bytes()).is_err() {
                problems.add(format!("{at}.methods[{number}]"), method, "is no method");
            }
        }
        for (key, names) in [("headers", &self.headers), ("expose", &self.expose)] {
            for (number, name) in names.iter().enumerate() {
                if HeaderName::from_bytes(name.as_bytes()).is_err() {
                    problems.add(format!("{at}.{key}[{number}]"), name, "is no header name");
                }
            }
        }
        let preflight_status = self.preflight_status.unwrap_or(204);
        if !matches!(preflight_status, 200 | 204) {
            let at = format!("{at}.preflight_status");
            problems.add(at, preflight_status, "must be 200 or 204");
        }
        let max_age = match self.max_age {
            Some(text) => check_duration(&text, &format!("{at}.max_age"), problems),
            None => Some(DEFAULT_MAX_AGE),
        };
        // With credentials and any origin, every website could call with the cookies of its
        // visitors and read the answers. The Fetch standard forbids `*` for the same reason; `echo`
        // would get around that.
        let origins = check_origins(self.origins, &format!("{at}.origins"), problems);
        if self.credentials && matches!(origins, Some(CorsOrigins::Any | CorsOrigins::Echo)) {
            let message = "needs a list of origins: any site could act as the user otherwise";
            problems.add(format!("{at}.credentials"), true, message);
        }
        let or_default = |given: Vec<String>, default: &[&str]| {
            if given.is_empty() {
                default.iter().map(|&name| name.to_owned()).collect()
            } else {
                given
            }
        };
        Some(CorsPolicy {
            origins: origins?,
            methods: or_default(self.methods, DEFAULT_METHODS),
            headers: or_default(self.headers, DEFAULT_HEADERS),
            expose: self.expose,
            credentials: self.credentials,
            max_age: max_age?,
            preflight_status,
        })
    }
}

fn check_origins(
    origins: Vec<String>,
    at: &str,
    problems: &mut DialectProblems,
) -> Option<CorsOrigins> {
    match origins.as_slice() {
        [any] if any == "*" => return Some(CorsOrigins::Any),
        [echo] if echo == "echo" => return Some(CorsOrigins::Echo),
        [] => {
            problems.add(at, "", "is empty: name origins, or `*` for any");
            return None;
        }
        _ => {}
    }
    for (number, origin) in origins.iter().enumerate() {
        // Origins are compared byte by byte with what browsers send, so they must be spelled in the
        // same way: lower case, no path, no trailing slash. A spelling that never matches would
        // only be noticed when the browser refuses the answer.
        let host = origin.split_once("://").map(|(_, host)| host);
        let is_origin =
            host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '?']));
        if !is_origin || origin.bytes().any(|b| b.is_ascii_uppercase() || !b.is_ascii_graphic()) {
            let message = "must be an origin in lower case, for example \"https://app.example\"";
            problems.add(format!("{at}[{number}]"), origin, message);
        }
    }
    Some(CorsOrigins::List(origins))
}
