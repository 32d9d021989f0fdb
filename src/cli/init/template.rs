//! The configuration that `tollhouse init` writes: a pure function of the answers.
//!
//! Values go into the file as TOML strings, escaped, and never into a comment. An answer can
//! therefore be nothing but the value of its key.

use std::fmt::Write as _;

use super::answers::{Answers, SecretPlace, TlsOrigin, UserOrigin};

/// The text of gateway.toml. Whether it is a configuration that works is for `check` to say.
pub(super) fn gateway_toml(answers: &Answers) -> String {
    let mut file = TomlText { text: HEAD.to_owned() };
    file.listener(answers);
    file.token(answers);
    if let Some(state) = &answers.state {
        file.section("[state]", "Signing keys, store and admin.sock: the gateway's alone.");
        file.set("dir", state);
    }
    file.users(answers);
    for dialect in &answers.dialects {
        file.login(dialect);
    }
    if let Some((server, from)) = &answers.mail {
        file.mail(server, from);
    }
    file.section("[[upstream]]", "The service behind the gateway.");
    file.set("name", "api");
    file.list("servers", std::slice::from_ref(&answers.upstream));
    file.routes(answers);
    file.text
}

const HEAD: &str = "\
# Tollhouse, written by `tollhouse init`. `tollhouse check` says what is wrong with a changed file.
# Everything that is not here has its default: see gateway.toml(5), `tollhouse man gateway.toml`, or
# the complete sample, `tollhouse init --sample --print`.
";

