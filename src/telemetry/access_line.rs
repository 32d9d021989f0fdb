//! The access line in the form that the configuration asks for.
//!
//! JSON and logfmt have every field. The combined form, for tools that read the logs of web servers,
//! and the one for people have less: what a request was, who asked, and what became of it. Text of a
//! client is escaped in each, so that it can neither end a value or a line nor reach a terminal.

use std::io::Write;

use super::access_record::AccessRecord;
use super::json::{JsonObject, LogfmtLine, escaped, millis};
use crate::clock::Timestamp;
use crate::format;
use crate::settings::AccessFormat;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Appends the line of a request, with its line break.
pub fn write(record: &AccessRecord, form: AccessFormat, now: Timestamp, line: &mut Vec<u8>) {
    match form {
        AccessFormat::Json => record.write_fields(now, JsonObject::begin(line)),
        AccessFormat::Logfmt => record.write_fields(now, LogfmtLine::begin(line)),
        AccessFormat::Combined => combined(record, now, line),
        AccessFormat::Pretty => pretty(record, now, line),
    }
}

/// The combined format of nginx and Apache:
/// `client - user [time] "request" status bytes "referrer" "user agent"`. The user is the subject. The
/// request has no query, and there is never a referrer: either may contain a credential.
fn combined(record: &AccessRecord, now: Timestamp, line: &mut Vec<u8>) {
    hex_escaped(line, record.client_text().unwrap_or("-"));
    line.extend_from_slice(b" - ");
    hex_escaped(line, record.subject.as_ref().map_or("-", |subject| subject.as_str()));
    line.extend_from_slice(b" [");
    clock_time(line, now);
    line.extend_from_slice(b"] \"");
    hex_escaped(line, record.method.as_str());
    line.push(b' ');
    hex_escaped(line, record.uri.path());
    line.extend_from_slice(b" HTTP/");
    line.extend_from_slice(match record.protocol {
        "2" => b"2.0",
        other => other.as_bytes(),
    });
    line.extend_from_slice(b"\" ");
    format::decimal(line, record.status.into());
    line.push(b' ');
    format::decimal(line, record.bytes_out);
    line.extend_from_slice(b" \"-\" \"");
    match record.user_agent_text() {
        Some(text) => quoted_part(line, text),
        None => line.push(b'-'),
    }
    line.extend_from_slice(b"\"\n");
}

/// A short line for people: time, status, request, duration, user, and why it was refused.
fn pretty(record: &AccessRecord, now: Timestamp, line: &mut Vec<u8>) {
    format::timestamp(line, now);
    line.push(b' ');
    format::decimal(line, record.status.into());
    line.push(b' ');
    escaped(line, record.method.as_str());
    line.push(b' ');
    escaped(line, record.uri.path());
    line.push(b' ');
    millis(line, record.duration);
    line.extend_from_slice(b" ms");
    let upstream = record.upstream.as_deref();
    for (before, text) in [
        (" from ", record.client_text()),
        (" user ", record.subject.as_ref().map(|subject| subject.as_str())),
        (" by ", upstream),
        (" ", record.reason),
        (": ", record.cause.as_deref()),
    ] {
        let Some(text) = text else { continue };
        line.extend_from_slice(before.as_bytes());
        escaped(line, text);
    }
    line.push(b'\n');
}

/// Appends `at` as in `02/Dec/2026:09:30:00 +0000`, in UTC.
fn clock_time(line: &mut Vec<u8>, at: Timestamp) {
    let (year, month, day) = at.date();
    let month = usize::try_from(month).ok().and_then(|month| MONTHS.get(month.checked_sub(1)?));
    let seconds = at.secs() % 86_400;
    format::digits(line, day, 2);
    line.push(b'/');
    line.extend_from_slice(month.copied().unwrap_or_default().as_bytes());
    line.push(b'/');
    format::digits(line, year, 4);
    for number in [seconds / 3600, seconds / 60 % 60, seconds % 60] {
        line.push(b':');
        format::digits(line, number, 2);
    }
    line.extend_from_slice(b" +0000");
}

/// Appends a text outside of quotes, in which a space would begin the next value.
fn hex_escaped(line: &mut Vec<u8>, text: &str) {
    hex(line, text, |byte| byte.is_ascii_graphic());
}

