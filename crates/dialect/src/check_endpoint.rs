//! Checks one `[[endpoint]]` section of a dialect and makes an `Endpoint` of it.
//!
//! All mistakes of a section are collected, each with its key path, so that an operator sees them
//! at once and not one after another. Called by `check`; it refuses combinations that could never
//! work, for example a credential that the endpoint's step cannot use.

use std::sync::Arc;

use http::{Method, StatusCode};

use super::definition::{CredentialForm, Endpoint, EndpointReply};
use super::endpoint_kinds::{AccountLookup, BearerUse, EndpointStep, SecondStep};
use super::error_table::ErrorTable;
use super::placeholders::PlaceholderScope;
use super::problem::DialectProblems;
use super::raw::{RawCredential, RawEndpoint, RawReply};
use super::{ErrorFormat, Template};

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
        raw.map(|raw| check_reply(raw, scope, &format!("{at}.{key}"), problems))
    };
    let scope = match raw.step {
        EndpointStep::Login | EndpointStep::VerifyCode | EndpointStep::Refresh => {
            PlaceholderScope::TOKENS
        }
        EndpointStep::Logout | EndpointStep::LogoutAll | EndpointStep::Session => {
            PlaceholderScope::SESSION
        }
        EndpointStep::Introspect | EndpointStep::Revoke | EndpointStep::Answer => {
            PlaceholderScope::NOBODY
        }
    };
    // The answer of a login that waits for a code is compiled for a scope without a user and
    // without tokens: a client that has only the password must not learn anything about the user.
    let pending_reply = reply(raw.pending_reply, "pending_reply", PlaceholderScope::PENDING);
    let reply = reply(raw.reply, "reply", scope)
        .or_else(|| pending_reply.clone().filter(|_| raw.second_step != SecondStep::None));
    // The answer to an introspection is defined by RFC 7662, section 2.2, so the dialect has no
    // template for it. A template would only allow an answer that clients of the RFC cannot read.
    let reply = match raw.step {
        EndpointStep::Introspect => Some(EndpointReply { status: StatusCode::OK, json: None }),
        _ => reply,
    };
    if reply.is_none() {
        problems.add(format!("{at}.reply"), "", "is missing");
    }
    let mut credential: Vec<_> = raw.credential.into_iter().map(CredentialForm::from).collect();
    // A credential in the body is preferred to one in a header: many clients send an old
    // `Authorization` header with every request, also with a login. The sort is stable, so the
    // order in the file decides otherwise.
    credential.sort_by_key(|form| !form.is_in_body());
    let (method, path) = request?;
    Some(Endpoint {
        step: raw.step,
        method,
        path,
        when_unauthenticated: raw.when.is_some(),
        credential,
        account: raw.account,
        second_step: raw.second_step,
        rotates: raw.rotates,
        reply: reply?,
        pending_reply,
        errors,
    })
}

fn check_request(text: &str, at: &str, problems: &mut DialectProblems) -> Option<(Method, String)> {
    let split = text.split_once(' ').and_then(|(method, path)| {
        let method = Method::from_bytes(method.as_bytes()).ok()?;
        let is_served = !matches!(method, Method::CONNECT | Method::TRACE | Method::OPTIONS);
        let is_upper = method.as_str().bytes().all(|byte| byte.is_ascii_uppercase());
        (is_served && is_upper && is_plain_path(path)).then(|| (method, path.to_owned()))
    });
    if split.is_none() {
        problems.add(at, text, "must be a method and a plain path, for example \"POST /login\"");
    }
    split
}

/// True for a path that has one spelling only: no escapes, no dot segments, and no empty segments
/// except the last. A path with several spellings could be matched here and read differently by the
/// upstream.
fn is_plain_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/".contains(&byte);
    let segments = rest.strip_suffix('/').unwrap_or(rest);
    rest.bytes().all(is_plain)
        && (rest.is_empty()
            || segments.split('/').all(|segment| !matches!(segment, "" | "." | "..")))
}

fn check_reply(
    raw: RawReply,
    scope: PlaceholderScope,
    at: &str,
    problems: &mut DialectProblems,
) -> EndpointReply {
    let status = StatusCode::from_u16(raw.status).ok().filter(StatusCode::is_success);
    if status.is_none() {
        problems.add(format!("{at}.status"), raw.status, "must be between 200 and 299");
    }
    let status = status.unwrap_or_default();
    if status == StatusCode::NO_CONTENT && raw.json.is_some() {
        problems.add(format!("{at}.json"), "", "cannot go with status 204, which has no body");
    }
    let json = raw.json.map(|json| Template::reply(json, scope, &format!("{at}.json"), problems));
    EndpointReply { status, json }
}