/// A TOML basic string (TOML 1.0, section String).
pub(super) fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            control if control.is_control() => {
                // Writing to a `String` cannot fail.
                let _ = write!(text, "\\u{:04X}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

/// The file as far as it is written.
struct TomlText {
    text: String,
}

impl TomlText {
    /// Begins a table, with a comment above it.
    fn section(&mut self, header: &str, comment: &str) {
        self.text.push('\n');
        for line in comment.lines() {
            let _ = writeln!(self.text, "# {line}");
        }
        self.line(header);
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn set(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.text, "{key} = {}", quoted(value));
    }

    fn list(&mut self, key: &str, values: &[String]) {
        let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        let _ = writeln!(self.text, "{key} = [{}]", values.join(", "));
    }

    fn secret(&mut self, key: &str, place: &SecretPlace) {
        let _ = match place {
            SecretPlace::Inline(value) => writeln!(self.text, "{key} = {}", quoted(value)),
            SecretPlace::Variable(name) => {
                writeln!(self.text, "{key} = {{ env = {} }}", quoted(name))
            }
            SecretPlace::File(path) => writeln!(self.text, "{key} = {{ file = {} }}", quoted(path)),
        };
    }

    fn listener(&mut self, answers: &Answers) {
        self.section("[[listener]]", "Where clients connect.");
        self.set("address", &answers.listen);
        match &answers.tls {
            TlsOrigin::SelfSigned => {
                self.section(
                    "[listener.tls]",
                    "For a try: made at the first start, and no client knows it. Then:\n\
                     certificates = [{ chain = \"fullchain.pem\", key = \"privkey.pem\" }]",
                );
                self.list("self_signed", &answers.names);
            }
            TlsOrigin::Files { chain, key } => {
                self.section("[listener.tls]", "Read again when the files change.");
                let pair = format!("{{ chain = {}, key = {} }}", quoted(chain), quoted(key));
                self.line(&format!("certificates = [{pair}]"));
            }
            TlsOrigin::Acme { email } => {
                self.line("# Ordered from Let's Encrypt, which has to reach this gateway on port 443 of each");
                self.line("# name, and renewed in time.");
                let email = email.as_deref().map(|email| format!(", email = {}", quoted(email)));
                let names: Vec<String> = answers.names.iter().map(|name| quoted(name)).collect();
                let names = names.join(", ");
                let email = email.unwrap_or_default();
                self.line(&format!("acme = {{ domains = [{names}]{email} }}"));
            }
            TlsOrigin::Proxy { peers } => {
                self.line("# TLS ends in front of this listener, at peers whose X-Forwarded-* is");
                self.line("# believed. Nobody else may reach it.");
                self.line("allow_plain_http = true");
                self.list("trusted_proxies", peers);
            }
        }
        self.text.push_str(PROBES);
    }

    fn token(&mut self, answers: &Answers) {
        self.section("[token]", "Our own tokens: who issues them, and for whom.");
        self.set("issuer", &issuer(answers));
        self.list("audience", &["api".to_owned()]);
    }

    fn users(&mut self, answers: &Answers) {
        self.section("[[users]]", users_comment(&answers.users));
        match &answers.users {
            UserOrigin::NewFile => {
                self.set("name", "local");
                self.set("kind", "file");
                let state = answers.state.as_deref().unwrap_or("state");
                self.set("path", &format!("{}/users.toml", state.trim_end_matches('/')));
                self.line("bootstrap = true");
            }
            UserOrigin::Htpasswd { path } => {
                self.set("name", "htpasswd");
                self.set("kind", "htpasswd");
                self.set("path", path);
            }
            UserOrigin::Sql { url, query } => {
                self.set("name", "database");
                self.set("kind", "sql");
                self.secret("url", url);
                self.set("query", query);
            }
            UserOrigin::Ldap { url, base, filter, bind } => {
                self.set("name", "directory");
                self.set("kind", "ldap");
                self.set("url", url);
                if let Some((dn, password)) = bind {
                    self.set("bind_dn", dn);
                    self.secret("bind_password", password);
                }
                self.set("base", base);
                self.set("filter", filter);
            }
            UserOrigin::Legacy { url, dialect, allow_http } => {
                self.set("name", "legacy");
                self.set("kind", "http");
                self.set("url", url);
                if *allow_http {
                    self.line("allow_http = true");
                }
                self.set("dialect", dialect);
                self.line("import = true");
            }
        }
    }

    fn login(&mut self, dialect: &str) {
        self.text.push_str("\n[[login]]\n");
        self.set("dialect", dialect);
        if dialect == "webitel" {
            self.line("# Its clients tell an unknown user (404) from a wrong password (401).");
            self.line("# `reveal_unknown_user = false` hides that.");
            self.line("accept = [\"reveal_unknown_user\"]");
        }
    }

    fn mail(&mut self, server: &str, from: &str) {
        self.section("[mail]", "One-time codes of a login's second step.");
        self.set("server", server);
        let (host, port) = server.rsplit_once(':').unwrap_or((server, ""));
        let host = host.trim_matches(['[', ']']);
        let is_here = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        // The default is STARTTLS; port 465 is TLS from the first byte (RFC 8314, section 3.3).
        match (is_here, port) {
            (true, _) => self.set("tls", "none"),
            (false, "465") => self.set("tls", "tls"),
            (false, _) => {}
        }
        self.set("from", from);
        self.line("# username = \"gateway\"");
        self.line("# password = { file = \"mail-password\" }");
    }

    /// A route for each dialect, at the paths that its clients know; the last takes everything. With
    /// one dialect everything is of it.
    fn routes(&mut self, answers: &Answers) {
        for dialect in &answers.dialects {
            let habits = habits(dialect);
            for path in habits.open {
                self.section("[[route]]", "Its clients call this without a credential.");
                self.set("path", path);
                self.route_body(dialect, "auth = []\n");
            }
            if let (Some(path), true) = (habits.path, answers.dialects.len() > 1) {
                self.section(
                    "[[route]]",
                    "Calls with a credential, refused in their dialect's form.",
                );
                self.set("path", path);
                self.route_body(dialect, habits.extra);
            }
        }
        self.section(
            "[[route]]",
            "Everything else needs a credential. `require = { roles = [\"admin\"] }` asks for more;\n\
             `enforce = false` only observes, and `tollhouse observe` tells what it saw.",
        );
        self.set("path", "/");
        let form = answers.dialects.first().map_or("native", String::as_str);
        let has_places = |name: &String| LOGIN_CALLS.contains(&name.as_str());
        let extra = match answers.dialects.as_slice() {
            [_] => habits(form).extra,
            dialects if dialects.iter().any(has_places) => TAKES_LOGINS,
            _ => "",
        };
        self.route_body(form, extra);
    }

    fn route_body(&mut self, dialect: &str, extra: &str) {
        self.set("upstream", "api");
        self.set("errors", dialect);
        if habits(dialect).has_cors {
            self.set("cors", dialect);
        }
        self.text.push_str(extra);
    }
}

const PROBES: &str = "
# /livez, /readyz and /metrics, for operators. `tollhouse status` needs none of it.
# [admin]
# address = \"127.0.0.1:9901\"
";

fn users_comment(users: &UserOrigin) -> &'static str {
    match users {
        UserOrigin::NewFile => {
            "Users of `tollhouse user add NAME`. The first start makes one, `admin`, with a random\n\
             password."
        }
        UserOrigin::Htpasswd { .. } => {
            "The users of a file made by htpasswd; `groups = \"htgroup\"` gives them roles."
        }
        UserOrigin::Sql { .. } => {
            "Users in a database, read by this query alone. [users.columns] says what the columns are\n\
             called, `email_query` lets users log in by address."
        }
        UserOrigin::Ldap { .. } => {
            "Users of a directory: searched for, and proved by a bind. [users.attributes] says which\n\
             attribute holds what, [users.groups] makes roles of groups. For Active Directory the id\n\
             is \"objectGUID\"."
        }
        UserOrigin::Legacy { .. } => {
            "The legacy login decides. A hash of each password that was right is kept: `tollhouse user\n\
             imported` counts them, and `import_final = true` lets them decide."
        }
    }
}

/// The `iss` of tokens: the URL at which clients know the gateway.
fn issuer(answers: &Answers) -> String {
    let name = answers.names.first().map_or("localhost", String::as_str);
    let host = match name.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => name.to_owned(),
    };
    let port = match &answers.tls {
        // The proxy in front of the gateway has a port of its own, nearly always that of https.
        TlsOrigin::Proxy { .. } => None,
        // A unix socket, or a socket of systemd, has no port in its name.
        _ => answers.listen.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()),
    };
    match port {
        None | Some(443) => format!("https://{host}"),
        Some(port) => format!("https://{host}:{port}"),
    }
}

