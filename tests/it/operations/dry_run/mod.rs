//! `tollhouse explain`: what would become of a request. An explanation agrees with the gateway,
//! leaves no trace, and shows no credential.

mod agreement; // ten thousand requests, explained and then sent
mod command; // the command, on a configuration alone and by the admin socket
mod omitted; // questions, copies and logins that a dry run only tells of
mod traces; // nothing is counted, logged, stored or sent
mod verdicts; // each verdict with its check and the line that decided

use serde_json::Value;
use tollhouse::server::ExplainRequest;

use crate::harness::Gateway;

/// A request without credentials from this machine.
fn request(method: &str, url: &str, fields: &[(&str, &str)]) -> ExplainRequest {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    ExplainRequest {
        method: method.to_owned(),
        url: url.to_owned(),
        fields: fields.iter().map(owned).collect(),
        as_user: None,
        from: None,
    }
}

/// The explanation of a request by a running gateway.
async fn explain(gateway: &Gateway, request: &ExplainRequest) -> Value {
    gateway.running().explain(request).await.unwrap_or_else(|error| panic!("{error}"))
}

/// The check that failed, or was only recorded or not found out.
fn failed_check(explained: &Value) -> Option<&str> {
    let checks = explained["checks"].as_array().unwrap();
    let failed =
        checks.iter().find(|one| ["failed", "observed", "unknown"].contains(&text(one, "outcome")));
    failed.map(|one| text(one, "check"))
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or("-")
}
