//! `tollhouse user totp`: a second step for a user, made by the running gateway.
//!
//! The secret is shown once, as an address and as a QR code for the camera of a telephone. It is
//! not written anywhere else.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use http::Method;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;

use super::{CommandError, remote, say};

/// Whose second step it is.
#[derive(Debug, Args)]
pub(super) struct TotpArgs {
    /// What they log in as.
    name: String,

    /// Make another secret in the place of the one that they have.
    #[arg(long, conflicts_with = "remove")]
    replace: bool,

    /// Take their second step away.
    #[arg(long)]
    remove: bool,
}

/// Carries out `user totp`. `source` is the `[[users]]` section, if several know the user. The code
/// that the authenticator shows is not asked for here; the user proves it at the next login.
pub(super) fn run(args: &TotpArgs, source: Option<&str>, state: &Path) -> Result<(), CommandError> {
    let name = &args.name;
    if args.remove {
        let body = json!({ "user": name, "source": source });
        remote::call(state, Method::POST, "/totp/remove", Some(body))?;
        return Ok(say(format_args!("{name} has no second step any more"))?);
    }
    let body = json!({ "user": name, "source": source, "replace": args.replace });
    let answer = remote::call(state, Method::POST, "/totp", Some(body))?;
    let address = remote::text(&answer, "uri");
    // The address contains the secret. It is printed for the person at the terminal and never
    // logged.
    let picture = QrCode::new(address).context("the address is too long for a picture")?;
    // The colours are exchanged: terminals write light on dark, and cameras expect dark on light.
    let picture = picture
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    Ok(say(format_args!("{address}\n\n{picture}"))?)
}
