//! `[mail]`: how one-time codes are sent to users.
//!
//! The reader refuses to send codes without TLS over a network, unless the operator allows it, and
//! a text that contains no code. Messages are sent by `login`; nothing is sent or connected while
//! the configuration is checked.

use std::time::Duration;

use super::item::SpannedValue;
use super::path::is_host_name;
use super::reader::TableReader;
use super::warnings::WarningName;
use crate::features;
use crate::settings::path::is_loopback;
use crate::settings::{MailSettings, MailTls};

const SUBJECT: &str = "Your login code";
const TEXT: &str = "Hello $user.name,\n\nyour login code is $code. It holds for $minutes minutes and \
                    can be used once.\n\nIf you did not try to log in, somebody knows your password: \
                    change it.\n";
/// Long enough for slow mail, short enough to be of little use to somebody who reads the mailbox
/// later.
const CODE_TTL: Duration = Duration::from_secs(10 * 60);
/// The client waits for the server's acceptance.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A flood of logins must not become a flood of mail to one person.
const PER_HOUR: u64 = 5;
const PLACEHOLDERS: &[&str] = &["code", "user.name", "minutes"];

impl MailSettings {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        if let Some(left_out) = features::left_out("mail") {
            table.issue("", left_out.to_string());
        }
        let server = table.required("server", "for example \"smtp.example:587\"");
        let forms =
            [("starttls", MailTls::Starttls), ("tls", MailTls::Tls), ("none", MailTls::None)];
        table.default_is("tls", "starttls");
        let tls_item = table.get("tls");
        let tls =
            tls_item.as_ref().and_then(|item| item.choice(&forms)).unwrap_or(MailTls::Starttls);
        let (host, port) =
            server.as_ref().and_then(|item| read_server(item, tls)).unwrap_or_default();
        let allow_plain = table.bool_or("allow_plain", false);
        if let Some(item) = tls_item.filter(|_| tls == MailTls::None && !is_loopback(&host)) {
            match allow_plain {
                true => item.warn(WarningName::PlainMail, "sends codes in the clear"),
                false => item.issue(
                    "sends codes in the clear: only to loopback, or with allow_plain = true",
                ),
            }
        }
        // The sender's address is checked here because a server would refuse the mail of every
        // login otherwise.
        let from = table.required("from", "the sender, for example \"login@example.com\"");
        let from = from.as_ref().and_then(read_address).unwrap_or_default();
        let username = table.get("username");
        let password = table.get("password");
        if username.is_some() != password.is_some() {
            table.issue("", "needs both username and password, or neither");
        }
        Self {
            host,
            port,
            tls,
            from,
            username: username.as_ref().and_then(SpannedValue::plain_name),
            password: password.and_then(|item| item.secret()),
            ca: table.get("ca").and_then(|item| item.read_certificates()).map(|(_, pem)| pem),
            subject: read_template(&mut table, "subject", SUBJECT),
            text: read_text(&mut table),
            code_ttl: table.duration_or("code_ttl", CODE_TTL, minutes(1)..=minutes(60)),
            timeout: table.duration_or("timeout", TIMEOUT, Duration::from_secs(1)..=minutes(1)),
            // Invariant: the value is within the range, so it fits.
            per_hour: u32::try_from(table.number_or("per_hour", PER_HOUR, 1..=1000)).unwrap_or(1),
        }
    }
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// Reads `host:port`. The port may be left out, because each form of TLS has its own (RFC 8314,
/// section 3.3). IPv6 addresses are written in brackets. `None` after a problem was reported. The
/// default port is that of the form of TLS.
fn read_server(item: &SpannedValue<'_>, tls: MailTls) -> Option<(String, u16)> {
    let text = item.string()?;
    let default = match tls {
        MailTls::Starttls => 587,
        MailTls::Tls => 465,
        MailTls::None => 25,
    };
    let (host, port) = match text.rsplit_once(':') {
        // A colon inside the host means an IPv6 address, which needs brackets before a port.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok().filter(|port| *port != 0))
        }
        _ => (text, Some(default)),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_host = bare.parse::<std::net::IpAddr>().is_ok() || is_host_name(bare);
    match port.filter(|_| is_host) {
        Some(port) => Some((bare.to_owned(), port)),
        None => {
            item.issue("must be a host and a port, for example \"smtp.example:587\"");
            None
        }
    }
}

/// Reads `name@host` or `Name <name@host>`. This is a first check; the mail library parses it in
/// full. It catches a forgotten `@` at the start of the gateway instead of at the first login. The
/// host must be a host name.
fn read_address(item: &SpannedValue<'_>) -> Option<String> {
    let text = item.plain_name()?;
    let address =
        text.split_once('<').map_or(text.as_str(), |(_, rest)| rest.trim_end_matches('>'));
    let is_address = address.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && is_host_name(host) && !address.contains(' ')
    });
    if !is_address {
        item.issue("must be an address, for example \"Gateway <login@example.com>\"");
    }
    Some(text)
}

/// Reads a text with placeholders. An unknown one is reported here, because it would otherwise be
/// sent to users as it is. The subject must be one line, because a header field ends with its line.
/// `key` is the key that the text is read from.
fn read_template(table: &mut TableReader<'_>, key: &'static str, default: &str) -> String {
    table.default_is(key, default);
    let Some(item) = table.get(key) else { return default.to_owned() };
    let text = item.string().unwrap_or_default();
    // A line break in the subject could add header fields to the mail (header injection).
    if key == "subject" && text.chars().any(char::is_control) {
        item.issue("must be one line");
    }
    // The same letters as when the text is filled in. A dot at the end belongs to the sentence
    // around the placeholder.
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    for rest in text.split('$').skip(1) {
        let name = rest.get(..rest.bytes().take_while(|byte| is_name(*byte)).count());
        let name = name.unwrap_or_default().trim_end_matches('.');
        if !PLACEHOLDERS.contains(&name) {
            let known = PLACEHOLDERS.join(", $");
            item.issue(format!("has an unknown placeholder `${name}`; there are ${known}"));
        }
    }
    text.to_owned()
}

fn read_text(table: &mut TableReader<'_>) -> String {
    let text = read_template(table, "text", TEXT);
    if !text.contains("$code") {
        table.issue("text", "must have $code in it");
    }
    text
}
