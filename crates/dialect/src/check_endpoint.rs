//! Checks one `[[endpoint]]` section of a dialect and makes an `Endpoint` of it.
//!
//! All mistakes of a section are collected, each with its key path, so that an operator sees them
//! at once and not one after another. Called by `check`; it refuses combinations that could never
//! work, for example a credential that the endpoint's step cannot use.

use std::sync::Arc;

use http::{Method, StatusCode};

use super::body::{AcceptedBodies, BodyFormat};
use super::credential::CredentialForm;
use super::definition::Endpoint;
use super::endpoint_kinds::{AccountLookup, EndpointStep, SecondStep};
use super::endpoint_path::EndpointPath;
use super::error_table::ErrorTable;
use super::placeholders::PlaceholderScope;
use super::problem::DialectProblems;
use super::raw::{RawAccount, RawEndpoint};
use super::raw_credential::RawCredential;
use super::reply::{EndpointReply, RawReply};
use super::{Carrier, ErrorFormat, ProgramForm};

/// Checks an endpoint. `name` and `dialect` are the name of the dialect and its checked `[error]`
/// table. `None` if the endpoint is so wrong that nothing can be made of it; the problems are in
/// `problems` in every case.
pub(super) fn check_endpoint(
    raw: RawEndpoint,
    at: &str,
    name: &str,
    dialect: &ErrorTable,
    problems: &mut DialectProblems,
) -> Option<Endpoint> {
    let request = check_request(&raw.request, &format!("{at}.request"), problems);
    check_fit(&raw, at, problems);
    let entries = ErrorTable::check(raw.error, &format!("{at}.error"), problems);
    let own = [&entries, dialect];
    let errors = Arc::new(ErrorFormat::build(name, &own));

    let mut reply = |raw: Option<RawReply>, key: &str, scope: PlaceholderScope| {
        raw.map(|raw| raw.check(scope, &format!("{at}.{key}"), problems))
    };
    // The answer of a login that waits for a code is compiled for a scope without a user and
    // without tokens: a client that has only the password must not learn anything about the user.
    let pending_reply = reply(raw.pending_reply, "pending_reply", PlaceholderScope::PENDING);
    let reply = reply(raw.reply, "reply", reply_scope(raw.step))
        .or_else(|| pending_reply.clone().filter(|_| raw.second_step != SecondStep::None));
    // The answer to an introspection is defined by RFC 7662, section 2.2, so the dialect has no
    // template for it. A template would only allow an answer that clients of the RFC cannot read.
    let reply = match raw.step {
        EndpointStep::Introspect => Some(EndpointReply::empty(StatusCode::OK)),
        _ => reply,
    };
    if reply.is_none() {
        problems.add(format!("{at}.reply"), "", "is missing");
    }
    let at_credential = format!("{at}.credential");
    let credential = check_credentials(raw.credential, raw.step, &at_credential, problems);
    let program = raw.client.map(|raw| raw.check(&credential, &format!("{at}.client"), problems));
    let secrets: Vec<&Carrier> = credential
        .iter()
        .flat_map(CredentialForm::secrets)
        .chain(program.iter().flat_map(ProgramForm::secrets))
        .collect();
    let mut shown: Vec<Carrier> = Vec::new();
    let in_replies = reply.iter().chain(&pending_reply).flat_map(EndpointReply::shown);
    check_shown(in_replies, &secrets, &format!("{at}.reply"), &mut shown, problems);
    let require = raw.require.check(&format!("{at}.require"), problems);
    let selector = raw.selector.check(&format!("{at}.where"), problems);
    let send = raw.send.check(raw.step, &credential, &format!("{at}.send"), problems);
    if raw.otherwise.is_some() && selector.is_empty() {
        let message = "goes only with `where`: without it the endpoint takes every request";
        problems.add(format!("{at}.otherwise"), "route", message);
    }
    let conditions = require.iter().chain(&selector).map(|condition| &condition.at);
    let carriers = credential.iter().flat_map(CredentialForm::carriers).chain(conditions);
    let carriers = carriers.chain(program.iter().flat_map(ProgramForm::carriers)).chain(&shown);
    let kinds = body_kinds(carriers);
    // A body is never read for an error's sake alone.
    let is_read = |at: &&Carrier| at.body_kind().is_none_or(|kind| kinds.contains(&kind));
    let in_errors = errors.shown().filter(is_read).filter(|at| path_has(&request, at));
    check_shown(in_errors, &secrets, &format!("{at}.error"), &mut shown, problems);
    let media_types = check_media_types(raw.media_types, &format!("{at}.media_types"), problems);
    let accepts = AcceptedBodies { kinds, media_types };
    let (method, path) = request?;
    let endpoint = Endpoint {
        shown,
        step: raw.step,
        method,
        path,
        when_unauthenticated: raw.when.is_some(),
        credential,
        program,
        hands_on: raw.otherwise.is_some(),
        selector,
        require,
        send,
        accepts,
        account: check_account(raw.account, &format!("{at}.account"), problems),
        second_step: raw.second_step,
        rotates: raw.rotates,
        reply: reply?,
        pending_reply,
        errors,
    };
    check_endpoint_places(&endpoint, at, problems);
    Some(endpoint)
}

