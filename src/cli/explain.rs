//! `tollhouse explain`: what would become of a request, and why.
//!
//! The explanation is made of the configuration, or by the running gateway. Nothing is sent, counted,
//! logged or stored for it. This file reads the request from the arguments; `explain_text` prints.

use std::io::Read;
use std::net::IpAddr;

use anyhow::Context;
use clap::Args;
use http::Method;

use super::format_args::FormatArgs;
use super::place::GatewayPlace;
use super::remote::call;
use super::{CommandError, explain_text, load, say};
use crate::server::{self, ExplainError, ExplainRequest};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The method, such as GET.
    method: String,

    /// The URL, or a path alone; then the host is that of `-H 'Host: …'`, or localhost. The port or
    /// the scheme chooses the listener.
    url: String,

    /// A header field of the request; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = field)]
    headers: Vec<(String, String)>,

    /// A token, sent as `Authorization: Bearer`. `-` reads it from standard input, which keeps it
    /// out of the list of processes and of the shell's history.
    #[arg(long, value_name = "TOKEN", conflicts_with = "user")]
    token: Option<String>,

    /// As though this user of the configured sources (name or e-mail address) had logged in, at a
    /// login that the route takes. The session is not stored. The user is looked up at the source.
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,

    /// The client's address; by default this machine's own, 127.0.0.1.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,

    /// Ask the running gateway, which knows its sessions, limits and servers, and the keys of
    /// issuers.
    #[arg(long)]
    live: bool,

    #[command(flatten)]
    format: FormatArgs,
}

/// Upper bound on a token that is read, in bytes.
const LONGEST_TOKEN: u64 = 64 << 10;

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("must be written as `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Explains a request. It succeeds whatever the verdict is.
pub(super) fn explain(args: &ExplainArgs, place: &GatewayPlace) -> Result<(), CommandError> {
    let request = request_of(args)?;
    // A request that cannot be written is the fault of the arguments, wherever it is explained.
    request.check().map_err(refused)?;
    let explained = if args.live {
        let body = serde_json::to_value(&request)?;
        call(&place.state_dir()?, Method::POST, "/explain", Some(body))?
    } else {
        server::explain_offline(load(&place.config)?.config, &request).map_err(refused)?
    };
    match args.format.is_json() {
        true => say(format_args!("{explained:#}"))?,
        false => say(explain_text::text_of(&explained).trim_end())?,
    }
    Ok(())
}

fn refused(error: ExplainError) -> CommandError {
    match error {
        ExplainError::Request(_) => CommandError::Usage(error.into()),
        ExplainError::User(_) | ExplainError::Build(_) => CommandError::Other(error.into()),
    }
}

fn request_of(args: &ExplainArgs) -> Result<ExplainRequest, CommandError> {
    let mut fields = args.headers.clone();
    if let Some(token) = &args.token {
        let token = if token == "-" { read_token()? } else { token.clone() };
        fields.push(("Authorization".to_owned(), format!("Bearer {}", token.trim())));
    }
    Ok(ExplainRequest {
        method: args.method.clone(),
        url: args.url.clone(),
        fields,
        as_user: args.user.clone(),
        from: args.from,
    })
}

fn read_token() -> anyhow::Result<String> {
    let mut token = String::new();
    let read = std::io::stdin().lock().take(LONGEST_TOKEN).read_to_string(&mut token);
    read.context("no token can be read from standard input")?;
    Ok(token)
}
