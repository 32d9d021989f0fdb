//! One story: examples that follow each other in one gateway.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request};
use serde_json::{Value, json};
use tempfile::TempDir;
use totp_rs::Totp;

use super::tested::TestedDialect;
use crate::cli::remote;
use crate::clock::{Clock, TestClock, Timestamp};
use crate::config;
use crate::dialect::example::{
    Example, ExampleAnswer, ExampleState, ExampleUser, ExampleValues, USER_CODE,
};
use crate::dialect::{Endpoint, SecondStep};
use crate::outbound::{OutboundClient, OutboundOptions};
use crate::passwords;
use crate::server::{self, RunningServer, ServerOptions};

/// When every story begins: 2026-01-01T00:00:00Z.
const START: Timestamp = Timestamp::from_secs(1_767_225_600);
/// How long the line of a request is waited for after its answer.
const LINE_WITHIN: Duration = Duration::from_secs(10);
/// The program that presents itself beside the user, where the dialect has one.
const PROGRAM: &str = "clients = [{ id = \"program\", secret = { file = \"program-secret\" } }]";
/// No mail is sent: the user has an authenticator app, if there is a second step.
const MAIL: &str =
    "[mail]\nserver = \"127.0.0.1:1\"\ntls = \"none\"\nfrom = \"login@gateway.example\"\n";
const PROGRAM_SECRET: &str = "program secret";

/// The result of an example.
pub(super) struct ExampleResult<'e> {
    pub(super) example: &'e Example,
    /// `None` if there was no answer.
    pub(super) status: Option<u16>,
    /// The code of the reason, if the gateway refused the request.
    pub(super) reason: Option<String>,
    /// The differences from the example, in words; none if it holds.
    pub(super) differences: Vec<String>,
}

/// A gateway, and what is known of it so far.
pub(super) struct ExampleStory {
    running: RunningServer,
    clock: TestClock,
    /// Where requests go: `http://127.0.0.1:PORT`.
    origin: String,
    client: OutboundClient,
    values: ExampleValues,
    authenticator: Option<Totp>,
    /// How many requests were sent.
    sent: usize,
    /// The folder of the gateway, which is removed at the end.
    _folder: TempDir,
}

