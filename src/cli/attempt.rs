//! `tollhouse dialect try`: a login to a legacy system, done by hand and shown step by step.
//!
//! It shows the request, the answer and how the answer is understood, so that a delegated login can
//! be tried before it is configured. No password, code, token or key is printed.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use http::Uri;
use http::header::AUTHORIZATION;
use serde_json::Value;

use super::hash::read_known;
use super::{say, terminal};
use crate::clock::Clock;
use crate::dialect::client::{
    self, ClientRequest, LONGEST_ANSWER, LoginOutcome, ReceivedAnswer, ResponseValues,
};
use crate::dialect::{Dialect, Reason};
use crate::format;
use crate::outbound::{OutboundClient, OutboundOptions, OutboundResponse};
use crate::secret::SecretString;
use crate::settings::HttpUsers;

#[derive(Debug, Args)]
pub(super) struct TryArgs {
    /// The dialect.
    pub(super) name: String,
    /// Where the system is; the dialect's paths come after it.
    url: String,
    /// Who logs in; asked for where it is not said.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Believe this CA in place of the public ones.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Send the password in the clear over a network.
    #[arg(long)]
    allow_http: bool,
}

/// Upper bound in bytes of a name that is typed.
const LONGEST_NAME: u64 = 4096;

/// Printed in the place of a secret.
const HIDDEN: &str = "***";

/// Logs in. The error says why that did not succeed. A second step that was asked for and could not
/// be done is no error: the password was right. Nothing is stored, and no gateway has to run.
pub(super) fn run(args: &TryArgs, dialect: &Dialect) -> anyhow::Result<()> {
    let url = HttpUsers::parse_url(&args.url)
        .context("the address must be http:// or https://, without user, query and fragment")?;
    // The same rule as in the configuration. A trial must not send a password over a network
    // unprotected, only because it is a trial.
    if HttpUsers::is_in_the_clear(&url) && !args.allow_http {
        bail!("the password would be sent in the clear: write https://, or --allow-http");
    }
    let ca = args.ca.as_deref().map(std::fs::read_to_string).transpose();
    let ca = ca.context("the CA could not be read")?;
    let outbound = OutboundClient::new(&OutboundOptions {
        ca,
        largest: LONGEST_ANSWER,
        ..Default::default()
    })?;
    let user = match &args.user {
        Some(user) => user.clone(),
        None => read_name()?,
    };
    let password = read_known("Password: ")?;
    // The request is built twice: once with the password, to be sent, and once with a placeholder,
    // to be shown. The shown one can therefore contain no secret.
    let ask = client::login(dialect, &user, &password)?;
    let shown = client::login(dialect, &user, &HIDDEN.into())?;
    let trial = DialectTrial { dialect, outbound, url };
    let outcome = trial.exchange(&ask, &shown, &user, &password)?;
    let outcome = match outcome {
        LoginOutcome::Pending(ticket) => trial.second(&user, ticket.as_ref())?,
        outcome => Some(outcome),
    };
    match outcome {
        // The password was right, and no code was available for the second step.
        None => Ok(()),
        Some(LoginOutcome::Accepted(facts)) => Ok(tell(&facts, dialect)?),
        Some(LoginOutcome::Pending(_)) => bail!("the system asks for yet another step"),
        Some(LoginOutcome::Refused(Reason::UnknownUser)) => {
            bail!("refused: the user is unknown there")
        }
        Some(LoginOutcome::Refused(reason)) => bail!("refused: {}", reason.title().to_lowercase()),
        Some(LoginOutcome::Throttled) => bail!("the system takes no more logins now"),
        Some(LoginOutcome::Unexpected(cause)) => bail!("not understood: {cause}"),
    }
}

/// A dialect, and one system that speaks it. The requests of both steps go through the same client,
/// with the same limits as in a running gateway. Redirects are not followed.
struct DialectTrial<'d> {
    dialect: &'d Dialect,
    outbound: OutboundClient,
    url: Uri,
}