/// The values that the answer of a step may show.
fn reply_scope(step: EndpointStep) -> PlaceholderScope {
    match step {
        EndpointStep::Login | EndpointStep::VerifyCode | EndpointStep::Refresh => {
            PlaceholderScope::TOKENS
        }
        EndpointStep::Logout | EndpointStep::LogoutAll | EndpointStep::Session => {
            PlaceholderScope::SESSION
        }
        EndpointStep::Introspect | EndpointStep::Revoke | EndpointStep::Answer => {
            PlaceholderScope::NOBODY
        }
    }
}

/// The forms of credential that the endpoint takes, in the order in which they are tried.
fn check_credentials(
    raw: Vec<RawCredential>,
    step: EndpointStep,
    at: &str,
    problems: &mut DialectProblems,
) -> Vec<CredentialForm> {
    let mut credential: Vec<CredentialForm> = Vec::with_capacity(raw.len());
    for (number, form) in raw.into_iter().enumerate() {
        credential.extend(form.check(step, &format!("{at}[{number}]"), problems));
    }
    // A credential in the body is preferred to one in a header: many clients send an old
    // `Authorization` header with every request, also with a login. The sort is stable, so the
    // order in the file decides otherwise.
    credential.sort_by_key(|form| !form.is_in_body());
    credential
}

/// Reports places that the endpoint's path does not have, and media types by which a page of another
/// site could call an endpoint in a user's name.
fn check_endpoint_places(endpoint: &Endpoint, at: &str, problems: &mut DialectProblems) {
    let carriers = endpoint.credential.iter().flat_map(CredentialForm::carriers);
    let sent = endpoint.send.iter().map(|sent| &sent.at);
    for carrier in carriers.chain(&endpoint.shown).chain(sent) {
        if let Carrier::Variable(name) = carrier
            && !endpoint.path.variables().any(|known| known == name)
        {
            let message = format!("has no variable `{{{name}}}`, which is used");
            problems.add(format!("{at}.request"), &endpoint.path, message);
        }
    }
    // A browser sends these to other sites without asking them first (Fetch, section 2.2.2).
    const UNASKED: &[&str] =
        &["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];
    let is_unasked = |essence: &String| UNASKED.contains(&essence.as_str());
    if endpoint.uses_cookies() && endpoint.accepts.media_types.iter().any(is_unasked) {
        let message = "stands for JSON, and the endpoint has cookies: pages of other sites could \
                       call it";
        problems.add(format!("{at}.media_types"), "", message);
    }
}

/// The kinds of body in which the carriers are, each once.
fn body_kinds<'c>(carriers: impl Iterator<Item = &'c Carrier>) -> Vec<BodyFormat> {
    let mut kinds: Vec<BodyFormat> = Vec::new();
    for kind in carriers.filter_map(Carrier::body_kind) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

/// False for a variable that the path of the endpoint does not have: the errors of a dialect serve
/// all of its endpoints.
fn path_has(request: &Option<(Method, EndpointPath)>, at: &Carrier) -> bool {
    match (at, request) {
        (Carrier::Variable(name), Some((_, path))) => path.variables().any(|known| known == name),
        _ => true,
    }
}

/// Adds the places in the request whose values answers show to `shown`. No place of a secret is
/// accepted.
fn check_shown<'r>(
    carriers: impl Iterator<Item = &'r Carrier>,
    secrets: &[&Carrier],
    at: &str,
    shown: &mut Vec<Carrier>,
    problems: &mut DialectProblems,
) {
    for carrier in carriers {
        if shown.contains(carrier) {
            continue;
        }
        if secrets.iter().any(|secret| secret.clashes(carrier)) {
            let message = format!("an answer shows {carrier}, which is a credential");
            problems.add(at, "", message);
        }
        shown.push(carrier.clone());
    }
}

