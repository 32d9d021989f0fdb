//! `tollhouse api-key`: keys with which programs call.
//!
//! A key is made without the gateway, which only ever knows the hash of it. Revoking a key is done,
//! and remembered, by the running gateway. The secret of a key is printed once and stored nowhere.

use anyhow::{bail, ensure};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use toml::Table;

use super::confirm::confirm;
use super::format_args::FormatArgs;
use super::place::GatewayPlace;
use super::{CommandError, load, remote, say};
use crate::authn::new_key;
use crate::clock::{day_ended, end_of_day};
use crate::config::is_plain_name;
use crate::settings::ApiKey;

#[derive(Debug, Subcommand)]
pub(super) enum ApiKeyCommand {
    /// Make a key and print it, with the section of gateway.toml that lets it in.
    New(NewArgs),
    /// The keys in effect, and which are revoked; those of gateway.toml where no gateway runs.
    List {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Have the running gateway refuse a key from now on.
    Revoke {
        /// The key's id.
        id: String,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// What the key is called: letters, digits, `-`, `_` and `.`.
    id: String,
    /// A role that it grants; may be given several times.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A scope that it grants; may be given several times.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// The last day (UTC) on which it is taken, written 2027-03-31.
    #[arg(long, value_name = "DAY")]
    expires: Option<String>,
    /// Where it may be used from; may be given several times.
    #[arg(long = "network", value_name = "NET")]
    networks: Vec<String>,
}

/// Carries out an `api-key` command.
pub(super) fn run(command: ApiKeyCommand, place: &GatewayPlace) -> Result<(), CommandError> {
    match command {
        ApiKeyCommand::New(args) => Ok(new(args)?),
        ApiKeyCommand::List { format } => list(place, format.is_json()),
        ApiKeyCommand::Revoke { id, yes } => {
            // The folder is looked up before the question: a mistake in `--state` should not appear
            // only after somebody has confirmed.
            let state = place.state_dir()?;
            confirm(&format!("revoke the API key {id}"), yes)?;
            remote::call(&state, Method::DELETE, &remote::below("/api-keys", &id), None)?;
            let file = place.config.display();
            Ok(say(format_args!(
                "{id} is refused from now on; remove its [[api_key]] from {file}"
            ))?)
        }
    }
}

/// Makes a key and prints it, together with the section for the configuration. The arguments are
/// checked by the same rules as the configuration, so that the section can be pasted as it is.
/// Nothing is written: the operator adds the section and reloads.
fn new(args: NewArgs) -> anyhow::Result<()> {
    let id = args.id;
    ensure!(is_plain_name(&id), "`{id}` is no id: letters, digits, `-`, `_` and `.`, at most 64");
    if let Some(day) = &args.expires {
        ensure!(end_of_day(day).is_some(), "`{day}` is no day: write it as 2027-03-31");
    }
    for network in &args.networks {
        // An address without a length is accepted as well; bits beyond the length are an error, as
        // in the configuration.
        let is_network = network.parse::<ipnet::IpNet>().is_ok_and(|net| net == net.trunc());
        if !is_network && network.parse::<std::net::IpAddr>().is_err() {
            bail!("`{network}` is no network: write it as 10.0.0.0/8");
        }
    }
    let (key, hash) = new_key(&id);
    let mut section = Table::new();
    section.insert("id".to_owned(), id.into());
    section.insert("hash".to_owned(), hash.hex().into());
    let lists = [("roles", args.roles), ("scopes", args.scopes), ("networks", args.networks)];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        section.insert(name.to_owned(), list.into());
    }
    section.extend(args.expires.map(|day| ("expires".to_owned(), day.into())));
    let written = toml::to_string(&section)?;
    say(format_args!(
        "{}\n\n# The key is shown this once. What lets it in, for gateway.toml:\n\n[[api_key]]\n{}",
        key.expose(),
        written.trim_end(),
    ))?;
    Ok(())
}

/// Prints the keys in effect. Only the running gateway knows which of them are revoked, and its
/// folder is enough to ask it. Without a running gateway the whole configuration has to be read.
/// That may fail where the status of the gateway would not.
fn list(place: &GatewayPlace, as_json: bool) -> Result<(), CommandError> {
    // A gateway that does not answer is no error here: the keys of the file are still worth
    // showing. The line on standard error says what is missing. Revocations are kept by the gateway
    // alone, so none is shown then.
    let answered = remote::call(&place.state_dir()?, Method::GET, "/api-keys", None);
    let keys: Vec<Value> = match &answered {
        Ok(answer) => remote::list(answer, "keys").cloned().collect(),
        Err(error) => {
            eprintln!("tollhouse: which are revoked is not known: {error:#}");
            load(&place.config)?.config.api_keys.keys.iter().map(facts).collect()
        }
    };
    for key in &keys {
        if as_json {
            say(key)?;
            continue;
        }
        let names = |name: &str| {
            let names: Vec<&str> = remote::list(key, name).filter_map(Value::as_str).collect();
            if names.is_empty() { "-".to_owned() } else { names.join(",") }
        };
        let is_revoked = key.get("revoked").and_then(Value::as_bool) == Some(true);
        say(format_args!(
            "{}  {}  roles {}  scopes {}  until {}{}",
            remote::text(key, "id"),
            remote::text(key, "name"),
            names("roles"),
            names("scopes"),
            remote::text(key, "expires"),
            if is_revoked { "  revoked" } else { "" },
        ))?;
    }
    Ok(())
}

/// A key of the configuration, in the form in which the running gateway reports one. It has no note
/// about a revocation, which the file does not know. Both are then printed by the same code.
fn facts(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "roles": key.roles,
        "scopes": key.scopes,
        "expires": key.expires.map(day_ended),
    })
}