impl DialectTrial<'_> {
    /// Sends `ask`. `shown` is the same request with placeholders for its secrets. Everything is
    /// printed as it happens, so that a hanging system is seen at once. Returns what the dialect
    /// makes of the answer.
    fn exchange(
        &self,
        ask: &ClientRequest<'_>,
        shown: &ClientRequest<'_>,
        user: &str,
        secret: &SecretString,
    ) -> anyhow::Result<LoginOutcome> {
        let request = ask.request(&self.url)?;
        let without_secrets = shown.request(&self.url)?;
        say(format_args!("{} {}", request.method(), without_secrets.uri()))?;
        for (name, value) in &shown.headers {
            let text = value.to_str().unwrap_or_default();
            let text = match text.strip_prefix("Basic ") {
                Some(_) if *name == AUTHORIZATION => format!("Basic of {user}:{HIDDEN}"),
                _ => text.to_owned(),
            };
            say(format_args!("  {name}: {text}"))?;
        }
        if !shown.body.is_empty() {
            say(format_args!("  {}", String::from_utf8_lossy(&shown.body)))?;
        }
        // A runtime for one request is enough, since nothing else runs in this process.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let clock = Clock::system();
        let begun = clock.now();
        let answer = runtime.block_on(self.outbound.send(request));
        let answer = answer.map_err(anyhow::Error::from)?;
        let took = clock.now().since(begun).as_millis();
        let length = answer.body.len();
        say(format_args!("{} after {took} ms, {length} bytes", answer.status))?;
        let received =
            ReceivedAnswer { status: answer.status, headers: &answer.headers, body: &answer.body };
        let outcome = client::parse_response(self.dialect, ask.endpoint, &received);
        if matches!(outcome, LoginOutcome::Unexpected(_)) {
            say(format_args!("  {}", excerpt(&answer, secret)))?;
        }
        Ok(outcome)
    }

    /// Does the second step, if the dialect has one and a code can be read. `None` if no code can
    /// be read. The ticket of the first step is sent with it, if the dialect has one.
    fn second(
        &self,
        user: &str,
        ticket: Option<&SecretString>,
    ) -> anyhow::Result<Option<LoginOutcome>> {
        say("the password is right, and a second step is asked for")?;
        let hidden = SecretString::from(HIDDEN);
        let shown = client::verify_code(self.dialect, user, &hidden, ticket.map(|_| &hidden));
        // A dialect without a second step cannot send a code, and in a script there may be no code
        // to read.
        let (Ok(shown), true) = (shown, has_more()?) else { return Ok(None) };
        let code = read_known("Code: ")?;
        let ask = client::verify_code(self.dialect, user, &code, ticket)?;
        self.exchange(&ask, &shown, user, &code).map(Some)
    }
}

/// True if anything more can be read from standard input.
fn has_more() -> io::Result<bool> {
    Ok(io::stdin().is_terminal() || !io::stdin().lock().fill_buf()?.is_empty())
}

fn read_name() -> anyhow::Result<String> {
    if !io::stdin().is_terminal() {
        bail!("nobody is named: say --user");
    }
    Ok(terminal::ask("User: ", LONGEST_NAME)?.unwrap_or_default())
}

/// Prints the facts that were understood. Values that give access are replaced by their length. The
/// names of the answer's members are listed, so that an operator sees which of them a `map` could
/// use.
fn tell(facts: &ResponseValues, dialect: &Dialect) -> io::Result<()> {
    say(format_args!("accepted, as dialect `{}` has it", dialect.name))?;
    let line = |name: &str, text: String| say(format_args!("  {name:<14} {text}"));
    let given = |name, secret: &Option<SecretString>| match secret {
        Some(secret) => line(name, format!("{HIDDEN} ({} characters)", secret.expose().len())),
        None => Ok(()),
    };
    given("access token", &facts.access_token)?;
    given("refresh token", &facts.refresh_token)?;
    given("key", &facts.key)?;
    let list = |list: &Option<Vec<String>>| list.as_ref().map(|list| list.join(", "));
    let claims = (!facts.claims.is_empty()).then(|| Value::Object(facts.claims.clone()));
    let members = facts.answer.as_object().map(|members| members.keys().cloned().collect());
    for (name, text) in [
        ("expires", facts.expires(Clock::system().now()).map(|expires| expires.to_string())),
        ("id", facts.id.clone()),
        ("name", facts.name.clone()),
        ("email", facts.email.clone()),
        ("roles", list(&facts.roles)),
        ("scopes", list(&facts.scopes)),
        ("claims", claims.map(|claims| claims.to_string())),
        ("answer has", list(&members)),
    ] {
        text.map_or(Ok(()), |text| line(name, text))?;
    }
    if facts.token.is_empty() {
        return Ok(());
    }
    say("claims of the access token, not verified:")?;
    say(format_args!("{:#}", Value::Object(facts.token.clone())))
}

/// The beginning of an answer that was not understood, on one line and without control characters,
/// so that it can do nothing to a terminal. A secret that the answer repeats is replaced as well.
fn excerpt(answer: &OutboundResponse, secret: &SecretString) -> String {
    const SHOWN: usize = 200;
    if answer.is_success()
        && let Ok(Value::Object(members)) = serde_json::from_slice(&answer.body)
    {
        // Values of members are left out, because one of them may give access after all.
        let names: Vec<String> = members.into_iter().map(|(name, _)| name).collect();
        return format!("members: {}", format::excerpt(&names.join(", "), SHOWN));
    }
    let text = String::from_utf8_lossy(&answer.body);
    // Some systems repeat in an error what they were sent.
    let text = text.replace(secret.expose().as_str(), HIDDEN);
    format::excerpt(&text, SHOWN)
}
