//! The dialects byte by byte: every file in tests/cases/golden is a conversation with a gateway.
//!
//! The form of the files is described in `tests/cases/golden/README.md`. `TOLLHOUSE_BLESS=1` writes
//! into them what the gateway answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use http::Method;
use tollhouse::admin::client;

use crate::harness::{Gateway, GatewayBuilder, Smtp, Tenant, Upstream, raw_exchange};

/// The conversations of one dialect, each with a gateway of its own.
async fn converse(dialect: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/golden").join(dialect);
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no conversations of {dialect}");
    for file in files {
        let script = std::fs::read_to_string(&file).unwrap();
        let told = Conversation::start(dialect, &script).await.run(&script).await;
        if std::env::var_os("TOLLHOUSE_BLESS").is_some() {
            std::fs::write(&file, told).unwrap();
        } else {
            assert_eq!(told, script, "{} (TOLLHOUSE_BLESS=1 rewrites it)", file.display());
        }
    }
}

struct Conversation {
    gateway: Gateway,
    upstream: Upstream,
    smtp: Smtp,
    tenant: Tenant,
    authenticator: Option<totp_rs::Totp>,
    mails: usize,
    kept: BTreeMap<String, String>,
    repeat: usize,
}

impl Conversation {
    async fn start(dialect: &str, script: &str) -> Self {
        let upstream = Upstream::start().await;
        let (smtp, tenant) = (Smtp::plain().await, Tenant::new());
        let mut builder: GatewayBuilder = Gateway::builder()
            .moving()
            .config(&format!(
                "[mail]\nserver = \"127.0.0.1:{}\"\ntls = \"none\"\nfrom = \"gateway@example.com\"",
                smtp.port
            ))
            .login(dialect);
        for line in script.lines() {
            if let Some(text) = line.strip_prefix("@ config ") {
                builder = builder.config(text);
            }
            if let Some(keys) = line.strip_prefix("@ tenant ") {
                builder = builder.config(&tenant.issuer(keys));
            }
        }
        let keys = format!("errors = \"{dialect}\"\nrequire = {{ roles = [\"admin\"] }}");
        let gateway = builder.route(&upstream, "/protected", &keys).start().await;
        Self {
            gateway,
            upstream,
            smtp,
            tenant,
            authenticator: None,
            mails: 0,
            kept: BTreeMap::new(),
            repeat: 1,
        }
    }

    async fn run(mut self, script: &str) -> String {
        let mut told = String::new();
        let mut lines = script.lines().peekable();
        while let Some(line) = lines.next() {
            if line.starts_with('<') {
                // What was answered before is written anew below its request.
                continue;
            }
            let _ = writeln!(told, "{line}");
            if let Some(directive) = line.strip_prefix("@ ") {
                self.obey(directive).await;
            }
            if line.starts_with('>') && !lines.peek().is_some_and(|next| next.starts_with('>')) {
                let expected: Vec<_> = {
                    let rest = lines.clone();
                    rest.take_while(|line| line.starts_with('<')).collect()
                };
                let request = request_above(&told);
                let answer = self.exchange(&request).await;
                for line in self.match_or_write(&answer, &expected) {
                    let _ = writeln!(told, "{line}");
                }
            }
        }
        told
    }

    async fn obey(&mut self, directive: &str) {
        let words: Vec<_> = directive.split(' ').collect();
        match words.as_slice() {
            ["config" | "tenant", ..] => {}
            ["token", name, changes @ ..] => {
                let changes = serde_json::from_str(&changes.join(" ")).unwrap();
                self.kept.insert((*name).to_owned(), self.tenant.token(changes));
            }
            ["advance", amount] => self.gateway.advance(duration(amount)),
            ["keep", name, "as", other] => {
                let value = self.kept[*name].clone();
                self.kept.insert((*other).to_owned(), value);
            }
            ["send", count, "times"] => self.repeat = count.parse().unwrap(),
            ["mail"] => {
                self.mails += 1;
                self.kept.insert("code".to_owned(), self.smtp.code(self.mails));
            }
            ["authenticator", name] => {
                let asked = serde_json::json!({ "user": name });
                let socket = self.gateway.running().admin_socket();
                let answer = client::call(socket, Method::POST, "/totp", Some(asked)).await;
                let (_, answer) = answer.unwrap();
                let address = answer["uri"].as_str().unwrap();
                self.authenticator = Some(totp_rs::Totp::from_url(address).unwrap());
            }
            ["read"] => {
                let now = self.gateway.clock.as_ref().unwrap().now().secs();
                let code = self.authenticator.as_ref().unwrap().generate(now);
                self.kept.insert("code".to_owned(), code.to_string());
            }
            ["corrupt", name] => {
                let value = self.kept[*name].clone();
                let (head, signature) = value.rsplit_once('.').unwrap();
                let turned: String = signature.chars().rev().collect();
                self.kept.insert("corrupted".to_owned(), format!("{head}.{turned}"));
            }
            ["untouched"] => self.upstream.assert_untouched(),
            other => panic!("unknown directive {other:?}"),
        }
    }

