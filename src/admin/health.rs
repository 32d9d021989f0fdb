//! Answers to probes: is the process alive, and may requests be sent to it?
//!
//! `live` looks at the threads of the gateway alone. Readiness is about the gateway itself, not about
//! its upstreams: if a dead upstream made the gateway unready, all gateways would be taken out of
//! service at the same moment. The checks are carried out by `operations`; this file only formats their results.

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderValue};
use serde_json::{Map, Value, json};

use crate::dialect::LocalResponse;

/// The results of the checks of a gateway. They were true at one moment; a probe asks again every
/// few seconds.
#[derive(Clone, Debug, Default)]
pub struct ReadinessReport {
    /// The name of each check and, if it failed, the reason.
    pub checks: Vec<(&'static str, Result<(), String>)>,
    /// Facts that are worth knowing, but no reason to send no requests. They are shown with
    /// `verbose` and in the status.
    pub notes: Vec<String>,
    /// Each upstream with the reason why none of its servers can be used, if that is so. Such an
    /// upstream does not make the gateway unready, because all other gateways would become unready
    /// for the same reason.
    pub upstreams: Vec<(String, Option<String>)>,
}

impl ReadinessReport {
    /// True if every check passed.
    pub fn is_ready(&self) -> bool {
        self.checks.iter().all(|(_, found)| found.is_ok())
    }

    /// The answer to a probe: 200 if every check passed, else 503. In the query, `verbose` lists
    /// the checks, `exclude=name` skips one, `require=name` asks for an upstream as well (404 if
    /// there is none of that name), and `format=json` gives everything to a program. A cause in the
    /// text is kept on one line.
    pub fn answer(&self, query: Option<&str>) -> LocalResponse {
        let pairs = || form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let excluded = |name: &str| pairs().any(|(key, value)| key == "exclude" && value == name);
        let mut required = pairs().filter(|(key, _)| key == "require").map(|(_, value)| value);
        if let Some(unknown) = required.clone().find(|name| !self.knows_upstream(name)) {
            // A misspelt name in a probe is neither ready nor unready. With 503 it would look like
            // an outage.
            return text(StatusCode::NOT_FOUND, self.unknown_upstream(&unknown));
        }
        // A check that is excluded by name does not count. This lets a load balancer keep sending
        // requests while, for example, only the store is down.
        let ready = self.checks.iter().all(|(name, found)| found.is_ok() || excluded(name))
            && required.all(|name| self.has_upstream(&name));
        let verdict = if ready { "ready\n" } else { "not ready\n" };
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        if pairs().any(|(key, value)| key == "format" && value == "json") {
            return self.json(status, ready, excluded);
        }
        if !pairs().any(|(key, value)| key == "verbose" && !matches!(&*value, "0" | "false")) {
            return text(status, verdict.to_owned());
        }
        let mut body = String::new();
        for (key, name) in pairs().filter(|(key, _)| key == "require") {
            let found = if self.has_upstream(&name) { "[+]" } else { "[-]" };
            body.push_str(&format!("{found} {key} {}\n", one_line(&name)));
        }
        for (name, found) in &self.checks {
            let line = match found {
                _ if excluded(name) => format!("[ ] {name} excluded\n"),
                Ok(()) => format!("[+] {name} ok\n"),
                Err(cause) => format!("[-] {name} failed: {}\n", one_line(cause)),
            };
            body.push_str(&line);
        }
        for note in &self.notes {
            body.push_str(&format!("note: {}\n", one_line(note)));
        }
        body.push_str(verdict);
        text(status, body)
    }

    fn knows_upstream(&self, name: &str) -> bool {
        self.upstreams.iter().any(|(known, _)| known == name)
    }

