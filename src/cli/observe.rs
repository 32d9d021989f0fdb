//! `tollhouse observe`: who would be refused if a rule were enforced?
//!
//! The running gateway has counted this for routes with `enforce = false`; this command only shows
//! it.

use std::path::Path;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::format_args::FormatArgs;
use super::remote::{call, list, text};
use super::{CommandError, say};

#[derive(Debug, Args)]
pub(super) struct ObserveArgs {
    #[command(flatten)]
    format: FormatArgs,
    /// Callers of each route that are shown.
    #[arg(long, default_value_t = 20)]
    top: usize,
    /// Forget what was observed so far, after telling it.
    #[arg(long)]
    forget: bool,
}

/// Shows what the running gateway has observed since its start. With `--top` the list of callers is
/// cut, and the rest is shown as a sum. `--json` prints everything that the gateway knows.
pub(super) fn observe(args: &ObserveArgs, state: &Path) -> Result<(), CommandError> {
    let answer = call(state, Method::GET, "/observed", None)?;
    if args.format.is_json() {
        say(&answer)?;
    } else {
        tell(&answer, args.top)?;
    }
    // The observations are forgotten only after they were shown: if showing fails, nothing is lost.
    if args.forget {
        call(state, Method::DELETE, "/observed", None)?;
    }
    Ok(())
}

fn tell(answer: &Value, top: usize) -> std::io::Result<()> {
    if list(answer, "routes").next().is_none() {
        return say("nothing observed: no route with enforce = false has been called");
    }
    for route in list(answer, "routes") {
        let permitted = count(route, "permitted");
        let refused = count(route, "refused");
        say(format_args!(
            "{}  would refuse {refused} of {}",
            text(route, "route"),
            permitted + refused
        ))?;
        let mut callers = list(route, "callers");
        for caller in callers.by_ref().take(top) {
            say(format_args!(
                "  {:>8}  {:<20}  {}  since {}, latest {}",
                count(caller, "count"),
                text(caller, "reason"),
                who(caller),
                text(caller, "first"),
                text(caller, "latest"),
            ))?;
        }
        let rest: u64 = callers.map(|caller| count(caller, "count")).sum();
        if rest > 0 {
            say(format_args!("  {rest:>8}  by others (--top shows more)"))?;
        }
    }
    Ok(())
}

fn count(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// The name and id of an authenticated caller, or the address of one who is not. Callers beyond the
/// gateway's bound are `others`.
fn who(caller: &Value) -> String {
    match (caller.get("username").and_then(Value::as_str), caller.get("address")) {
        (Some(name), _) => format!("{name} ({})", text(caller, "subject")),
        (None, Some(Value::String(address))) => format!("from {address}"),
        _ => "others".to_owned(),
    }
}