    async fn exchange(&mut self, request: &str) -> String {
        let mut request = request.to_owned();
        for (name, value) in &self.kept {
            request = request.replace(&format!("{{{{{name}}}}}"), value);
        }
        let (head, body) = request.split_once("\n\n").unwrap_or((request.trim_end(), ""));
        let mut bytes = head.trim_end().replace('\n', "\r\n");
        let _ = write!(bytes, "\r\nConnection: close\r\n");
        if !body.is_empty() {
            let _ = write!(bytes, "Content-Length: {}\r\n", body.len());
        }
        let _ = write!(bytes, "\r\n{body}");
        let mut answer = String::new();
        for _ in 0..std::mem::replace(&mut self.repeat, 1) {
            answer = raw_exchange(&self.gateway.client(), bytes.as_bytes()).await;
        }
        readable(&answer)
    }

    /// The answer as golden lines: the expected ones where they match, else as it came.
    fn match_or_write(&mut self, answer: &str, expected: &[&str]) -> Vec<String> {
        let came: Vec<_> = answer.lines().map(|line| marked('<', line)).collect();
        let matches = came.len() == expected.len()
            && came.iter().zip(expected).all(|(came, expected)| self.matches(came, expected));
        if matches {
            return expected.iter().map(ToString::to_string).collect();
        }
        came.iter().map(|line| self.with_places(line)).collect()
    }

    fn matches(&mut self, came: &str, expected: &str) -> bool {
        let with_places = self.with_places(came);
        with_places == *expected
    }

    /// The line with tokens and ids replaced by places, which are kept by the member's name.
    fn with_places(&mut self, line: &str) -> String {
        let mut parts: Vec<String> = line.split('"').map(str::to_owned).collect();
        for at in 0..parts.len() {
            let kind = match parts[at].as_str() {
                part if is_jwt(part) => "jwt",
                part if uuid::Uuid::try_parse(part).is_ok() => "uuid",
                _ if at >= 2 && ["jti", "ticket"].contains(&parts[at - 2].as_str()) => "id",
                _ => continue,
            };
            let name = if at >= 2 { parts[at - 2].clone() } else { kind.to_owned() };
            self.kept.insert(name.clone(), parts[at].clone());
            parts[at] = format!("{{{{{name}={kind}}}}}");
        }
        parts.join("\"")
    }
}

fn marked(mark: char, line: &str) -> String {
    if line.is_empty() { mark.to_string() } else { format!("{mark} {line}") }
}

/// The request whose last line was just told.
fn request_above(told: &str) -> String {
    let lines: Vec<_> = told.lines().collect();
    let from = lines.iter().rposition(|line| !line.starts_with('>')).map_or(0, |at| at + 1);
    lines[from..]
        .iter()
        .map(|line| line[1..].trim_start_matches(' ').to_owned() + "\n")
        .collect::<String>()
        .trim_end_matches('\n')
        .to_owned()
}

/// Without the fields that differ each time, lines ended plainly.
fn readable(answer: &str) -> String {
    let varies = |line: &str| line.starts_with("date: ") || line.starts_with("x-request-id: ");
    let answer = answer.replace("\r\n", "\n");
    answer.lines().filter(|line| !varies(line)).fold(String::new(), |text, line| text + line + "\n")
}

fn is_jwt(text: &str) -> bool {
    let parts: Vec<_> = text.split('.').collect();
    parts.len() == 3
        && parts.iter().all(|part| {
            part.len() > 20 && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        })
}

fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse().unwrap();
    Duration::from_secs(match unit {
        "s" => number,
        "m" => number * 60,
        "h" => number * 3600,
        "d" => number * 86_400,
        other => panic!("unknown unit {other}"),
    })
}

macro_rules! dialects {
    ($($test:ident $dialect:literal;)*) => {
        $(#[tokio::test]
        async fn $test() {
            converse($dialect).await;
        })*
    };
}

dialects! {
    webitel_speaks_as_its_page_says "webitel";
    datarhei_speaks_as_its_page_says "datarhei";
    aviate_speaks_as_its_page_says "aviate";
    nomic_speaks_as_its_page_says "nomic";
    avenia_speaks_as_its_page_says "avenia";
    native_speaks_as_designed "native";
}