impl ExampleStory {
    /// Starts a gateway and sends the requests of `examples` to it, in order. An example after one
    /// that failed is not run: values that it needs may be missing.
    pub(super) fn run<'e>(
        dialect: &TestedDialect,
        examples: &'e [Example],
    ) -> anyhow::Result<Vec<ExampleResult<'e>>> {
        let first = examples.first().context("a story has an example")?;
        let user = first.user.clone().unwrap_or_default();
        let mut story = Self::begin(dialect, first.state.unwrap_or_default(), &user)?;
        // A runtime for one request at a time is enough: the gateway has threads of its own.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut results: Vec<ExampleResult<'e>> = Vec::with_capacity(examples.len());
        for example in examples {
            let result = match results.last().is_some_and(|last| !last.differences.is_empty()) {
                true => ExampleResult {
                    example,
                    status: None,
                    reason: None,
                    differences: vec!["was not run, because one before it fails".to_owned()],
                },
                false => runtime.block_on(story.result(example)),
            };
            results.push(result);
        }
        Ok(results)
    }

    fn begin(
        dialect: &TestedDialect,
        state: ExampleState,
        user: &ExampleUser,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder can be made")?;
        let at = |name: &str| folder.path().join(name);
        let path = at("gateway.toml");
        std::fs::write(&path, configuration(dialect, state))?;
        std::fs::write(at("users.toml"), users_file(user)?)?;
        std::fs::write(at("program-secret"), PROGRAM_SECRET)?;
        if let Some(own) = &dialect.own {
            std::fs::write(at("dialect.toml"), own)?;
        }
        let loaded = config::load(&path, &|_| None).map_err(|issues| {
            anyhow!("no gateway can be made for dialect `{}`: {issues}", dialect.dialect.name)
        })?;
        let clock = TestClock::new(START);
        let options = ServerOptions {
            clock: Clock::test(clock.clone()),
            capture_logs: true,
            review_for: Some(Duration::ZERO),
            ..ServerOptions::default()
        };
        let running = server::start(loaded.config, options)?;
        let authenticator = match user.totp {
            true => Some(enroll(&at("state"), &user.name)?),
            false => None,
        };
        let address = running.addresses().first().copied().context("the gateway has an address")?;
        Ok(Self {
            running,
            clock,
            origin: format!("http://{address}"),
            client: OutboundClient::new(&OutboundOptions::default())?,
            values: ExampleValues::new(),
            authenticator,
            sent: 0,
            _folder: folder,
        })
    }

    /// Sends the request of an example as often as it says, and compares each answer.
    async fn result<'e>(&mut self, example: &'e Example) -> ExampleResult<'e> {
        self.clock.advance(example.after.unwrap_or_default());
        let mut result =
            ExampleResult { example, status: None, reason: None, differences: Vec::new() };
        for _ in 0..example.times {
            let answer = match self.send(example).await {
                Ok(answer) => answer,
                Err(error) => {
                    result.differences = vec![format!("{error:#}")];
                    break;
                }
            };
            result.status = Some(answer.status);
            result.reason = self.reason().await;
            if let Err(differences) = example.reply.compare(&answer, &mut self.values) {
                result.differences = differences;
                break;
            }
        }
        result
    }

    async fn send(&mut self, example: &Example) -> anyhow::Result<ExampleAnswer> {
        if let Some(authenticator) = &self.authenticator {
            let code = authenticator.generate(self.clock.now().secs()).to_string();
            self.values.insert(USER_CODE.to_owned(), code);
        }
        let filled = example.request.fill(&self.origin, &self.values);
        let mut request: Request<Bytes> = filled.map_err(|error| anyhow!(error))?;
        // Time passes between the examples, and a connection does not survive much of it.
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        self.sent += 1;
        let answer = self.client.send(request).await?;
        Ok(ExampleAnswer { status: answer.status, headers: answer.headers, body: answer.body })
    }

    /// The reason why the last request was refused, as its line in the access log has it.
    async fn reason(&self) -> Option<String> {
        let written = async {
            loop {
                let lines = self.running.access_lines();
                if lines.lines().count() >= self.sent {
                    return lines;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let lines = tokio::time::timeout(LINE_WITHIN, written).await.ok()?;
        let line: Value = serde_json::from_str(lines.lines().last()?).ok()?;
        line.get("reason").and_then(Value::as_str).map(str::to_owned)
    }
}

/// Gives the user an authenticator app, as `tollhouse user totp` does.
fn enroll(state: &Path, name: &str) -> anyhow::Result<Totp> {
    let body = json!({ "user": name, "source": null, "replace": false });
    let answer = remote::call(state, Method::POST, "/totp", Some(body))?;
    match Totp::from_url(remote::text(&answer, "uri")) {
        Ok(authenticator) => Ok(authenticator),
        Err(error) => bail!("the authenticator cannot be used: {error}"),
    }
}

/// The configuration of a story. Every path that the dialect does not serve goes to the sample
/// upstream, with the dialect's own credential; below `/forbidden/` nobody is permitted.
fn configuration(TestedDialect { dialect, own }: &TestedDialect, state: ExampleState) -> String {
    let name = &dialect.name;
    let own = own.as_ref().map(|_| "[[dialect]]\nfile = \"dialect.toml\"\n").unwrap_or_default();
    let any = |is: fn(&Endpoint) -> bool| dialect.endpoints.iter().any(is);
    let program = if any(|endpoint| endpoint.program.is_some()) { PROGRAM } else { "" };
    let mail = if any(|endpoint| endpoint.second_step == SecondStep::Mail) { MAIL } else { "" };
    let users = match state {
        // Nobody listens on this port.
        ExampleState::UsersDown => {
            "[[users]]\nname = \"staff\"\nkind = \"http\"\nurl = \"http://127.0.0.1:1\"\n\
             dialect = \"native\"\n"
        }
        ExampleState::New | ExampleState::UpstreamDown => {
            "[[users]]\nname = \"staff\"\nkind = \"file\"\npath = \"users.toml\"\n"
        }
    };
    let upstream = match state {
        ExampleState::UpstreamDown => "http://127.0.0.1:1",
        ExampleState::New | ExampleState::UsersDown => "builtin:echo",
    };
    format!(
        "[process]\nworkers = 1\nbackground_threads = 1\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n\
         [token]\nissuer = \"https://gateway.example\"\n\
         {mail}{users}{own}\
         [[login]]\ndialect = \"{name}\"\nurl = \"https://gateway.example\"\n{program}\n\
         [[upstream]]\nname = \"sample\"\nservers = [\"{upstream}\"]\n\
         [[route]]\npath = \"/\"\nupstream = \"sample\"\nauth = [\"login\"]\nerrors = \"{name}\"\n\
         [[route]]\npath = \"/forbidden/\"\nupstream = \"sample\"\nauth = [\"login\"]\n\
         errors = \"{name}\"\nrequire = {{ roles = [\"nobody\"] }}\n"
    )
}

fn users_file(user: &ExampleUser) -> anyhow::Result<String> {
    let hash = passwords::hash(&user.password)?;
    let user = json!({
        "id": "0192f0c1-0000-7000-8000-00000000000a",
        "name": user.name,
        "email": user.email,
        "password": hash.as_str(),
        "roles": user.roles,
        "scopes": user.scopes,
        "claims": user.claims,
        "disabled": user.disabled,
    });
    Ok(toml::to_string(&json!({ "user": [user] }))?)
}
