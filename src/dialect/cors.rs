//! Who may call from another origin (the Fetch standard's CORS protocol), as values.

use std::time::Duration;

use http::{HeaderName, Method};

use super::check::check_duration;
use super::problem::{Problem, Problems};
use super::raw::RawCors;

/// Who may call from another origin (Fetch standard, CORS protocol).
#[derive(Clone, Debug, PartialEq)]
pub struct Cors {
    pub origins: CorsOrigins,
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub expose: Vec<String>,
    pub credentials: bool,
    pub max_age: Duration,
    /// Status of a preflight's answer: 204, or 200 where a dialect's clients compare.
    pub preflight_status: u16,
}

/// Origins that may call.
#[derive(Clone, Debug, PartialEq)]
pub enum CorsOrigins {
    /// Any, answered as `*`.
    Any,
    /// Any, answered by repeating it.
    Echo,
    /// These.
    List(Vec<String>),
}

/// Short enough that a change of policy reaches browsers soon.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(600);
const DEFAULT_METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const DEFAULT_HEADERS: &[&str] = &["Accept", "Authorization", "Content-Type"];

impl RawCors {
    /// Checks a `cors` table, wherever it stands; `at` is its key path.
    ///
    /// # Errors
    /// Every problem it has.
    pub fn check(self, at: &str) -> Result<Cors, Vec<Problem>> {
        let mut problems = Problems::default();
        let cors = self.check_into(at, &mut problems);
        // Invariant: there is a value wherever there is no problem.
        problems.finish(cors)?.ok_or_else(Vec::new)
    }

    pub(super) fn check_into(self, at: &str, problems: &mut Problems) -> Option<Cors> {
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
        Some(Cors {
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

fn check_origins(origins: Vec<String>, at: &str, problems: &mut Problems) -> Option<CorsOrigins> {
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
        // Compared byte for byte with what browsers send, so it must be spelled as they do.
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
