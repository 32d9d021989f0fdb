//! Rules about upstreams that are called with the legacy credential of the caller's own session
//! (`credential = "session"`).
//!
//! A caller without such a session is refused at run time. A route that lets only such callers in
//! says so before; these rules report the others. `cross_checks` calls this file.

use super::ConfigDraft;
use super::document::Document;
use super::location::Location;
use crate::settings::{Config, CredentialKind, LoginSettings, RouteSettings, UpstreamCredential};

/// Runs all checks of this file.
pub(super) fn check(reading: &Document<'_>, draft: &ConfigDraft) {
    let config = &draft.config;
    for (route, at) in config.routes.iter().zip(&draft.routes) {
        let source = route.upstream().and_then(|name| session_source(config, name));
        if let Some(source) = source {
            check_callers(reading, config, source, route, at);
        }
        if let Some(mirror) = &route.mirror
            && session_source(config, &mirror.upstream).is_some()
        {
            let remedy =
                "is called with the credential of the caller's session, and a copy has no caller";
            let upstream = format!("{:?}", mirror.upstream);
            at.at("mirror").issue(reading, upstream, remedy.to_owned());
        }
    }
}

/// The source of the users whose credentials the upstream gets.
fn session_source<'c>(config: &'c Config, upstream: &str) -> Option<&'c str> {
    let upstream = config.upstreams.iter().find(|one| one.name == upstream)?;
    match &upstream.credential {
        Some(UpstreamCredential::Session(session)) => Some(&session.source),
        _ => None,
    }
}

/// Reports the ways into a route by which a caller without a session at the legacy system comes.
fn check_callers(
    reading: &Document<'_>,
    config: &Config,
    source: &str,
    route: &RouteSettings,
    at: &Location,
) {
    const WHY: &str =
        "the upstream is called with what the caller's session has at the legacy system";
    if route.is_open() {
        let remedy = format!("lets everybody in, but {WHY}: name the kinds that a login gives");
        return at.at("auth").issue(reading, "[]".to_owned(), remedy);
    }
    if !route.enforce {
        let remedy = format!("lets everybody in, but {WHY}");
        at.at("enforce").issue(reading, "false".to_owned(), remedy);
    }
    let of_logins = [CredentialKind::Bearer, CredentialKind::TokenKey, CredentialKind::Login];
    for kind in route.auth.iter().filter(|kind| !of_logins.contains(kind)) {
        let remedy = format!("has no session, but {WHY}");
        at.at("auth").issue(reading, format!("{:?}", kind.name()), remedy);
    }
    let has_them = |login: &LoginSettings| login.users.iter().any(|name| name == source);
    let mut logins = config.logins_of(route).peekable();
    // Without a login another rule reports that nobody gets in.
    if logins.peek().is_some() && !logins.any(has_them) {
        let remedy = format!(
            "is called with what users of {source:?} have at the legacy system, and no login of the \
             route has these users"
        );
        let upstream = format!("{:?}", route.upstream().unwrap_or_default());
        at.at("upstream").issue(reading, upstream, remedy);
    }
}
