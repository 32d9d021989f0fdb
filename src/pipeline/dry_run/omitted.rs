//! The steps that a dry run leaves out, because they would have an effect outside: they are noted,
//! and the request goes on or ends without them.

use crate::authn::RemoteLookup;
use crate::body::{Body, Response};
use crate::dialect::Reason;
use crate::gateway::{DryRunNotes, OmittedStep, RouteMirror};
use crate::login::BasicCall;
use crate::rejection::Rejection;

/// The cause of a rejection that ends a dry run at a step that was left out.
pub(super) const NOT_IN_A_DRY_RUN: &str = "not found out in a dry run";

fn unknown() -> Rejection {
    Rejection::new(Reason::Unavailable).because(NOT_IN_A_DRY_RUN)
}

/// Ends a dry run at a question to an issuer.
pub(in crate::pipeline) fn omitted_lookup(notes: &DryRunNotes, lookup: &RemoteLookup) -> Rejection {
    let issuers = lookup.issuers();
    notes.add(match lookup {
        RemoteLookup::Token(_) => OmittedStep::TokenLookup { issuers },
        RemoteLookup::Keys(_) => OmittedStep::KeyLookup { issuers },
        RemoteLookup::Session(_) => OmittedStep::SessionLookup,
        // Other gateways announce new keys at once, so the answer is known.
        RemoteLookup::OwnKeys(_, refusal) => return (*refusal).into(),
    });
    unknown()
}

/// Ends a dry run at a password that would have to be hashed.
pub(in crate::pipeline) fn omitted_password(notes: &DryRunNotes, call: BasicCall) -> Rejection {
    notes.add(OmittedStep::PasswordCheck { name: call.name, sources: call.sources });
    unknown()
}

/// Ends a dry run at a signature of a body, which a dry run does not have.
pub(in crate::pipeline) fn omitted_signature(notes: &DryRunNotes) -> Rejection {
    notes.add(OmittedStep::BodySignature);
    unknown()
}

/// Ends a dry run at the work of a login endpoint.
pub(in crate::pipeline) fn omitted_login(notes: &DryRunNotes) -> Response {
    notes.add(OmittedStep::LoginStep);
    Response::new(Body::empty())
}

/// Sends no copy to the mirror.
pub(in crate::pipeline) fn omitted_copy(notes: &DryRunNotes, mirror: &RouteMirror) {
    let upstream = mirror.config.upstream.clone();
    notes.add(OmittedStep::Mirror { upstream, percent: mirror.config.percent });
}

/// The step in a sentence for the operator.
pub(super) fn sentence(step: &OmittedStep) -> String {
    let quoted = |names: &[String]| {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    match step {
        OmittedStep::TokenLookup { issuers } => {
            let names: Vec<String> = issuers.iter().map(ToString::to_string).collect();
            format!("would ask issuer {} about the token; no request is made here", quoted(&names))
        }
        OmittedStep::KeyLookup { issuers } => {
            let names: Vec<String> = issuers.iter().map(ToString::to_string).collect();
            format!("would fetch the keys of issuer {}; no request is made here", quoted(&names))
        }
        OmittedStep::SessionLookup => {
            "would ask the session store about the opaque token; no request is made here".to_owned()
        }
        OmittedStep::PasswordCheck { name, sources } => format!(
            "would verify the password of `{name}` at {}; no password is tried here",
            quoted(sources)
        ),
        OmittedStep::BodySignature => {
            "would verify the signature of the body; a dry run has no body".to_owned()
        }
        OmittedStep::LoginStep => "the step of a login; nothing is tried here".to_owned(),
        OmittedStep::Mirror { upstream, percent } => {
            format!("would send a copy of {percent} % of such requests to upstream `{upstream}`")
        }
    }
}