/// The kinds of name by which users are looked up.
fn check_account(raw: RawAccount, at: &str, problems: &mut DialectProblems) -> Vec<AccountLookup> {
    let kinds = match raw {
        RawAccount::Single(kind) => return vec![kind],
        RawAccount::Several(kinds) => kinds,
    };
    if kinds.is_empty() {
        problems.add(at, "", "is empty: users are looked up by \"username\", \"email\" or both");
    }
    for (number, kind) in kinds.iter().enumerate() {
        if kinds.iter().take(number).any(|other| other == kind) {
            problems.add(format!("{at}[{number}]"), "", "stands here twice");
        }
    }
    kinds
}

/// Media types that stand for JSON at this endpoint.
fn check_media_types(types: Vec<String>, at: &str, problems: &mut DialectProblems) -> Vec<String> {
    // These say what a body is, and it is not JSON.
    const OTHERS: &[&str] = &["multipart/form-data", "text/xml", "application/xml"];
    for (number, essence) in types.iter().enumerate() {
        let is_type = essence.split_once('/').is_some_and(|(kind, subtype)| {
            !kind.is_empty() && !subtype.is_empty() && !essence.contains([';', ' ', ','])
        });
        if !is_type || OTHERS.contains(&essence.as_str()) {
            let message = "must be a media type without parameters that stands for JSON, for \
                           example \"text/plain\"";
            problems.add(format!("{at}[{number}]"), essence, message);
        }
    }
    types.into_iter().map(|essence| essence.to_ascii_lowercase()).collect()
}

fn check_request(
    text: &str,
    at: &str,
    problems: &mut DialectProblems,
) -> Option<(Method, EndpointPath)> {
    let split = text.split_once(' ').and_then(|(method, path)| {
        let method = Method::from_bytes(method.as_bytes()).ok()?;
        let is_served = !matches!(method, Method::CONNECT | Method::TRACE | Method::OPTIONS);
        let is_upper = method.as_str().bytes().all(|byte| byte.is_ascii_uppercase());
        let path = EndpointPath::parse(path)?;
        (is_served && is_upper).then_some((method, path))
    });
    if split.is_none() {
        problems.add(at, text, "must be a method and a plain path, for example \"POST /login\"");
    }
    split
}

/// Reports the keys of an endpoint that do not go with its step.
fn check_fit(raw: &RawEndpoint, at: &str, problems: &mut DialectProblems) {
    let step = raw.step;
    // A missing credential would make the endpoint refuse every request; that is always a mistake
    // in the file.
    if raw.credential.is_empty() && step != EndpointStep::Answer {
        let message = "is missing: where does the client put what it presents?";
        problems.add(format!("{at}.credential"), "", message);
    }
    let misplaced = [
        ("rotates", raw.rotates && step != EndpointStep::Refresh, "refresh"),
        ("when", raw.when.is_some() && step != EndpointStep::Answer, "answer"),
        ("account", raw.account != RawAccount::default() && !step.asks_for_name(), "login"),
        (
            "second_step",
            raw.second_step != SecondStep::None && step != EndpointStep::Login,
            "login",
        ),
        (
            "client",
            raw.client.is_some() && !step.takes_programs(),
            "login, verify_code, refresh or logout",
        ),
        ("pending_reply", raw.pending_reply.is_some() && step != EndpointStep::Login, "login"),
    ];
    for (key, _, wanted) in misplaced.iter().filter(|(_, is_misplaced, _)| *is_misplaced) {
        problems.add(format!("{at}.{key}"), "", format!("goes only with step `{wanted}`"));
    }
    if raw.reply.is_some() && step == EndpointStep::Introspect {
        problems.add(format!("{at}.reply"), "", "is what RFC 7662 says: leave it out");
    }
    let has_code = raw.credential.iter().any(RawCredential::has_code_beside_password);
    if raw.second_step != SecondStep::None && raw.pending_reply.is_none() && !has_code {
        let message = "is missing: what does the client get while its code is on the way?";
        problems.add(format!("{at}.pending_reply"), "", message);
    }
    if raw.error.contains_key("default") {
        let message = "goes only with the whole dialect; here, name reasons or statuses";
        problems.add(format!("{at}.error.default"), "", message);
    }
}
