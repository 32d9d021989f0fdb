//! `tollhouse token`: look into a token, or have one made for a script.
//!
//! Inspecting needs no gateway and verifies nothing. A token is made by the running gateway, as a
//! session that can be listed and ended like any other, and this is audited.

use std::io::Read;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::place::GatewayPlace;
use super::{CommandError, remote, say};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Print header and claims of a token from standard input. Nothing is verified.
    Inspect,
    /// Have the running gateway make a session for a user, and print its access token.
    Mint(MintArgs),
}

#[derive(Debug, Args)]
pub(super) struct MintArgs {
    /// Whose token it is.
    user: String,
    /// The login in whose name it is made.
    #[arg(long)]
    login: String,
}

/// Carries out a `token` command.
pub(super) fn run(command: TokenCommand, place: &GatewayPlace) -> Result<(), CommandError> {
    match command {
        TokenCommand::Inspect => {
            let mut token = String::new();
            std::io::stdin().read_to_string(&mut token)?;
            let [header, claims] = inspect(token.trim())?;
            say(format_args!("{header:#}\n{claims:#}"))?;
        }
        TokenCommand::Mint(args) => {
            let body = json!({ "user": args.user, "login": args.login });
            let answer = remote::call(&place.state_dir()?, Method::POST, "/tokens", Some(body))?;
            say(remote::text(&answer, "access_token"))?;
        }
    }
    Ok(())
}

/// The header and the claims of a token, not verified: anybody can write a token with any claims.
/// The error says which part is no base64url or no JSON. The signature is not looked at.
fn inspect(token: &str) -> anyhow::Result<[Value; 2]> {
    let parts: Vec<&str> = token.split('.').collect();
    // A signed token in compact form has exactly three parts (RFC 7515, section 7.1). An encrypted
    // one has five, and cannot be read without its key. An opaque token has no such parts; only its
    // issuer can say what it means.
    let [header, claims, _signature] = parts.as_slice() else {
        bail!("a token has three parts with dots between them, this has {}", parts.len());
    };
    let part = |name: &str, text: &str| -> anyhow::Result<Value> {
        let bytes =
            URL_SAFE_NO_PAD.decode(text).with_context(|| format!("the {name} is not base64url"))?;
        serde_json::from_slice(&bytes).with_context(|| format!("the {name} is not JSON"))
    };
    Ok([part("header", header)?, part("claims", claims)?])
}