/// Appends a text between quotes.
fn quoted_part(line: &mut Vec<u8>, text: &str) {
    hex(line, text, |byte| byte.is_ascii_graphic() || byte == b' ');
}

/// Appends a text as nginx does: what does not fit is written `\x22`.
fn hex(line: &mut Vec<u8>, text: &str, fits: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if fits(byte) && byte != b'"' && byte != b'\\' {
            line.push(byte);
        } else {
            // Writing to a `Vec` cannot fail.
            let _ = write!(line, "\\x{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderValue, Method};

    use super::super::access_record::RequestOutcome;
    use super::super::metrics::Metrics;
    use super::*;
    use crate::identity::Subject;

    #[test]
    fn a_client_cannot_forge_a_line_or_a_field() {
        let forged = "x\"}\n{\"outcome\":\"forwarded\",\"user.id\":\"root";
        let record = AccessRecord {
            route: Some(Metrics::new().route(forged)),
            user_agent: HeaderValue::from_str(&forged.replace('\n', " ").repeat(20)).ok(),
            outcome: RequestOutcome::Refused,
            cause: Some(forged.to_owned()),
            duration: Duration::from_micros(1_250),
            ..AccessRecord::default()
        };

        let mut line = Vec::new();
        write(&record, AccessFormat::Json, Timestamp::from_millis(1), &mut line);

        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let parsed: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(parsed["http.route"], forged);
        assert_eq!(parsed["outcome"], "refused");
        assert_eq!(parsed["duration_ms"], 1.25);
        assert_eq!(parsed["timestamp"], "1970-01-01T00:00:00.001Z");
        assert!(parsed.get("user.id").is_none());
        assert_eq!(parsed["user_agent.original"].as_str().unwrap().chars().count(), 256);
    }
    /// A record whose client tries to break out of every place.
    fn hostile() -> AccessRecord {
        AccessRecord {
            method: Method::from_bytes(b"G|T").unwrap(),
            uri: "/a\"b%0ac?token=secret".parse().unwrap(),
            protocol: "2",
            client_address: HeaderValue::from_str("10.0.0.7").ok(),
            user_agent: HeaderValue::from_str("x\" 200 \\ \"y").ok(),
            subject: Some(Subject::new("a b\"\n")),
            outcome: RequestOutcome::Refused,
            reason: Some("token_expired"),
            cause: Some("a\u{1b}[2J\nb".to_owned()),
            status: 401,
            bytes_out: 12,
            duration: Duration::from_micros(1_250),
            ..AccessRecord::default()
        }
    }

    fn written(form: AccessFormat) -> String {
        let mut line = Vec::new();
        write(&hostile(), form, Timestamp::from_millis(1_796_117_400_250), &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn every_form_is_one_line_without_a_query_or_a_control() {
        for form in
            [AccessFormat::Json, AccessFormat::Logfmt, AccessFormat::Combined, AccessFormat::Pretty]
        {
            let line = written(form);

            assert_eq!(line.chars().filter(|character| character.is_control()).count(), 1);
            assert!(line.ends_with('\n') && !line.contains("secret"), "{line}");
        }
    }

    #[test]
    fn the_combined_form_is_what_web_servers_write() {
        assert_eq!(
            written(AccessFormat::Combined),
            "10.0.0.7 - a\\x20b\\x22\\x0A [01/Dec/2026:09:30:00 +0000] \"G|T /a\\x22b%0ac HTTP/2.0\" 401 12 \
             \"-\" \"x\\x22 200 \\x5C \\x22y\"\n"
        );
    }

    #[test]
    fn logfmt_has_the_fields_of_json() {
        let line = written(AccessFormat::Logfmt);

        assert!(
            line.starts_with("timestamp=\"2026-12-01T09:30:00.250Z\" request_id=\"\" "),
            "{line}"
        );
        for part in [
            " url.path=\"/a\\\"b%0ac\" ",
            " http.response.status_code=401 ",
            " duration_ms=1.250 ",
            " cause=\"a\\u001b[2J\\nb\" ",
            " bytes_out=12\n",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }

    #[test]
    fn people_read_what_became_of_it() {
        assert_eq!(
            written(AccessFormat::Pretty),
            "2026-12-01T09:30:00.250Z 401 G|T /a\\\"b%0ac 1.250 ms from 10.0.0.7 user a b\\\"\\n \
             token_expired: a\\u001b[2J\\nb\n"
        );
    }
}
