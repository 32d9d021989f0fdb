//! `tollhouse status` and `tollhouse healthcheck`: the running gateway on one screen, or as one
//! exit status.
//!
//! Both ask the admin socket for the same facts. Programs should use `--json`, because the screen
//! may change.

use std::path::Path;

use anyhow::anyhow;
use clap::Args;
use http::Method;
use serde_json::Value;

use super::format_args::FormatArgs;
use super::remote::{call, list, text};
use super::{CommandError, say};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    format: FormatArgs,
}

/// Shows the facts that the running gateway reports about itself.
pub(super) fn status(args: &StatusArgs, state: &Path) -> Result<(), CommandError> {
    let answer = call(state, Method::GET, "/status", None)?;
    if args.format.is_json() {
        return Ok(say(&answer)?);
    }
    let is = |name: &str| answer.get(name).and_then(Value::as_bool).unwrap_or_default();
    let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    // A gateway that drains is not ready either, so draining is looked at first.
    let condition = match (is("draining"), is("ready")) {
        (true, _) => "draining",
        (false, true) => "ready",
        (false, false) => "not ready",
    };
    say(format_args!("tollhouse {}  {condition}", text(&answer, "version")))?;
    say(format_args!("configuration  {}", text(&answer, "config")))?;
    say(format_args!("store          {}", if is("store_up") { "up" } else { "down" }))?;
    if let Some(shared) = answer.get("shared_store").filter(|shared| !shared.is_null()) {
        shared_store(shared)?;
    }
    say(format_args!("connections    {}, streams {}", number("connections"), number("streams")))?;
    for listener in list(&answer, "listeners").filter_map(Value::as_str) {
        say(format_args!("listener       {listener}"))?;
    }
    for users in list(&answer, "users").filter_map(Value::as_str) {
        say(format_args!("users          {users}"))?;
    }
    for one in list(&answer, "issuers") {
        say(format_args!(
            "issuer         {}  latest answer {}",
            text(one, "name"),
            text(one, "latest")
        ))?;
    }
    for one in list(&answer, "upstreams") {
        let upstream = text(one, "upstream");
        let server = text(one, "server");
        say(format_args!("upstream       {upstream}  {server}  {}", text(one, "state")))?;
    }
    for one in list(&answer, "certificates") {
        say(format_args!("certificate    {}  until {}", text(one, "file"), text(one, "ends")))?;
    }
    for (kind, name) in [("failed         ", "failed"), ("note           ", "notes")] {
        for line in list(&answer, name).filter_map(Value::as_str) {
            say(format_args!("{kind}{line}"))?;
        }
    }
    Ok(())
}

/// The lines about a store that several gateways share.
fn shared_store(shared: &Value) -> Result<(), CommandError> {
    let as_of = text(shared, "revocations_as_of");
    match shared.get("degraded_since").and_then(Value::as_str) {
        Some(since) => say(format_args!(
            "store          degraded since {since}, revocations as of {as_of}: {}",
            text(shared, "cause")
        ))?,
        None => say(format_args!("store          revocations as of {as_of}"))?,
    }
    for node in list(shared, "nodes") {
        say(format_args!(
            "node           {}  version {}  configuration {}",
            text(node, "name"),
            text(node, "version"),
            text(node, "configuration")
        ))?;
    }
    Ok(())
}

/// Succeeds if requests may be sent to the running gateway. For the health check of a container.
/// The failed checks are printed, so that the log of the container shows the reason. An error
/// status also means that no gateway answers.
pub(super) fn healthcheck(state: &Path) -> Result<(), CommandError> {
    let answer = call(state, Method::GET, "/status", None)?;
    if answer.get("ready").and_then(Value::as_bool) == Some(true) {
        return Ok(say("ready")?);
    }
    let failed: Vec<&str> = list(&answer, "failed").filter_map(Value::as_str).collect();
    Err(anyhow!("not ready: {}", failed.join("; ")).into())
}
