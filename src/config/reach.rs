//! Warnings about sections without an effect.
//!
//! These are upstreams that no route uses, routes that no request reaches, routes that require a
//! credential which nobody can have, and redirects that lead to themselves. All of them are legal,
//! so nothing here is an error: an operator may be in the middle of a change.

use http::Method;

use super::ConfigDraft;
use super::cross_checks::endpoints;
use super::document::Document;
use super::location::Location;
use super::warnings::WarningName;
use crate::settings::path::{hosts_meet, is_below, shape};
use crate::settings::{
    ApiKey, ClientAuth, Config, CredentialKind, ListenerSettings, LoginSettings, RouteAction,
    RouteSettings,
};

/// Adds the warnings of this file. Called after all sections were read, in the order of the file.
pub(super) fn warn(reading: &Document<'_>, draft: &ConfigDraft) {
    let config = &draft.config;
    if config.routes.is_empty() && !draft.are_routes_misspelt {
        let remedy = "is missing: nothing is forwarded, every path but the logins' is 404; add \
                      [[route]]";
        Location::default().at("route").warn(
            reading,
            WarningName::NoRoute,
            String::new(),
            remedy.to_owned(),
        );
    }
    for (upstream, at) in config.upstreams.iter().zip(&draft.upstreams) {
        // Without any route every upstream is unused; the warning about the missing routes says
        // enough.
        let is_used = config.routes.iter().any(|route| uses(route, &upstream.name));
        if !is_used && !config.routes.is_empty() && !upstream.name.is_empty() {
            let remedy = "is used by no route".to_owned();
            let value = format!("{:?}", upstream.name);
            at.warn(reading, WarningName::UnusedUpstream, value, remedy);
        }
    }
    for (route, at) in config.routes.iter().zip(&draft.routes) {
        warn_taken(reading, config, route, at);
        warn_nobody(reading, config, route, at);
        warn_circle(reading, config, route, at);
    }
}

fn uses(route: &RouteSettings, upstream: &str) -> bool {
    route.upstream() == Some(upstream)
        || route.mirror.as_ref().is_some_and(|mirror| mirror.upstream == upstream)
}

/// Warns if a login's endpoint hides an exact route of the same path. Logins are matched before
/// routes, so the route never sees those requests. Methods that the login does not answer may still
/// reach the route, and are named in the warning.
fn warn_taken(reading: &Document<'_>, config: &Config, route: &RouteSettings, at: &Location) {
    // Only exact routes are compared. A prefix route usually has other paths below it that are
    // still reached. A warning about each of those would be wrong more often than right.
    let Some(exact) = route.path.strip_prefix('=') else { return };
    let meets = |login: &&LoginSettings| hosts_meet(&login.hosts, &route.hosts);
    for login in config.logins.iter().filter(meets) {
        let taken: Vec<&Method> = taken(login, exact)
            .filter(|method| route.methods.is_empty() || route.methods.contains(method))
            .collect();
        let names: Vec<&str> = taken.iter().map(|method| method.as_str()).collect();
        let remedy = match (taken.is_empty(), taken.len() == route.methods.len()) {
            (true, _) => continue,
            (false, true) => {
                format!("is never reached: login \"{}\" answers there first", login.name)
            }
            (false, false) => format!(
                "is not reached by {}: login \"{}\" answers there first",
                names.join(", "),
                login.name
            ),
        };
        let value = format!("{:?}", route.path);
        at.at("path").warn(reading, WarningName::UnreachableRoute, value, remedy);
    }
}

/// The methods with which a login answers on a path whatever the request contains. Endpoints that
/// let requests fall through to a route are not included. Those that do depend on the request, for
/// example on whether it has a credential.
fn taken<'l>(login: &'l LoginSettings, wanted: &str) -> impl Iterator<Item = &'l Method> {
    let own = login.dialect.endpoints.iter().zip(endpoints(login));
    own.filter(move |(endpoint, (_, path))| path == wanted && !endpoint.falls_through())
        .map(|(_, (method, _))| method)
}

/// Warns if a route accepts a kind of credential that no client can present under this
/// configuration. Requests to it would be refused until somebody adds a key, a certificate or a CA.
fn warn_nobody(reading: &Document<'_>, config: &Config, route: &RouteSettings, at: &Location) {
    let takes = |kind| route.auth.contains(&kind);
    let asks = |listener: &ListenerSettings| {
        listener.tls.as_ref().is_some_and(|tls| tls.client_auth != ClientAuth::None)
            || listener.forwarded_certificate.is_some()
    };
    let nobody = [
        (
            route.takes_logins()
                && config.logins_of(route).next().is_none()
                && config.sessions_of(route).next().is_none(),
            "takes tokens of logins, but there is no [[login]] on its hosts",
        ),
        (
            takes(CredentialKind::ApiKey) && config.api_keys.keys.iter().all(ApiKey::signs),
            "takes API keys, but there is no [[api_key]] with a hash",
        ),
        (
            takes(CredentialKind::Signature) && !config.api_keys.keys.iter().any(ApiKey::signs),
            "takes signatures, but there is no [[api_key]] with a public_key_file or secret",
        ),
        (
            takes(CredentialKind::Certificate) && config.certificates.is_empty(),
            "takes client certificates, but there is no [[client_certificate]]",
        ),
        (
            takes(CredentialKind::Certificate) && !config.listeners.iter().any(asks),
            "takes client certificates, but no [[listener]] has a client_ca or forwarded_certificate",
        ),
    ];
    for (_, remedy) in nobody.iter().filter(|(is_so, _)| *is_so) {
        at.at("auth").warn(
            reading,
            WarningName::NobodyHasIt,
            format!("{:?}", route.path),
            (*remedy).to_owned(),
        );
    }
}

/// Warns if a redirect leads to a path that the same route answers, so that a client would be sent
/// round without end. Another route or a login may match that path more closely; then there is no
/// circle.
fn warn_circle(reading: &Document<'_>, config: &Config, route: &RouteSettings, at: &Location) {
    let RouteAction::Redirect(redirect) = &route.action else { return };
    let to = redirect.to.split(['?', '#']).next().unwrap_or_default();
    // With `keep_path` the rest of the path is appended to the target, so an exact route does not
    // match the target itself. A prefix route matches everything below it, so it matches the result
    // as well.
    let takes = |one: &RouteSettings| match one.path.strip_prefix('=') {
        Some(exact) => !redirect.keep_path && exact == to,
        None => is_below(to, &one.path, one.case_insensitive),
    };
    let is_nearer = |other: &RouteSettings| {
        let is_longer = shape(&other.path, false).len() > shape(&route.path, false).len();
        takes(other)
            && (is_longer || other.path.starts_with('='))
            && !std::ptr::eq(other, route)
            && hosts_meet(&other.hosts, &route.hosts)
    };
    let mut logins = config.logins.iter().filter(|login| hosts_meet(&login.hosts, &route.hosts));
    let is_login = logins.any(|login| endpoints(login).any(|(_, path)| path == to));
    // A full URL is not followed: whether its host leads back to this gateway is unknown here.
    if to.starts_with('/') && takes(route) && !is_login && !config.routes.iter().any(is_nearer) {
        let remedy = "leads to this route again: clients would go round in circles".to_owned();
        at.at("redirect.to").warn(
            reading,
            WarningName::RedirectCircle,
            format!("{:?}", redirect.to),
            remedy,
        );
    }
}
