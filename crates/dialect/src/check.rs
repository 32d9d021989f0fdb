//! Checks a dialect's table and makes a `Dialect` of it, or lists everything that is wrong with it.
//!
//! `config` calls `Dialect::check` for `[[dialect]]` sections and `builtin` for the files that come
//! with the gateway. A dialect that was checked has no mistakes left that could show while a
//! request is served.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::calls::CheckedCalls;
use super::check_endpoint::check_endpoint;
use super::condition::Condition;
use super::credential::CredentialForm;
use super::definition::{Dialect, Endpoint, TokenDefaults};
use super::duration::check_duration;
use super::endpoint_kinds::{EndpointStep, SecondStep, TokenUse};
use super::error_table::ErrorTable;
use super::example::{Example, check_examples};
use super::placeholders::{Placeholder, PlaceholderName};
use super::problem::{DialectProblem, DialectProblems};
use super::raw::{RawDialect, RawEndpoint, RawTokens};
use super::sent_value::SentValue;
use super::{ErrorFormat, OpaqueFormat, Reason, Template};
use tollhouse_core::algorithm::Algorithm;
use tollhouse_core::identity::RESERVED_CLAIMS;

/// Of the claims that the gateway sets itself, the one that a dialect may write nevertheless. The
/// gateway identifies its users by `uid`, and some clients expect their own form of `sub`.
const WRITABLE_CLAIM: &str = "sub";

impl Dialect {
    /// Checks a table as it is written in the file. The result also has facts that follow from its
    /// parts, for example whether any answer gives out a refresh token; if none does, none is made.
    ///
    /// # Errors
    /// Every problem it has, each with its key path within the table.
    pub fn check(raw: RawDialect) -> Result<Self, Vec<DialectProblem>> {
        let mut problems = DialectProblems::default();
        check_name(&raw.name, &mut problems);
        check_examples(&raw.example, &mut problems);
        let entries = ErrorTable::check(raw.error, "error", &mut problems);
        let defaults = check_tokens(raw.tokens, &mut problems);
        let endpoints = check_endpoints(&raw.name, raw.endpoint, &entries, &mut problems);
        let has_roles = !raw.roles.is_empty();
        let (role_numbers, role_number_default) = check_roles(raw.roles, &mut problems);
        let replies = || {
            let pending = endpoints.iter().filter_map(|endpoint| endpoint.pending_reply.as_ref());
            endpoints.iter().map(|endpoint| &endpoint.reply).chain(pending)
        };
        // Whether an answer gives out a refresh token is found by looking for its placeholder. A
        // session that ends with its access token has no refresh, so both together are a mistake.
        // The placeholder shows it reliably, since a token has no other way into an answer.
        let gives = |name| replies().any(|reply| reply.names(&Placeholder::Named(name)));
        let gives_refresh_token = gives(PlaceholderName::RefreshToken);
        if gives_refresh_token && defaults.ends_with_access {
            let message =
                "an answer has `$refresh.token`, but sessions end with their access token";
            problems.add("tokens.ends_with_access", true, message);
        }
        if gives_refresh_token && defaults.idle.is_some() {
            let message = "an answer has `$refresh.token`, but each use prolongs the session";
            problems.add("tokens.idle", "", message);
        }
        if defaults.opaque.is_none() {
            check_extended(&endpoints, &mut problems);
        }
        if gives(PlaceholderName::UserRoleNumber) && !has_roles {
            problems.add("roles", "", "`$user.role_number` needs a table of numbers");
        }
        check_sent(&endpoints, &raw.config, &mut problems);
        let gives_key = gives(PlaceholderName::SessionKey);
        let gives_csrf = gives(PlaceholderName::SessionCsrf);
        let CheckedCalls { carriers, defence } =
            raw.call.check(gives_key, gives_csrf, &mut problems);
        let access_claims = check_claims(raw.claims.access, "claims.access", &mut problems);
        let refresh_claims = check_claims(raw.claims.refresh, "claims.refresh", &mut problems);
        let url = Placeholder::Named(PlaceholderName::LoginUrl);
        let shows_url = gives(PlaceholderName::LoginUrl)
            || [&access_claims, &refresh_claims].iter().any(|claims| claims.names(&url));
        let dialect = Self {
            errors: Arc::new(ErrorFormat::build(&raw.name, &[&entries])),
            access_claims,
            refresh_claims,
            shows_url,
            defaults,
            role_numbers,
            role_number_default,
            cors: raw.cors.and_then(|cors| cors.check_into("cors", &mut problems)),
            config: raw.config,
            // Two answers that differ tell strangers which users exist. The operator must allow
            // that for each login (`reveal_unknown_user`); this flag says whether the question
            // arises at all.
            tells_unknown_user: endpoints.iter().any(|endpoint| {
                let wrong = Reason::InvalidCredentials;
                let unknown = Reason::UnknownUser;
                endpoint.step == EndpointStep::Login && endpoint.errors.tells_apart(wrong, unknown)
            }),
            gives_refresh_token,
            gives_key,
            gives_csrf,
            call: carriers,
            csrf: defence,
            name: raw.name,
            endpoints,
        };
        problems.finish(dialect)
    }
}

