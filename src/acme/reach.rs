//! Asks an authority for its directory, for `check --online`. No account is made and nothing is
//! ordered.

use serde::Deserialize;

use crate::format::error_chain;
use crate::outbound::{OutboundClient, OutboundOptions};
use crate::settings::AcmeSettings;

/// The parts of a directory (RFC 8555, section 7.1.1) that decide whether an order is possible.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    /// Read only so that another JSON document is no directory.
    #[serde(rename = "newOrder")]
    _new_order: String,
    renewal_info: Option<String>,
    #[serde(default)]
    meta: DirectoryMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DirectoryMeta {
    #[serde(default)]
    external_account_required: bool,
}

/// Fetches the directory, and says what matters in it. The error is for an operator.
pub(crate) async fn reach(settings: &AcmeSettings) -> Result<String, String> {
    let options = OutboundOptions { ca: settings.ca.clone(), ..OutboundOptions::default() };
    let client = OutboundClient::new(&options).map_err(|error| error_chain(&error))?;
    let answer = client.get(&settings.directory).await.map_err(|error| error.chain())?;
    if !answer.is_success() {
        return Err(format!("it answered {}", answer.status));
    }
    let directory: Directory = serde_json::from_slice(&answer.body)
        .map_err(|_| "its answer is no ACME directory: correct the URL".to_owned())?;
    if directory.meta.external_account_required && settings.eab.is_none() {
        return Err("it wants an account of its own to be named: add eab".to_owned());
    }
    Ok(match directory.renewal_info {
        Some(_) => "a directory; it suggests when to renew".to_owned(),
        None => "a directory; it does not suggest when to renew".to_owned(),
    })
}