    fn unknown_upstream(&self, name: &str) -> String {
        let known: Vec<&str> = self.upstreams.iter().map(|(known, _)| known.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        format!("require: no upstream is named `{}`; there are: {known}\n", one_line(name))
    }

    /// True if the upstream has a usable server; false for an unknown name. The answer is the one
    /// that the pool itself would act on.
    fn has_upstream(&self, name: &str) -> bool {
        self.upstreams.iter().any(|(known, problem)| known == name && problem.is_none())
    }

    fn json(
        &self,
        status: StatusCode,
        ready: bool,
        excluded: impl Fn(&str) -> bool,
    ) -> LocalResponse {
        let checks: Map<String, Value> = self
            .checks
            .iter()
            .map(|(name, found)| {
                let cause = found.as_ref().err();
                let state =
                    json!({ "ok": found.is_ok(), "cause": cause, "excluded": excluded(name) });
                ((*name).to_owned(), state)
            })
            .collect();
        let body = json!({ "ready": ready, "checks": checks, "notes": self.notes });
        written(status, "application/json", format!("{body}\n"))
    }
}

/// The answer to a probe of liveness: 503 if a worker is stuck. Only a restart helps then, and the
/// prober is the one who can restart. Nothing else is looked at, because a restart mends nothing
/// else.
pub fn live(is_progress_made: bool) -> LocalResponse {
    if !is_progress_made {
        let cause = "a worker thread makes no progress\n".to_owned();
        return text(StatusCode::SERVICE_UNAVAILABLE, cause);
    }
    text(StatusCode::OK, "ok\n".to_owned())
}

/// The text on one line. A line break in a cause could otherwise forge a line of the report.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn text(status: StatusCode, body: String) -> LocalResponse {
    written(status, "text/plain; charset=utf-8", body)
}

fn written(status: StatusCode, kind: &'static str, body: String) -> LocalResponse {
    let headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    LocalResponse { status, headers, body: Bytes::from(body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_worker_ends_the_liveness() {
        assert_eq!(live(true).status, StatusCode::OK);
        assert_eq!(live(false).status, StatusCode::SERVICE_UNAVAILABLE);
    }

    fn found() -> ReadinessReport {
        ReadinessReport {
            checks: vec![("config", Ok(())), ("store", Err("read\nonly".to_owned()))],
            notes: vec!["a certificate expires soon".to_owned()],
            upstreams: Vec::new(),
        }
    }

    #[test]
    fn an_upstream_counts_only_for_a_probe_that_asks_for_it() {
        let down = || Some("every server of `b` fails its checks".to_owned());
        let readiness = ReadinessReport {
            checks: vec![("store", Ok(()))],
            notes: Vec::new(),
            upstreams: vec![("a".to_owned(), None), ("b".to_owned(), down())],
        };
        let status = |query| readiness.answer(query).status;

        assert_eq!(status(None), StatusCode::OK);
        assert_eq!(status(Some("require=a")), StatusCode::OK);
        assert_eq!(status(Some("require=b")), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(Some("require=a&require=b")), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn a_misspelt_upstream_was_told_as_one_that_is_down() {
        let readiness = ReadinessReport {
            checks: vec![("store", Ok(()))],
            notes: Vec::new(),
            upstreams: vec![("a".to_owned(), None), ("b".to_owned(), None)],
        };

        for query in ["require=nobody", "require=a&require=nobody", "require=nobody&format=json"] {
            let answer = readiness.answer(Some(query));

            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{query}");
            assert_eq!(answer.body, "require: no upstream is named `nobody`; there are: a, b\n");
        }
    }

    #[test]
    fn one_failed_check_is_enough_to_be_not_ready() {
        let answer = found().answer(None);

        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.body, "not ready\n");
    }

    #[test]
    fn an_excluded_check_does_not_count() {
        assert_eq!(found().answer(Some("exclude=store")).status, StatusCode::OK);
        assert_eq!(found().answer(Some("exclude=config")).status, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn json_tells_the_same_to_a_program() {
        let answer = found().answer(Some("format=json&exclude=store"));

        let state: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(state["ready"], true);
        assert_eq!(
            state["checks"]["config"],
            json!({ "ok": true, "cause": null, "excluded": false })
        );
        let store = json!({ "ok": false, "cause": "read\nonly", "excluded": true });
        assert_eq!(state["checks"]["store"], store);
        assert_eq!(state["notes"][0], "a certificate expires soon");
    }

    #[test]
    fn verbose_lists_checks_and_notes_a_line_each() {
        let answer = found().answer(Some("verbose"));

        let expected = "[+] config ok\n[-] store failed: read only\n\
                        note: a certificate expires soon\nnot ready\n";
        assert_eq!(answer.body, expected);
    }
}
