//! The decision on a request, explained: one line at the level `debug`, for an operator who asks why
//! somebody was let in or refused.
//!
//! It tells which route or login was found, what kind of credential was presented, the verdict with
//! its reason and cause, and which server answered. It never tells a credential, a field, a query
//! or a body. At any other level it costs the look at the level.

use tracing::Level;

use super::RequestContext;
use crate::gateway::LoginEndpoint;
use crate::identity::Subject;
use crate::settings::CredentialKind;
use crate::telemetry::access_record::{AccessRecord, RequestOutcome};

/// The verdict of a route on its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The route asks nobody for a credential.
    Open,
    /// A preflight goes to the upstream unasked.
    Preflight,
    /// The credential is for the upstream to verify.
    Passed,
    Permitted,
}

/// How a decision came about, as far as the access log does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Grounds<'a> {
    pub(super) credential: Option<CredentialKind>,
    /// `None` where a request was refused, or answered, before there was one.
    pub(super) verdict: Option<Verdict>,
    pub(super) login: Option<&'a LoginEndpoint>,
}

impl RequestContext<'_> {
    /// Explains the answer, which is known by now.
    pub(super) fn explain(&self) {
        if self.finish.is_logged && tracing::enabled!(Level::DEBUG) {
            tell(&self.grounds, &self.finish.record);
        }
    }
}

/// Explains why there is no answer.
pub(super) fn explain_left(record: &AccessRecord) {
    if tracing::enabled!(Level::DEBUG) {
        tell(&Grounds::default(), record);
    }
}

#[cold]
fn tell(grounds: &Grounds<'_>, record: &AccessRecord) {
    let login = grounds.login.map(|endpoint| &endpoint.login.config);
    let endpoint = grounds.login.and_then(|one| one.login.config.dialect.endpoints.get(one.number));
    tracing::debug!(
        request_id = record.request_id.as_ref().and_then(|id| id.to_str().ok()),
        method = record.method.as_str(),
        path = record.uri.path(),
        route = record.route.as_ref().map(|route| route.name()),
        dialect = login.map(|login| login.dialect.name.as_str()),
        endpoint = endpoint.map(|endpoint| endpoint.path.as_str()),
        step = endpoint.map(|endpoint| tracing::field::debug(endpoint.step)),
        credential = grounds.credential.map(CredentialKind::name),
        verdict = verdict(grounds.verdict, record.outcome),
        reason = record.reason,
        cause = record.cause.as_deref(),
        user = record.subject.as_ref().map(Subject::as_str),
        upstream = record.upstream.as_deref(),
        outcome = record.outcome.as_str(),
        "decided"
    );
}

/// In one word; whatever came after the verdict (an upstream that is down, say) is in the outcome.
fn verdict(verdict: Option<Verdict>, outcome: RequestOutcome) -> &'static str {
    match (verdict, outcome) {
        (_, RequestOutcome::Observed) => "observed",
        (Some(Verdict::Open), _) => "open",
        (Some(Verdict::Preflight), _) => "preflight",
        (Some(Verdict::Passed), _) => "passed",
        (Some(Verdict::Permitted), _) => "permitted",
        (None, RequestOutcome::Refused) => "refused",
        (None, RequestOutcome::Aborted) => "none",
        (None, RequestOutcome::Answered | RequestOutcome::Forwarded | RequestOutcome::Passed) => {
            "answered"
        }
    }
}