impl RawDialect {
    /// The examples of the dialect, in the order of the file.
    ///
    /// # Errors
    /// Every problem they have. `Dialect::check` reports them, too.
    pub fn examples(&self) -> Result<Vec<Example>, Vec<DialectProblem>> {
        let mut problems = DialectProblems::default();
        let examples = check_examples(&self.example, &mut problems);
        problems.finish(examples)
    }
}

/// Reports endpoints that would extend a token, where tokens are signed and their end is fixed.
fn check_extended(endpoints: &[Endpoint], problems: &mut DialectProblems) {
    let extends = |form: &CredentialForm| {
        matches!(form, CredentialForm::Token { purpose: TokenUse::Extend, .. })
    };
    for (number, endpoint) in endpoints.iter().enumerate() {
        if endpoint.credential.iter().any(extends) {
            let at = format!("endpoint[{number}].credential");
            let message = "has a token to extend: a signed one has its end in it; with \
                           `tokens.format = \"opaque\"` it can be moved";
            problems.add(at, "extend", message);
        }
    }
}

/// Reports values to be sent to another system that the dialect's `config` does not have.
fn check_sent(endpoints: &[Endpoint], config: &Map<String, Value>, problems: &mut DialectProblems) {
    for (number, endpoint) in endpoints.iter().enumerate() {
        for path in endpoint.send.iter().flat_map(SentValue::config_paths) {
            let mut names = path.iter();
            let first = names.next().and_then(|name| config.get(name));
            if names.try_fold(first, |value, name| Some(value?.get(name))).flatten().is_none() {
                let name = path.join(".");
                let message = format!("needs `{name}` in the dialect's [config]");
                problems.add(format!("endpoint[{number}].send"), "", message);
            }
        }
    }
}

fn check_name(name: &str, problems: &mut DialectProblems) {
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        problems.add("name", name, "must be of lower-case letters, digits, `-` and `_`");
    // `errors = "problem"` on a route means RFC 9457 without a dialect, so no dialect may have this
    // name.
    } else if name == "problem" {
        problems.add("name", name, "is the name of the plain error form; choose another");
    }
}

fn check_endpoints(
    name: &str,
    raw: Vec<RawEndpoint>,
    entries: &ErrorTable,
    problems: &mut DialectProblems,
) -> Vec<Endpoint> {
    if raw.is_empty() {
        problems.add("endpoint", "", "is missing: a dialect needs at least one endpoint");
    }
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(raw.len());
    for (number, raw) in raw.into_iter().enumerate() {
        let at = format!("endpoint[{number}]");
        let request = raw.request.clone();
        let Some(endpoint) = check_endpoint(raw, &at, name, entries, problems) else { continue };
        let is_beside = |other: &&Endpoint| {
            other.method == endpoint.method && other.path.overlaps(&endpoint.path)
        };
        for other in endpoints.iter().filter(is_beside) {
            // Fixed paths are looked for first; the others would be chosen by chance.
            let is_told_apart = match other.path == endpoint.path {
                true => !Condition::hides(&other.selector, &endpoint.selector),
                false => other.path.is_fixed() != endpoint.path.is_fixed(),
            };
            if other.path == endpoint.path
                && (other.when_unauthenticated || endpoint.when_unauthenticated)
            {
                let message = "cannot be beside another endpoint of its path: a request with a good \
                               token would go to the routes before its body is read";
                problems.add(format!("{at}.when"), "unauthenticated", message);
            }
            if !is_told_apart {
                let message = "is an endpoint already; `where` tells endpoints of one path apart";
                problems.add(format!("{at}.request"), &request, message);
            }
        }
        endpoints.push(endpoint);
    }
    let has = |step| endpoints.iter().any(|endpoint| endpoint.step == step);
    if has(EndpointStep::VerifyCode) && !has(EndpointStep::Login) {
        problems.add("endpoint", "", "has a `verify_code` but no `login` that prepares it");
    }
    let demands =
        |form: &CredentialForm| matches!(form, CredentialForm::Code { ticket: Some(_), .. });
    // The ticket proves in the second step that the client passed the first one. It must appear on
    // both sides: a step that demands a ticket which nobody gave could never succeed.
    let demands_ticket = endpoints.iter().any(|endpoint| endpoint.credential.iter().any(demands));
    for (number, endpoint) in endpoints.iter().enumerate() {
        let Some(pending) = &endpoint.pending_reply else { continue };
        let place = Placeholder::Named(PlaceholderName::Ticket);
        let gives_ticket = pending.names(&place);
        let message = match (demands_ticket, gives_ticket) {
            (true, false) => "has no `$pending.ticket`, which the `verify_code` step demands",
            (false, true) => "has a `$pending.ticket`, which no `verify_code` step takes",
            _ => continue,
        };
        problems.add(format!("endpoint[{number}].pending_reply"), "", message);
    }
    for (number, endpoint) in endpoints.iter().enumerate() {
        let is_mailed = endpoint.second_step != SecondStep::None;
        if demands_ticket && is_mailed && endpoint.takes_code_beside_password() {
            let message = "mails a code that comes beside the password, but codes of this dialect \
                           come with a ticket: a mailed one could never be used";
            problems.add(format!("endpoint[{number}].second_step"), "mail", message);
        }
    }
    let sends_codes = endpoints.iter().any(|endpoint| {
        endpoint.second_step != SecondStep::None && !endpoint.takes_code_beside_password()
    });
    if sends_codes && !has(EndpointStep::VerifyCode) {
        problems.add("endpoint", "", "has a `second_step` but no `verify_code` that takes it");
    }
    endpoints
}

