//! An explanation as text for a terminal, made of its JSON. Programs should use `--json`, because the
//! text may change.

use std::fmt::Write;

use serde_json::Value;

use super::remote::{list, text};

/// Routes that lost by their host or path are shown only if nothing was found, and so many of them.
const SHOWN: usize = 10;

/// The whole explanation, with a line break at its end.
pub(super) fn text_of(explained: &Value) -> String {
    let mut out = Lines::default();
    request(&mut out, explained.get("request").unwrap_or(&Value::Null));
    routes(&mut out, explained);
    credential(&mut out, explained.get("credential").unwrap_or(&Value::Null));
    checks(&mut out, explained);
    verdict(&mut out, explained.get("verdict").unwrap_or(&Value::Null));
    limits(&mut out, explained);
    upstream(&mut out, explained.get("upstream").unwrap_or(&Value::Null));
    out.section("notes");
    for note in list(explained, "notes").filter_map(Value::as_str) {
        out.line(format_args!("{}", plain(note)));
    }
    out.text
}

/// Sections with a heading, which is left out if nothing follows it.
#[derive(Default)]
struct Lines {
    text: String,
    heading: Option<&'static str>,
}

impl Lines {
    fn section(&mut self, heading: &'static str) {
        self.heading = Some(heading);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        if let Some(heading) = self.heading.take() {
            let _ = writeln!(self.text, "\n{heading}");
        }
        let _ = writeln!(self.text, "  {line}");
    }
}

/// Text from a request without control characters, which could change the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn said(value: &Value, name: &str) -> String {
    plain(text(value, name))
}

/// `gateway.toml:12 route[0].auth`.
fn place(value: &Value) -> Option<String> {
    let place = value.as_object()?;
    let key = place.get("key")?.as_str()?;
    let file = place.get("file").and_then(Value::as_str).unwrap_or_default();
    Some(match place.get("line").and_then(Value::as_u64) {
        Some(line) => format!("{file}:{line} {key}"),
        None => format!("{file} {key}"),
    })
}

fn request(out: &mut Lines, request: &Value) {
    let scheme = text(request, "scheme");
    let host = said(request, "host");
    let target = said(request, "target");
    let _ = writeln!(out.text, "{} {scheme}://{host}{target}", said(request, "method"));
    let trusted = match request.get("is_trusted_proxy") {
        Some(Value::Bool(true)) => ", behind a trusted proxy",
        _ => "",
    };
    let client = said(request, "client");
    let listener = said(request, "listener");
    out.line(format_args!("from {client}{trusted}, at listener {listener}"));
    let raw = target.split('?').next().unwrap_or_default();
    if let Some(path) = request.get("path").and_then(Value::as_str).filter(|path| *path != raw) {
        out.line(format_args!("read as the path {}", plain(path)));
    }
}

fn routes(out: &mut Lines, explained: &Value) {
    out.section("routes");
    let is_near = |route: &&Value| !matches!(text(route, "lost_by"), "host" | "path");
    let is_found = list(explained, "routes").any(|route| is_near(&route));
    let mut far = 0;
    for route in list(explained, "routes") {
        if !is_near(&route) {
            far += 1;
            if is_found || far > SHOWN {
                continue;
            }
        }
        let mark =
            if route.get("is_taken") == Some(&Value::Bool(true)) { "taken" } else { "lost " };
        let methods: Vec<&str> = list(route, "methods").filter_map(Value::as_str).collect();
        let methods = if methods.is_empty() { String::new() } else { methods.join(",") + " " };
        let name = said(route, "name");
        let path = said(route, "path");
        let at = route.get("place").and_then(place).unwrap_or_default();
        let why = match text(route, "lost_by") {
            "-" => String::new(),
            lost_by => format!(": {}", loss(lost_by)),
        };
        out.line(format_args!("{mark} {name}  {methods}{path}{why}  ({at})"));
    }
    let hidden = if is_found { far } else { far.saturating_sub(SHOWN) };
    if hidden > 0 {
        out.line(format_args!("{hidden} more are for another host or path (--json lists them)"));
    }
}

