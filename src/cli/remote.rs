//! Commands that the running gateway carries out, sent through `admin.sock` in its state folder.
//!
//! This file builds the requests and prints the answers. The gateway decides what is done and
//! audits it; whether this user may send commands is decided by the permissions of the socket.

use std::path::Path;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::confirm::confirm;
use super::format_args::FormatArgs;
use super::{CommandError, say};
use crate::admin;

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// Live sessions, oldest first.
    List {
        /// Only of this user (name or id).
        #[arg(long)]
        user: Option<String>,
        /// Of the user of this source, where several know the name.
        #[arg(long, requires = "user")]
        source: Option<String>,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// End sessions: one, one user's, or all.
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    target: RevokeTarget,
    /// Of the user of this source, where several know the name.
    #[arg(long, requires = "user", conflicts_with_all = ["all", "id"])]
    source: Option<String>,
    /// Do not ask before all are ended.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct RevokeTarget {
    /// The session's id.
    id: Option<String>,
    /// Every session of this user (name or id), and every token that another issuer has given them
    /// before now.
    #[arg(long)]
    user: Option<String>,
    /// Every session there is.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum LimitsCommand {
    /// Forget the failed attempts of an account.
    Lift {
        name: String,
        #[command(flatten)]
        format: FormatArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct ImportedArgs {
    #[command(flatten)]
    format: FormatArgs,
}

/// Carries out a `session` command. Names and ids are encoded into the path, since they may contain
/// any character.
pub(super) fn session(command: SessionCommand, state: &Path) -> Result<(), CommandError> {
    match command {
        SessionCommand::List { user, source, format } => {
            let path = path("/sessions", &user, &source);
            let answer = call(state, Method::GET, &path, None)?;
            for session in list(&answer, "sessions") {
                if format.is_json() {
                    say(session)?;
                } else {
                    let text = |name: &str| text(session, name);
                    say(format_args!(
                        "{}  {}  {}  since {}  until {}  {}",
                        text("id"),
                        text("username"),
                        text("login"),
                        text("created"),
                        text("expires"),
                        text("address"),
                    ))?;
                }
            }
            Ok(())
        }
        SessionCommand::Revoke(RevokeArgs { target: args, source, yes, format }) => {
            // Only ending all sessions is asked about: it cannot be undone and concerns everybody.
            // A session or a user that was named by mistake just logs in again. A script says
            // `--yes`.
            if args.all {
                confirm("end every session there is", yes)?;
            }
            let target = match (&args.id, args.all) {
                (Some(id), _) => format!("/sessions/{}", encoded(id)),
                (None, true) => "/sessions?all=true".to_owned(),
                (None, false) => path("/sessions", &args.user, &source),
            };
            let answer = call(state, Method::DELETE, &target, None)?;
            let ended = answer.get("ended").and_then(Value::as_u64).unwrap_or_default();
            // A mistyped id must not look like a session that was ended.
            if let (Some(id), 0) = (&args.id, ended) {
                return Err(anyhow!("no live session has the id {id}").into());
            }
            if format.is_json() {
                return Ok(say(&answer)?);
            }
            let sessions = if ended == 1 { "session" } else { "sessions" };
            say(format_args!("{ended} {sessions} ended"))?;
            if answer.get("tokens_refused") == Some(&Value::Bool(true)) {
                say("tokens that other issuers gave this user before now are refused")?;
            }
            Ok(())
        }
    }
}

/// Shows how far the import of users has come, for one source or for all that import. Numbers that
/// a source cannot tell are shown as `unknown`. Sources that do not import are left out.
pub(super) fn imported(
    args: &ImportedArgs,
    source: Option<&str>,
    state: &Path,
) -> Result<(), CommandError> {
    let answer = call(state, Method::GET, "/users/imported", None)?;
    let sources = list(&answer, "sources");
    let sources = sources.filter(|one| source.is_none_or(|source| text(one, "source") == source));
    let sources: Vec<&Value> = sources.collect();
    if sources.is_empty() {
        return Err(anyhow!("no [[users]] section that is meant has import = true").into());
    }
    for one in sources {
        if args.format.is_json() {
            say(one)?;
            continue;
        }
        let number = |name: &str| one.get(name).and_then(Value::as_u64);
        let imported = number("imported").unwrap_or_default();
        let left = number("left").map_or("unknown".to_owned(), |left| left.to_string());
        let seen = number("known").unwrap_or_default();
        say(format_args!(
            "{}  {imported} imported  {left} left  {seen} seen  since {}  latest {}",
            text(one, "source"),
            text(one, "first"),
            text(one, "latest"),
        ))?;
    }
    Ok(())
}

/// Carries out a `limits` command. The gateway refuses an unknown name, so that a mistyped one does
/// not look like a success. The limits of addresses stay.
pub(super) fn limits(command: LimitsCommand, state: &Path) -> Result<(), CommandError> {
    let LimitsCommand::Lift { name, format } = command;
    let answer = call(state, Method::POST, "/limits/lift", Some(json!({ "name": name })))?;
    // A gateway of an earlier version does not say whether there were any attempts.
    let lifted = answer.get("lifted").and_then(Value::as_bool).unwrap_or(true);
    if format.is_json() {
        return Ok(say(json!({ "name": name, "lifted": lifted }))?);
    }
    let said = if lifted { "the failed attempts are forgotten" } else { "no failed attempts" };
    Ok(say(format_args!("{name}: {said}"))?)
}

/// Makes the running gateway read its configuration again, and prints the keys that wait for a
/// restart and the parts that the system refused. The error is the gateway's, with every problem of
/// the configuration. The old configuration stays in effect if it fails.
pub(super) fn reload(state: &Path) -> Result<(), CommandError> {
    let answer = call(state, Method::POST, "/reload", None)?;
    say("reloaded")?;
    let waiting = strings(&answer, "waiting_for_restart");
    if !waiting.is_empty() {
        say(format!("changed, which needs a restart: {}", waiting.join(", ")))?;
    }
    for part in strings(&answer, "not_in_effect") {
        say(format!("not in effect: {part}; the next reload tries it again"))?;
    }
    Ok(())
}

/// The texts of a list in an answer.
fn strings<'a>(answer: &'a Value, member: &str) -> Vec<&'a str> {
    let list = answer.get(member).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Sends one request to the running gateway, and returns the JSON of the answer. An error status
/// becomes an error with the gateway's sentence. The call blocks until the answer is there, for at
/// most half a minute.
pub(super) fn call(
    state: &Path,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<Value> {
    let socket = state.join(admin::SOCKET);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, answer) = runtime
        .block_on(admin::client::call(&socket, method, path, body))
        .map_err(|error| unanswered(&socket, error))?;
    if !status.is_success() {
        bail!("{}", text(&answer, "error"));
    }
    Ok(answer)
}

/// The error of a gateway that cannot be asked, with what to do about it. A missing socket, and one
/// that this user may not use, have different remedies. Any other error is printed with its cause.
fn unanswered(socket: &Path, error: admin::client::CallError) -> anyhow::Error {
    use std::io::ErrorKind;

    use admin::client::CallError;

    let socket = socket.display();
    match error {
        CallError::Connect(source) => match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => anyhow!(
                "no gateway answers on {socket}: start it, or say where it runs with --state or \
                 --config"
            ),
            ErrorKind::PermissionDenied => anyhow!(
                "no gateway answers on {socket} to this user: run the command as the user that \
                 the gateway runs as, as root, or as a member of the group that [admin] socket \
                 names"
            ),
            _ => anyhow::Error::new(source).context(format!("no gateway answers on {socket}")),
        },
        error => anyhow::Error::new(error).context(format!("no gateway answers on {socket}")),
    }
}

/// The list `name` of an answer; empty if there is none.
pub(super) fn list<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    answer.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// The text `name` of an answer; `-` if there is none. An older gateway may not have it.
pub(super) fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer.get(name).and_then(Value::as_str).unwrap_or("-")
}

fn path(path: &str, user: &Option<String>, source: &Option<String>) -> String {
    match (user, source) {
        (Some(user), Some(source)) => {
            format!("{path}?user={}&source={}", encoded(user), encoded(source))
        }
        (Some(user), None) => format!("{path}?user={}", encoded(user)),
        (None, _) => path.to_owned(),
    }
}

/// The path of the element `id` below `path`. The id is encoded, since it may contain any
/// character.
pub(super) fn below(path: &str, id: &str) -> String {
    format!("{path}/{}", encoded(id))
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