/// A claim that the gateway sets itself must not be in the template. The message names the claim;
/// the verifier need not expect two meanings.
fn check_claims(claims: Map<String, Value>, at: &str, problems: &mut DialectProblems) -> Template {
    let is_ours =
        |name: &&String| RESERVED_CLAIMS.contains(&name.as_str()) && *name != WRITABLE_CLAIM;
    for name in claims.keys().filter(is_ours) {
        problems.add(format!("{at}.{name}"), name, "is a claim that only the gateway sets");
    }
    Template::claims(claims, at, problems)
}

fn check_tokens(raw: RawTokens, problems: &mut DialectProblems) -> TokenDefaults {
    let opaque = OpaqueFormat::check(&raw, problems);
    let algorithm = raw.algorithm.and_then(|name| {
        let algorithm = Algorithm::parse(&name);
        if algorithm.is_none() {
            let known: Vec<_> = Algorithm::ALL.iter().map(|known| known.as_str()).collect();
            let message = format!("is no algorithm of ours (there are {})", known.join(", "));
            problems.add("tokens.algorithm", name, message);
        }
        algorithm
    });
    let mut ttl = |key: &str, text: Option<String>| {
        text.and_then(|text| check_duration(&text, &format!("tokens.{key}"), problems))
    };
    let access_ttl = ttl("access_ttl", raw.access_ttl);
    let refresh_ttl = ttl("refresh_ttl", raw.refresh_ttl);
    let refresh_idle = ttl("refresh_idle", raw.refresh_idle);
    let idle = ttl("idle", raw.idle);
    let ends_with_access = raw.ends_with_access;
    if idle.is_some() {
        if opaque.is_none() {
            let message = "goes only with `format = \"opaque\"`: a signed token has its end in it";
            problems.add("tokens.idle", "", message);
        }
        if access_ttl.is_some() || refresh_idle.is_some() || ends_with_access {
            let message = "is the life of a token that is not used: leave out access_ttl, \
                           refresh_idle and ends_with_access";
            problems.add("tokens.idle", "", message);
        }
    }
    if ends_with_access && (refresh_ttl.is_some() || refresh_idle.is_some()) {
        let message = "sessions that end with their access token are not refreshed";
        problems.add("tokens.ends_with_access", true, message);
    }
    TokenDefaults {
        opaque,
        algorithm,
        access_ttl,
        refresh_ttl,
        refresh_idle,
        idle,
        ends_with_access,
    }
}

fn check_roles(
    raw: Map<String, Value>,
    problems: &mut DialectProblems,
) -> (Vec<(String, i64)>, i64) {
    let mut others = None;
    let mut numbers = Vec::with_capacity(raw.len());
    let is_used = !raw.is_empty();
    for (role, number) in raw {
        let Some(number) = number.as_i64() else {
            problems.add(format!("roles.{role}"), number, "must be a whole number");
            continue;
        };
        if role == "*" {
            others = Some(number);
        } else {
            numbers.push((role, number));
        }
    }
    // Without `*`, a user with none of these roles would silently get a number that means another
    // role.
    if is_used && others.is_none() {
        problems.add("roles", "", "has no `\"*\"`: the number of users with none of these roles");
    }
    (numbers, others.unwrap_or_default())
}