/// Why a route lost, in words.
fn loss(word: &str) -> &str {
    match word {
        "host" => "another host",
        "outer_host" => "a host that is named more exactly has routes of its own",
        "path" => "another path",
        "shorter_path" => "the pattern of another route matches more of the path",
        "method" => "another method",
        "endpoint" => "a login endpoint has this path",
        "spelling" => "the path is spelled in a way that it does not allow",
        "credential" => "it takes the requests that the other one does not",
        "earlier" => "the gateway answers before it looks at routes",
        other => other,
    }
}

fn credential(out: &mut Lines, found: &Value) {
    out.section("credential");
    if found.is_null() {
        return;
    }
    out.line(format_args!("{}, in {}", text(found, "kind"), text(found, "carrier")));
    if let Some(identity) = found.get("identity") {
        let names = |name: &str| {
            let names: Vec<String> =
                list(identity, name).filter_map(Value::as_str).map(plain).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        let user = said(identity, "username");
        let subject = said(identity, "subject");
        let issuer = said(identity, "issuer");
        out.line(format_args!("{user} ({subject}), issuer {issuer}"));
        out.line(format_args!("roles {}; scopes {}", names("roles"), names("scopes")));
    }
}

fn checks(out: &mut Lines, explained: &Value) {
    out.section("checks");
    for check in list(explained, "checks") {
        let mark = match text(check, "outcome") {
            "passed" => "ok       ",
            "failed" => "FAILED   ",
            "observed" => "observed ",
            "unknown" => "unknown  ",
            _ => "-        ",
        };
        out.line(format_args!("{mark}{:<16} {}", text(check, "check"), said(check, "detail")));
    }
}

fn verdict(out: &mut Lines, verdict: &Value) {
    out.section("verdict");
    let status = verdict.get("status").and_then(Value::as_u64);
    let status = status.map(|status| format!(" {status}")).unwrap_or_default();
    let reason = match text(verdict, "reason") {
        "-" => String::new(),
        reason => format!(" {reason}"),
    };
    let grounds = match text(verdict, "grounds") {
        "-" => String::new(),
        grounds => format!(" ({grounds})"),
    };
    out.line(format_args!("{}{status}{reason}{grounds}", text(verdict, "outcome")));
    if let Some(cause) = verdict.get("cause").and_then(Value::as_str) {
        out.line(format_args!("because {}", plain(cause)));
    }
    if let Some(form) = verdict.get("form").and_then(Value::as_str) {
        out.line(format_args!("in the form {form}"));
    }
    if let Some(place) = verdict.get("decided_by").and_then(place) {
        out.line(format_args!("decided by {place}"));
    }
}

fn limits(out: &mut Lines, explained: &Value) {
    out.section("limits");
    for limit in list(explained, "limits") {
        let state = match text(limit, "state") {
            "-" => String::new(),
            state => format!("; {state}"),
        };
        let at = limit.get("place").and_then(place).unwrap_or_default();
        let name = text(limit, "limit");
        let allows = text(limit, "allows");
        out.line(format_args!("{name}: {allows}{state}  ({at})"));
    }
}

fn upstream(out: &mut Lines, request: &Value) {
    out.section("upstream");
    if request.is_null() {
        return;
    }
    let upstream = text(request, "upstream");
    let server = text(request, "server");
    out.line(format_args!("{upstream}, server {server}"));
    for other in list(request, "servers") {
        let name = text(other, "server");
        let condition = text(other, "condition");
        if name != server || condition != "up" {
            out.line(format_args!("  {name} is {condition}"));
        }
    }
    let method = text(request, "method");
    let target = said(request, "target");
    out.line(format_args!("{method} {target} HTTP/{}", text(request, "protocol")));
    if request.get("credential").is_some_and(Value::is_string) {
        out.line(format_args!("credential of the upstream: {}", said(request, "credential")));
    }
    for field in list(request, "fields").filter_map(Value::as_array) {
        if let [Value::String(name), Value::String(value)] = field.as_slice() {
            out.line(format_args!("{name}: {}", plain(value)));
        }
    }
    for (name, text) in [("removed", "without"), ("replaced", "in place of")] {
        let fields: Vec<&str> = list(request, name).filter_map(Value::as_str).collect();
        if !fields.is_empty() {
            out.line(format_args!("{text} the client's {}", fields.join(", ")));
        }
    }
}
