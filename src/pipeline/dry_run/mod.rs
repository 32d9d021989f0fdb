//! A dry run: what would become of a request, and why (`tollhouse explain`).
//!
//! The request takes the path of every request, `RequestContext::run`, on a view of the gateway whose
//! effects end in it (`gateway::dry_run`). The steps that would have an effect outside are left out
//! and noted. The verdict is what `run` answers. Everything else in an explanation is read from the
//! configuration and from the same pure functions afterwards, and never decides. No credential gets
//! into an explanation. `admin` and `server` are the callers.

mod body;
mod candidates;
mod checks;
mod credential;
mod explanation;
mod impersonation;
mod limits;
mod omitted;
mod request;
mod step;
mod upstream;

use std::sync::Arc;

use http::request::Parts;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use self::explanation::{Explanation, Verdict};
use self::step::RunFacts;
use super::{RequestContext, client_address};
use crate::body::Response;
use crate::client::Client;
use crate::dialect::Reason;
use crate::gateway::{LoginEndpoint, OmittedStep, ServedRoute, WorkerView};
use crate::headers;
use crate::rejection::Rejection;
use crate::routing::{RouteMatch, Target, TargetError};
use crate::runtime::Worker;
use crate::upstream::CapturedRequest;

pub(super) use self::omitted::{
    omitted_copy, omitted_login, omitted_lookup, omitted_password, omitted_signature,
};
use self::request::ImaginedConnect;
pub use self::request::{ExplainError, ExplainRequest};

/// Everything that is known after the run, from which the explanation is written.
struct DryRun<'a> {
    view: &'a WorkerView,
    /// The request as the client sent it.
    head: Parts,
    client: Arc<Client>,
    target: Result<Target, TargetError>,
    /// The user that the request was made for, if the operator named one.
    user: Option<String>,
    facts: RunFacts,
    captured: Option<CapturedRequest>,
    omitted: Vec<OmittedStep>,
}

/// Explains what would become of `request`. `view` is that of a dry run, used for this request only.
///
/// # Errors
/// The request cannot be written as HTTP, or the user that it is made for is not known.
pub(crate) async fn explain(
    view: &Arc<WorkerView>,
    worker: &Arc<Worker>,
    request: &ExplainRequest,
    connect: ImaginedConnect,
) -> Result<serde_json::Value, ExplainError> {
    // The log lines of the way are about a request that nobody sent.
    let explaining = run(view, worker, request, connect).with_subscriber(NoSubscriber::default());
    let run = explaining.await?;
    Ok(run.explanation().to_json())
}

async fn run<'a>(
    view: &'a Arc<WorkerView>,
    worker: &Arc<Worker>,
    request: &ExplainRequest,
    connect: ImaginedConnect,
) -> Result<DryRun<'a>, ExplainError> {
    let config = &view.generation.config;
    let mut written = request.write(config, connect)?;
    let mut user = None;
    if let Some(name) = &request.as_user {
        user = Some(impersonation::impersonate(view, &mut written, name).await?);
    }
    let request::WrittenRequest { mut head, client: peer } = written;
    headers::as_upgrade(&mut head);
    let body = body::imagined_body(&head);
    let client =
        client_address::client(&peer, &head.headers, &view.generation, view.shared.clock.now());
    let mut context = RequestContext::new(view, worker, client.clone(), &head);
    let mut passing = head.clone();
    // Boxed because the future of a request is large, and this one is kept with others.
    let answered = Box::pin(context.run(&mut passing, body)).await;
    let facts = RunFacts::of(&mut context, answered);
    drop(context);
    let captured = view.generation.pools.values().find_map(|pool| pool.captured());
    let omitted = view.shared.dry_run.as_ref().map(|notes| notes.steps()).unwrap_or_default();
    let target = Target::parse(&head, client.bounds);
    Ok(DryRun { view, head, client, target, user, facts, captured, omitted })
}

impl DryRun<'_> {
    fn explanation(&self) -> Explanation {
        let step = self.failed_step();
        Explanation {
            request: self.request(),
            routes: self.candidates(),
            credential: self.credential(),
            checks: self.checks(step),
            verdict: self.verdict(step),
            limits: self.limits(),
            upstream: self.upstream_request(),
            notes: self.notes(),
        }
    }

    /// The route that the request took, if it took one.
    fn route(&self) -> Option<&Arc<ServedRoute>> {
        let name = self.facts.route.as_deref()?;
        match self.found()? {
            RouteMatch::Route(route) | RouteMatch::LoginOrRoute { route: Some(route), .. }
                if *route.name == *name =>
            {
                Some(route)
            }
            _ => None,
        }
    }

    /// The endpoint that the request took, if it took one.
    fn endpoint(&self) -> Option<&LoginEndpoint> {
        match self.found()? {
            RouteMatch::Login(login) => Some(login),
            RouteMatch::LoginOrRoute { login, .. } if self.route().is_none() => Some(login),
            _ => None,
        }
    }

    /// The answer of the table; `None` if the request did not come as far.
    fn found(&self) -> Option<RouteMatch<'_, LoginEndpoint, Arc<ServedRoute>>> {
        let target = self.target.as_ref().ok()?;
        (target.host().is_some() && !self.client.redirect)
            .then(|| self.view.generation.table.find(target))
    }

    /// True if the verdict depends on something that was not found out.
    fn is_undecided(&self) -> bool {
        self.omitted.iter().any(|step| {
            matches!(
                step,
                OmittedStep::TokenLookup { .. }
                    | OmittedStep::KeyLookup { .. }
                    | OmittedStep::SessionLookup
                    | OmittedStep::BodySignature
                    | OmittedStep::PasswordCheck { .. }
            )
        })
    }

    fn verdict(&self, failed: Option<step::Step>) -> Verdict {
        let facts = &self.facts;
        let is_login = self.omitted.contains(&OmittedStep::LoginStep);
        let decided = !self.is_undecided();
        let outcome = match (decided, is_login) {
            (false, _) => "undecided",
            (true, true) => "login",
            (true, false) => facts.outcome.as_str(),
        };
        // The status of a forwarded request is the upstream's, and that of a login its own.
        let is_ours = decided && !is_login && self.captured.is_none();
        Verdict {
            outcome,
            status: is_ours.then_some(facts.status),
            reason: facts.reason.filter(|_| decided),
            cause: facts.cause.clone().filter(|_| decided),
            form: (is_ours && facts.reason.is_some()).then(|| facts.form.clone()),
            grounds: facts.verdict.filter(|_| decided).map(step::word),
            decided_by: self.decided_by(failed),
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.omitted.iter().map(omitted::sentence).collect();
        if self.captured.as_ref().is_some_and(|request| request.lacks_login) {
            notes.push(
                "the gateway would log in at the upstream first; the fields of that login are not \
                 shown"
                    .to_owned(),
            );
        }
        if let Some(user) = &self.user {
            notes.push(user.clone());
        }
        let accepts = |route: &Arc<ServedRoute>| route.accept.certificate;
        if self.facts.credential.is_none() && self.route().is_some_and(accepts) {
            notes.push("a dry run shows no client certificate".to_owned());
        }
        notes
    }
}

/// True for the reason of a step that was left out, which is no reason of the request's.
fn is_of_omission(rejection: &Rejection) -> bool {
    rejection.reason == Reason::Unavailable
        && rejection.cause.as_deref() == Some(omitted::NOT_IN_A_DRY_RUN)
}

/// The answer of a run, and the rejection that it began as.
type Answered = Result<Response, Rejection>;