/// The keys that routes of a dialect's clients need, as the complete sample has it.
struct DialectHabits {
    /// Where its clients call, besides the login. `None` if anywhere.
    path: Option<&'static str>,
    /// The paths that they call without a credential.
    open: &'static [&'static str],
    has_cors: bool,
    /// Further lines of the route.
    extra: &'static str,
}

/// Dialects whose calls carry the token in a place of their own.
const LOGIN_CALLS: &[&str] =
    &["django_token", "keystone", "proxmox", "qbittorrent", "redfish", "soap_login", "spring_form"];
const TAKES_LOGINS: &str = "# Calls carry the token where the dialects say.\nauth = [\"login\"]\n";

fn habits(dialect: &str) -> DialectHabits {
    let habits = |path, has_cors| DialectHabits { path, open: &[], has_cors, extra: "" };
    match dialect {
        "datarhei" => DialectHabits {
            open: &["=/ping", "/api/swagger/", "/api/v3/widget/process/"],
            ..habits(Some("/api/"), true)
        },
        "aviate" => DialectHabits {
            extra: "# One of its documented paths is metering//billingMeters/all.\n\
                    allow_path = [\"double_slash\"]\naccept = [\"allow_path\"]\n",
            ..habits(Some("/plugins/"), false)
        },
        "nomic" => habits(Some("/api/game/"), false),
        "avenia" => habits(Some("/v2/"), false),
        "webitel" => habits(Some("/api/v2/"), true),
        name if LOGIN_CALLS.contains(&name) => {
            DialectHabits { extra: TAKES_LOGINS, ..habits(None, false) }
        }
        _ => habits(None, false),
    }
}