/// Reports the keys of an endpoint that do not go with its step.
fn check_fit(raw: &RawEndpoint, at: &str, problems: &mut DialectProblems) {
    let step = raw.step;
    for (number, form) in raw.credential.iter().enumerate() {
        let at = format!("{at}.credential[{number}]");
        if !form.fits(step) {
            problems.add(&at, form.name(), form.misfit(step));
        }
        if form.clashes() {
            let message = "has one member inside another, which is a text: no body can have both";
            problems.add(&at, form.name(), message);
        }
    }
    // A missing credential would make the endpoint refuse every request; that is always a mistake
    // in the file.
    if raw.credential.is_empty() && step != EndpointStep::Answer {
        let message = "is missing: where does the client put what it presents?";
        problems.add(format!("{at}.credential"), "", message);
    }
    let misplaced = [
        ("rotates", raw.rotates && step != EndpointStep::Refresh, "refresh"),
        ("when", raw.when.is_some() && step != EndpointStep::Answer, "answer"),
        ("account", raw.account != AccountLookup::Username && !step.asks_for_name(), "login"),
        (
            "second_step",
            raw.second_step != SecondStep::None && step != EndpointStep::Login,
            "login",
        ),
        ("pending_reply", raw.pending_reply.is_some() && step != EndpointStep::Login, "login"),
    ];
    for (key, _, wanted) in misplaced.iter().filter(|(_, is_misplaced, _)| *is_misplaced) {
        problems.add(format!("{at}.{key}"), "", format!("goes only with step `{wanted}`"));
    }
    if raw.reply.is_some() && step == EndpointStep::Introspect {
        problems.add(format!("{at}.reply"), "", "is what RFC 7662 says: leave it out");
    }
    if raw.second_step != SecondStep::None && raw.pending_reply.is_none() {
        let message = "is missing: what does the client get while its code is on the way?";
        problems.add(format!("{at}.pending_reply"), "", message);
    }
    if raw.error.contains_key("default") {
        let message = "goes only with the whole dialect; here, name reasons or statuses";
        problems.add(format!("{at}.error.default"), "", message);
    }
}

impl RawCredential {
    fn name(&self) -> &'static str {
        match self {
            Self::Json { .. } => "json",
            Self::Basic {} => "basic",
            Self::JsonCode { .. } => "json_code",
            Self::JsonRefresh(_) => "json_refresh",
            Self::Bearer(_) => "bearer",
            Self::TokenKey {} => "token_key",
            Self::Form(_) => "form",
        }
    }

    /// The message for a form that does not go with the step: what is wrong, and which forms go
    /// with it. The list spares the operator a look into the documentation.
    fn misfit(&self, step: EndpointStep) -> String {
        let name = self.name();
        let name = match self {
            Self::Bearer(purpose) => format!("{name} = \"{}\"", purpose.name()),
            _ => name.to_owned(),
        };
        let step_name = step.name();
        match step.credentials() {
            "" => format!("`{name}`: step `{step_name}` takes no credential"),
            known => format!("`{name}` is no credential of step `{step_name}`; there are {known}"),
        }
    }

    /// True if no JSON body can hold all members of the form, because one member would have to be a
    /// text and an object at once. Such a form could never be used.
    fn clashes(&self) -> bool {
        let members = match self {
            Self::Json { username, password } => vec![username, password],
            Self::JsonCode { username, code, ticket } => {
                [username, code].into_iter().chain(ticket).collect()
            }
            _ => Vec::new(),
        };
        let pairs = members.iter().enumerate();
        pairs
            .into_iter()
            .any(|(number, one)| members.iter().take(number).any(|other| one.clashes(other)))
    }

    fn fits(&self, step: EndpointStep) -> bool {
        match self {
            Self::Json { .. } | Self::Basic {} => step == EndpointStep::Login,
            Self::JsonCode { .. } => step == EndpointStep::VerifyCode,
            Self::JsonRefresh(_) => step == EndpointStep::Refresh,
            Self::Bearer(BearerUse::Renew | BearerUse::Exchange) => step == EndpointStep::Login,
            Self::Bearer(BearerUse::Refresh) => step == EndpointStep::Refresh,
            Self::Form(_) => matches!(step, EndpointStep::Introspect | EndpointStep::Revoke),
            Self::Bearer(BearerUse::Access) | Self::TokenKey {} => {
                matches!(
                    step,
                    EndpointStep::Logout | EndpointStep::LogoutAll | EndpointStep::Session
                )
            }
        }
    }
}

impl From<RawCredential> for CredentialForm {
    fn from(raw: RawCredential) -> Self {
        match raw {
            RawCredential::Json { username: name, password } => {
                Self::JsonPassword { name, password }
            }
            RawCredential::Basic {} => Self::BasicPassword,
            RawCredential::JsonCode { username: name, code, ticket } => {
                Self::JsonCode { name, code, ticket }
            }
            RawCredential::JsonRefresh(token) => Self::JsonRefresh { token },
            RawCredential::Bearer(purpose) => Self::Bearer(purpose),
            RawCredential::TokenKey {} => Self::TokenKey,
            RawCredential::Form(token) => Self::Form { token },
        }
    }
}
